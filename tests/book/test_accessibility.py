"""axe finds nothing serious on any page, in light and in dark mode."""

from __future__ import annotations

from importlib.resources import files

import pytest
from playwright.sync_api import Page

from tests.waiting import settle

pytestmark = pytest.mark.browser

AXE = str(files("axe_playwright_python") / "axe.min.js")


def test_axe_finds_nothing_serious(page: Page, site: str, page_name: str) -> None:
    page.goto(f"{site}/{page_name}.html")
    page.add_script_tag(path=AXE)
    for theme, rules in (
        ("light", {}),
        ("dark", {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}),
    ):  # a theme changes colours alone
        page.emulate_media(color_scheme=theme)
        page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        settle(page)
        result = page.evaluate("rules => axe.run(document, { resultTypes: ['violations'], ...rules })", rules)
        found = [
            f"{violation['id']}: {violation['help']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
            for violation in result["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
        assert result["passes"], "axe did not run"
        assert not found, f"{theme}: " + "\n".join(found[:12])
