"""The quicker axe judges as axe does; every page is held to it in ``test_pages``."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.book.axe import AXE, PLAIN

pytestmark = pytest.mark.browser


def test_quicker_axe_judges_as_axe_does(page: Page) -> None:
    """Colours that are written in many ways, seen through each other; some are too faint."""
    ink = (
        "#767676",
        "#777",
        "rgb(119 119 119)",
        "hsl(0 0% 46%)",
        "oklch(0.7 0.1 200)",
        "rgba(0, 0, 0, 0.5)",
        "navy",
    )
    ground = "white", "transparent", "rgba(200, 30, 30, 0.5)", "color(srgb 1 1 0.5 / 0.3)"
    words = "".join(
        f"<div style='background: {under}; opacity: {opacity}'><p style='color: {over}'>word</p><p>next</p></div>"
        for over in ink
        for under in ground
        for opacity in (1, 0.6)
    )
    found = []
    for script in (PLAIN, AXE):
        page.set_content(f"<main style='background: #fefefe'>{words}</main>")
        page.add_script_tag(content=script)
        result = page.evaluate("axe.run(document)")
        found.append(
            [[(one["id"], one["nodes"]) for one in result[kind]] for kind in ("violations", "passes")]
        )
    assert found[0] == found[1]
    for kind in found[0]:
        assert "color-contrast" in dict(kind)
