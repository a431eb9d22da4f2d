"""axe, quicker, on a page as it stands."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

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

# a theme changes colours alone
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}


def serious(page: Page, rules: dict[str, object]) -> list[str]:
    """What is serious or critical, by these of its rules; the page has ``AXE``."""
    result = page.evaluate("rules => axe.run(document, { resultTypes: ['violations'], ...rules })", rules)
    assert result["passes"], "axe did not run"
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for violation in result["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
