"""``{chapter-map}``: a box a chapter, a line down to it from each chapter that it needs."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Sequence
from typing import Any

from chapters import Chapter, ancestors, essential
from docutils import nodes
from reading import Reading
from sphinx.application import Sphinx

COLUMNS = 3
ROW, PAD = 100, 13  # height of a row, and of the gap above and below a box, in the drawing's units

Place = tuple[int, int]
"""A row and a column."""


def places(found: Sequence[Chapter]) -> dict[str, Place]:
    """A place for every chapter: the first row with room below all that it needs, as near below the first as may be."""
    edges = essential(found)
    at: dict[str, Place] = {}
    for chapter in found:
        needs = [at[need] for need in edges[chapter.page]]
        row = 1 + max((row for row, _ in needs), default=-1)
        while not (free := set(range(COLUMNS)) - {column for taken, column in at.values() if taken == row}):
            row += 1
        above = needs[0][1] if needs else COLUMNS // 2
        at[chapter.page] = row, min(free, key=lambda column: (abs(column - above), column))
    return at


def lane(start: Place, end: Place, taken: Collection[Place]) -> float:
    """The column along which a line runs down past the rows between its ends; a half is the gap between two."""
    between = {column for row, column in taken if start[0] < row < end[0]}
    lanes = [column for column in range(COLUMNS) if column not in between]
    lanes += [column + 0.5 for column in range(COLUMNS - 1)]
    return min(lanes, key=lambda x: (abs(x - start[1]) + abs(x - end[1]) + 3 * (x % 1), x))


def curve(start: Place, end: Place, taken: Collection[Place]) -> str:
    """A line from the foot of one box to the top of another, as an SVG path."""
    x0, x1 = (100 * (column + 0.5) for column in (start[1], end[1]))
    y0, y1 = (start[0] + 1) * ROW - PAD, end[0] * ROW + PAD
    if end[0] == start[0] + 1:
        return f"M{x0:g} {y0}C{x0:g} {y1} {x1:g} {y0} {x1:g} {y1}"
    middle, a, b = 100 * (lane(start, end, taken) + 0.5), y0 + 2 * PAD, y1 - 2 * PAD
    return (
        f"M{x0:g} {y0}C{x0:g} {a} {middle:g} {y0} {middle:g} {a}V{b}C{middle:g} {y1} {x1:g} {b} {x1:g} {y1}"
    )


def draw(found: Sequence[Chapter], address: Callable[[str], str]) -> str:
    """The map as HTML: links on a grid, and below them the lines."""
    at, edges, above = places(found), essential(found), ancestors(found)
    number = {chapter.page: chapter.number for chapter in found}
    rows = 1 + max(row for row, _ in at.values())

    def lit_by(page: str) -> str:
        """A class for every chapter that builds on this one, so that it can light up what it needs."""
        return " ".join(f"for-{number[other]}" for other in at if page in above[other] or page == other)

    lines = [
        f'<path class="{lit_by(page)}" d="{curve(at[need], at[page], at.values())}"/>'
        for page, needs in edges.items()
        for need in needs
    ]
    boxes = []
    for chapter in found:
        row, column = at[chapter.page]
        needs = ", ".join(str(number[need]) for need in chapter.needs)
        kind = "map-needs" if needs else "map-start"
        boxes.append(
            f'<li style="grid-row:{row + 1};grid-column:{column + 1}"><a class="map-{chapter.part.lower()} {kind} '
            f'{lit_by(chapter.page)}" id="map-{chapter.number}" href="{html.escape(address(chapter.page))}">'
            f"<b>{chapter.number}. {html.escape(chapter.short)}</b> <span>{chapter.minutes} min</span>"
            f'<span class="visually-hidden">, {"needs " + needs if needs else "needs no other"}</span></a></li>'
        )
    lit = ",".join(f".chapter-map:has(#map-{n}:is(:hover,:focus-visible)) .for-{n}" for n in number.values())
    parts = "".join(
        f'<li class="map-{part.lower()}">{html.escape(part)}</li>'
        for part in dict.fromkeys(chapter.part for chapter in found)
    )
    return (
        f"<style>{lit}{{--lit:var(--pst-color-primary);--lit-opacity:1}}</style>"
        f'<figure class="chapter-map" style="--rows:{rows}"><ul class="map-parts" aria-label="Parts">{parts}</ul>'
        f'<div class="map-field"><svg viewBox="0 0 {100 * COLUMNS} {ROW * rows}" preserveAspectRatio="none" '
        f'aria-hidden="true">{"".join(lines)}</svg><ol aria-label="Chapters">{"".join(boxes)}</ol></div></figure>'
    )


class chapter_map(nodes.Element):
    """The map, drawn when the addresses of all pages are known."""


class Map(Reading):
    """The directive."""

    def run(self) -> list[nodes.Node]:
        return [chapter_map("", found=self.chapters())]


def resolve(app: Sphinx, doctree: nodes.document, page: str) -> None:
    for node in list(doctree.findall(chapter_map)):
        drawn = draw(node["found"], lambda target: app.builder.get_relative_uri(page, target))
        node.replace_self(nodes.raw("", drawn, format="html"))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(chapter_map)
    app.add_directive("chapter-map", Map)
    app.connect("doctree-resolved", resolve)
    return {"parallel_read_safe": True}
