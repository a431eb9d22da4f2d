"""What the chapters say of themselves, collected: what each needs, how long it takes, and its exercises.

The notebooks are the one source. A chapter's first cell holds its label, its title and the line "You need", whose
links, up to its first full stop, are the edges of the map. An exercise's aim stands in its cell's metadata
(``{"cfgtoy": {"aim": "…"}}``).
"""

from __future__ import annotations

import html
import itertools
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from ledger_table import chapters as notebooks
from ledger_table import measured_link
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.logging import getLogger

logger = getLogger(__name__)

WORDS = 170  # of prose, a minute
LINE, FORMULA, FIGURE, SLIDER = (
    3,
    20,
    15,
    60,
)  # seconds for a visible line of code, a set formula, a figure, a slider
EXERCISE = 6  # minutes

COLUMNS = 3  # of the map
STARTS = 40  # of the search for its short edges
ROW, PAD = 100, 13  # height of the map's rows, and of the gap above and below a box, in the drawing's units


_EXERCISE = re.compile(r"(?ms)^(?::::|```)\{exercise(?:-start)?\} *(.*?)\n(.*?)(?=^(?::::|```) *$|\Z)")


@dataclass(frozen=True)
class Exercise:
    """One exercise; ``label`` is its anchor on the page."""

    label: str
    title: str
    aim: str


@dataclass(frozen=True)
class Chapter:
    """One numbered chapter; ``needs`` holds the pages of the chapters that its line "You need" links."""

    page: str
    label: str
    title: str
    part: str
    seconds: float
    needs: tuple[str, ...] = ()
    exercises: tuple[Exercise, ...] = field(default=(), repr=False)

    @property
    def number(self) -> int:
        """As the file's name begins."""
        return int(Path(self.page).name.split("-")[0])

    @property
    def short(self) -> str:
        """The title up to its colon."""
        return self.title.split(":")[0]

    @property
    def minutes(self) -> int:
        """To read it and to drag its sliders, without the exercises."""
        return max(1, round(self.seconds / 60))


def read(book: Path) -> list[Chapter]:
    """The numbered chapters that the table of contents names, in its order.

    Raises:
        ValueError: if a chapter has no label or no line "You need", or needs what is no earlier chapter.
    """
    raw = {}
    for path in notebooks(book):
        if path.name[0].isdigit():
            page = path.relative_to(book).with_suffix("").as_posix()
            raw[page] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    captions = _captions(book)
    labels = {
        label: page
        for page, cells in raw.items()
        for label in re.findall(r"(?m)^\(([\w-]+)\)=", _text(cells[0]))
    }
    found: list[Chapter] = []
    for page, cells in raw.items():
        head = _text(cells[0])
        title = re.search(r"(?m)^# (.+)", head)
        needs = re.search(r"(?ms)^- You need(.+?)(?=^- |^:::|\Z)", head)
        said = re.split(r"(?<=\.)\s", needs[1])[0] if needs else ""
        mine = [label for label, owner in labels.items() if owner == page]
        if not (title and needs and mine):
            raise ValueError(f"{page}: its first cell lacks a title, a label or a line “- You need”")
        wanted = [labels.get(label, label) for label in re.findall(r"\{ref\}`(?:[^`<]*<)?(ch-[\w-]+)", said)]
        wanted += [
            Path(page).parent.joinpath(link).as_posix() for link in re.findall(r"\]\(([^)#]+)\.ipynb", said)
        ]
        wanted = list(dict.fromkeys(_plain_path(name) for name in wanted))
        if unknown := [name for name in wanted if name not in {chapter.page for chapter in found}]:
            raise ValueError(f"{page}: needs {', '.join(unknown)}, which is no earlier chapter")
        found.append(
            Chapter(
                page, mine[0], title[1].strip(), captions[page], reading_seconds(cells), tuple(wanted),
                tuple(exercises(cells)),
            )
        )  # fmt: skip
    return found


def reading_seconds(cells: Sequence[dict[str, Any]]) -> float:
    """How long a reader takes for a chapter up to its exercises."""
    total = 0.0
    for cell in cells:
        text = _text(cell)
        if cell["cell_type"] == "markdown":
            if re.search(r"(?m)^## Exercises", text) or re.search(r"\{exercise(?:-start)?\}", text):
                break
            formulas = len(re.findall(r"(?ms)^\$\$.+?\$\$", text))
            prose = re.sub(r"(?ms)^\$\$.+?\$\$.*?$|\{[\w:-]+\}|[`$*#:(){}\[\]|\\]", " ", text)
            total += 60 * len(prose.split()) / WORDS + FORMULA * formulas
            continue
        if "hide-input" not in cell["metadata"].get("tags", []):
            total += LINE * sum(bool(line.strip()) for line in text.splitlines())
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "".join(data.get("text/plain", "")).startswith("Interactive figure"):
                total += SLIDER
            elif "image/png" in data:
                total += FIGURE
    return total


def exercises(cells: Sequence[dict[str, Any]]) -> Iterator[Exercise]:
    """A chapter's exercises. Where a cell's metadata has no aim, its first sentence is it."""
    for cell in cells:
        for block in re.finditer(
            r"(?ms)^(?::::|```)\{exercise(?:-start)?\} *(.*?)\n(.*?)(?=^(?::::|```) *$|\Z)", _text(cell)
        ):
            label = re.search(r"(?m)^:label: *([\w-]+)", block[2])
            if cell["cell_type"] != "markdown" or label is None:
                continue
            body = re.sub(r"(?m)^:\w+:.*$", "", block[2]).strip()
            sentence = re.split(r"(?<=[.?])\s", body, maxsplit=1)[0]
            aim = cell["metadata"].get("cfgtoy", {}).get("aim") or " ".join(sentence.split())
            yield Exercise(label[1], block[1].strip(), aim)


def essential(found: Sequence[Chapter]) -> dict[str, tuple[str, ...]]:
    """What each chapter needs, less what the rest of its needs need already: the map's edges."""
    above = ancestors(found)
    return {
        chapter.page: tuple(
            need for need in chapter.needs if not any(need in above[other] for other in chapter.needs)
        )
        for chapter in found
    }


def ancestors(found: Sequence[Chapter]) -> dict[str, frozenset[str]]:
    """All that a chapter builds on."""
    above: dict[str, frozenset[str]] = {}
    for chapter in found:
        above[chapter.page] = frozenset(chapter.needs).union(*(above[need] for need in chapter.needs))
    return above


def places(found: Sequence[Chapter]) -> dict[str, tuple[int, int]]:
    """A row and a column for every chapter, below all that it needs, with short edges."""
    edges, rows = essential(found), {}
    for chapter in found:
        row = 1 + max((rows[need] for need in edges[chapter.page]), default=-1)
        while list(rows.values()).count(row) == COLUMNS:
            row += 1
        rows[chapter.page] = row
    levels = [[page for page, at in rows.items() if at == row] for row in range(max(rows.values()) + 1)]
    columns = {page: index for level in levels for index, page in enumerate(level)}

    def cost() -> float:
        at = {page: (rows[page], columns[page]) for page in rows}
        pairs = [(at[need], at[page]) for page, needs in edges.items() for need in needs]
        long = sum(
            abs(_lane(a, b, at.values()) - a[1]) + abs(_lane(a, b, at.values()) - b[1]) for a, b in pairs
        )
        crossed = sum(
            a[0] == c[0] and b[0] == d[0] and (a[1] - c[1]) * (b[1] - d[1]) < 0
            for (a, b), (c, d) in itertools.combinations(pairs, 2)
        )
        return long + crossed + 0.01 * sum(abs(column - 0.4) for column in columns.values())

    best, least, chance = {}, math.inf, random.Random(0)
    for _ in range(STARTS):  # each swept to rest
        for level in levels:
            columns.update(zip(level, chance.sample(range(COLUMNS), len(level)), strict=True))
        before = math.inf
        while cost() < before:
            before = cost()
            for level in levels:
                tried = {}
                for order in itertools.permutations(range(COLUMNS), len(level)):
                    columns.update(zip(level, order, strict=True))
                    tried[order] = cost()
                columns.update(zip(level, min(tried, key=tried.__getitem__), strict=True))
        if before < least:
            best, least = dict(columns), before
    return {page: (rows[page], best[page]) for page in rows}


def _lane(start: tuple[int, int], end: tuple[int, int], taken: Any) -> float:
    """The column along which an edge runs down past the rows between its ends; a half is the gap between two."""
    between = {column for row, column in taken if start[0] < row < end[0]}
    lanes = [column for column in range(COLUMNS) if column not in between]
    lanes += [column + 0.5 for column in range(COLUMNS - 1)]
    return min(lanes, key=lambda x: (abs(x - start[1]) + abs(x - end[1]) + 3 * (x % 1), x))


def _curve(start: tuple[int, int], end: tuple[int, int], taken: Any) -> str:
    """An edge from the foot of one box to the top of another."""
    x0, x1 = (100 * (column + 0.5) for column in (start[1], end[1]))
    y0, y1 = (start[0] + 1) * ROW - PAD, end[0] * ROW + PAD
    if end[0] == start[0] + 1:
        return f"M{x0:g} {y0}C{x0:g} {y1} {x1:g} {y0} {x1:g} {y1}"
    lane, a, b = 100 * (_lane(start, end, taken) + 0.5), y0 + 2 * PAD, y1 - 2 * PAD
    return f"M{x0:g} {y0}C{x0:g} {a} {lane:g} {y0} {lane:g} {a}V{b}C{lane:g} {y1} {x1:g} {b} {x1:g} {y1}"


class chapter_map(nodes.Element):
    """The map, drawn when the addresses of all pages are known."""


class Reading(SphinxDirective):
    """A directive that reads the chapters."""

    def chapters(self) -> list[Chapter]:
        """The chapters; the page is built anew when one of them changes."""
        book = Path(self.env.srcdir)
        for path in (book / "_toc.yml", *notebooks(book)):
            self.env.note_dependency(str(path))
        try:
            return read(book)
        except ValueError as error:
            raise self.error(str(error)) from error


class Map(Reading):
    """``{chapter-map}``: a box a chapter, a line from what it needs."""

    def run(self) -> list[nodes.Node]:
        return [chapter_map("", found=self.chapters())]


class Paths(Reading):
    """``{reading-paths}``: cards. Each has a ``title``, a ``text``, and ``chapters`` by label, or ``all``.

    ``exercises: true`` counts their time as well.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        found = {chapter.label: chapter for chapter in self.chapters()}
        cards = nodes.container(classes=["paths"])
        for path in yaml.safe_load("\n".join(self.content)):
            wanted = list(found) if path["chapters"] == "all" else path["chapters"]
            if unknown := [label for label in wanted if label not in found]:
                logger.warning(
                    "%s: no chapter %s", path["title"], ", ".join(unknown), location=self.get_location()
                )
            cards += self.card(path, [found[label] for label in wanted if label in found])
        return [cards]

    def card(self, path: dict[str, Any], chosen: list[Chapter]) -> nodes.section:
        """A title, its minutes, a text, and the chapters with theirs."""
        minutes = sum(chapter.minutes for chapter in chosen)
        total = f"{minutes} minutes"
        if path.get("exercises"):
            minutes += EXERCISE * sum(len(chapter.exercises) for chapter in chosen)
            total = f"{minutes / 60:.0f} hours with the exercises"
        card = nodes.section(ids=[nodes.make_id(f"path {path['title']}")], classes=["path"])
        card += nodes.title(text=path["title"])
        card += nodes.paragraph(text=f"{len(chosen)} chapters, {total}", classes=["path-total"])
        card += nodes.paragraph("", "", *self.parse_inline(path["text"])[0])
        if path["chapters"] == "all":
            return card
        lines = nodes.bullet_list()
        for chapter in chosen:
            line = nodes.paragraph("", f"{chapter.number}. ")
            line += measured_link("", page=chapter.page, anchor="", title=chapter.short)
            line += nodes.inline(text=f" {chapter.minutes} min", classes=["path-minutes"])
            lines += nodes.list_item("", line)
        card += lines
        return card


class Exercises(Reading):
    """``{exercise-list}``: a table a part, a row an exercise with its aim."""

    def run(self) -> list[nodes.Node]:
        out: list[nodes.Node] = []
        for part, chosen in itertools.groupby(self.chapters(), key=lambda chapter: chapter.part):
            section = nodes.section(ids=[nodes.make_id(f"exercises {part}")])
            section += nodes.title(text=part)
            body = nodes.tbody()
            for chapter in chosen:
                for number, exercise in enumerate(chapter.exercises):
                    where = nodes.paragraph()
                    if number == 0:
                        where += nodes.Text(f"{chapter.number}. ")
                        where += measured_link("", page=chapter.page, anchor="", title=chapter.short)
                    link = measured_link("", page=chapter.page, anchor=exercise.label, title=exercise.title)
                    aim = nodes.paragraph("", "", *self.parse_inline(exercise.aim)[0])
                    cells = (where, nodes.paragraph("", "", link), aim)
                    body += nodes.row("", *(nodes.entry("", cell) for cell in cells))
            head = [
                nodes.entry("", nodes.paragraph(text=t)) for t in ("Chapter", "Exercise", "What it is for")
            ]
            columns = [nodes.colspec(colwidth=width) for width in (24, 26, 50)]
            inner = nodes.tgroup("", *columns, nodes.thead("", nodes.row("", *head)), body, cols=3)
            section += nodes.table("", inner, classes=["ledger", "colwidths-given"])
            out.append(section)
        return out


class Minutes(Reading):
    """``{minutes}`` with a sentence: how the minutes were computed."""

    def run(self) -> list[nodes.Node]:
        text = (
            f"Minutes are computed, not guessed: {WORDS} words a minute, {LINE} seconds for a line of code, {FORMULA} "
            f"for a set formula, {FIGURE} for a figure, {SLIDER} for a slider; {EXERCISE} minutes for an exercise."
        )
        return [nodes.paragraph(text=text, classes=["measured-in"])]


def draw(found: Sequence[Chapter], address: Any) -> str:
    """The map as HTML: links on a grid, and below them the lines."""
    at, edges, above = places(found), essential(found), ancestors(found)
    number = {chapter.page: chapter.number for chapter in found}
    rows = 1 + max(row for row, _ in at.values())

    def lit_by(page: str) -> str:
        """A class for every chapter that builds on this one, so that it can light up what it needs."""
        return " ".join(f"for-{number[other]}" for other in at if page in above[other] or page == other)

    lines = [
        f'<path class="{lit_by(page)}" d="{_curve(at[need], at[page], at.values())}"/>'
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
        for part in dict.fromkeys(c.part for c in found)
    )
    return (
        f"<style>{lit}{{--lit:var(--pst-color-primary);--lit-opacity:1}}</style>"
        f'<figure class="chapter-map" style="--rows:{rows}"><ul class="map-parts" aria-label="Parts">{parts}</ul>'
        f'<div class="map-field"><svg viewBox="0 0 {100 * COLUMNS} {ROW * rows}" preserveAspectRatio="none" '
        f'aria-hidden="true">{"".join(lines)}</svg><ol aria-label="Chapters">{"".join(boxes)}</ol></div></figure>'
    )


def resolve(app: Sphinx, doctree: nodes.document, page: str) -> None:
    for node in list(doctree.findall(chapter_map)):
        drawn = draw(node["found"], lambda target: app.builder.get_relative_uri(page, target))
        node.replace_self(nodes.raw("", drawn, format="html"))


def _captions(book: Path) -> dict[str, str]:
    """The part of every page."""
    contents = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    return {
        entry["file"].removesuffix(".ipynb"): part.get("caption", "Chapters")
        for part in contents.get("parts", [contents])
        for entry in part["chapters"]
    }


def _plain_path(name: str) -> str:
    """A path without ``x/..``."""
    while (shorter := re.sub(r"(?:^|(?<=/))(?!\.\.)[^/]+/\.\./", "", name)) != name:
        name = shorter
    return name


def _text(cell: dict[str, Any]) -> str:
    """A cell's source as one text."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(chapter_map)
    app.add_directive("chapter-map", Map)
    app.add_directive("reading-paths", Paths)
    app.add_directive("exercise-list", Exercises)
    app.add_directive("minutes", Minutes)
    app.connect("doctree-resolved", resolve)
    return {"parallel_read_safe": True}
