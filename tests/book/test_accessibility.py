"""axe finds nothing serious on any page, in light and in dark mode."""

from __future__ import annotations

from importlib.resources import files

import pytest
from playwright.sync_api import Page

from tests.waiting import settle

pytestmark = pytest.mark.browser

PLAIN = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")

# axe keeps a colour's numbers in weak maps, and reads a colour's text anew for each word: half of its time.
# Here they are properties, and a text is read once.
WEAK = """
class WeakMap {
  key = Symbol();
  has(object) { return Object.hasOwn(object, this.key); }
  get(object) { return Object.hasOwn(object, this.key) ? object[this.key] : undefined; }
  set(object, value) { object[this.key] = value; return this; }
}
class WeakSet extends WeakMap { add(object) { return this.set(object, true); } }
"""
READ_ONCE = """
const colour = axe.commons.color.Color.prototype, read = colour.parseString, known = new Map();
colour.parseString = function (text) {
  if (!known.has(text)) {
    const { r, g, b, alpha } = read.call(this, text);
    known.set(text, { r, g, b, alpha });
  }
  return Object.assign(this, known.get(text));
};
"""
AXE = f"{{{WEAK}{PLAIN}{READ_ONCE}}}"


def test_axe_finds_nothing_serious(page: Page, site: str, page_name: str) -> None:
    page.goto(f"{site}/{page_name}.html")
    page.add_script_tag(content=AXE)
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
