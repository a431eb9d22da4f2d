"""axe, quicker, on a page as it stands."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

PLAIN = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")

# axe looks what it remembers up in lists, from their start: here each list, which only grows, has an index.
PLACED = "if(!a(e))return l.apply(this,arguments);", "return placeOf(this,e);"
# Of what lies over what it draws a map, with all the boxes in which letters of formulas stand: they have no ground.
UNDER = "SHOW_ELEMENT,null,", "SHOW_ELEMENT,({localName})=>/^mjx-(math|assistive)/.test(localName)?2:1,"
INDEX = """
const index = Symbol();
const placeOf = (list, one) => {
  const places = (list[index] ??= new Map());
  for (let at = places.size; at < list.length; at++) places.set(list[at], at);
  return places.get(one) ?? -1;
};
"""
# It keeps a colour's numbers in weak maps, and reads a colour's text anew for each word: half of its time.
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
# It asks of every element, by a long way, whether it has letters to judge: what has no text of its own is left at once.
TEXT = """
const rule = axe._audit.rules.find(({ id }) => id === "color-contrast"), { matches } = rule;
rule.matches = function (element, node) {
  const writes = node.children.some(({ props }) => props.nodeName === "#text" && props.nodeValue.trim());
  return (writes || /^(input|select|textarea)$/.test(node.props.nodeName)) && matches.apply(this, arguments);
};
"""
AXE = f"{{{INDEX}{WEAK}{PLAIN.replace(*PLACED).replace(*UNDER)}{READ_ONCE}{TEXT}}}"

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
