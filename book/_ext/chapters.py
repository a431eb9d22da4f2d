"""What the chapters say of themselves: what each needs, how long it takes, and its exercises.

The notebooks are the one source. A chapter's first cell holds its label, its title and the line "You need", whose
links, up to its first full stop, are the edges of the map. An exercise's aim stands in its cell's metadata
(``{"cfgtoy": {"aim": "…"}}``).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contents import cells, notebooks, parts, title

from cfgtoy.ledger import MIME

WORDS = 170  # of prose, a minute
LINE, FORMULA, FIGURE, SLIDER = 3, 20, 15, 60  # seconds for a visible line of code, a set formula, and so on
EXERCISE = 6  # minutes

_EXERCISE = re.compile(r"(?ms)^(?::::|```)\{exercise(?:-start)?\} *(.*?)\n(.*?)(?=^(?::::|```) *$|\Z)")
_NEED = re.compile(r"\{ref\}`(?:[^`<]*<)?(?P<label>ch-[\w-]+)|\]\((?P<address>[^)#]+)\.ipynb")


@dataclass(frozen=True)
class Exercise:
    """One exercise; ``label`` is its anchor on the page."""

    label: str
    title: str
    aim: str


@dataclass(frozen=True)
class Chapter:
    """One numbered chapter; ``needs`` holds the pages of the chapters that its line "You need" links.

    ``number`` is its place in the table of contents; the number in a file's name is that of the first edition.
    """

    number: int
    page: str
    label: str
    title: str
    part: str
    seconds: float
    needs: tuple[str, ...] = ()
    exercises: tuple[Exercise, ...] = field(default=(), repr=False)

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
    part_of = {page: part.caption for part in parts(book) for page in part.pages}
    labels: dict[str, str] = {}
    found: list[Chapter] = []
    for path in notebooks(book):
        if not path.name[0].isdigit():
            continue
        page, mine = path.relative_to(book).with_suffix("").as_posix(), cells(path)
        head = mine[0]["source"]
        own = re.findall(r"(?m)^\(([\w-]+)\)=", head)
        needs = re.search(r"(?ms)^- You need(.+?)(?=^- |^:::|\Z)", head)
        if not (own and needs and re.search(r"(?m)^# ", head)):
            raise ValueError(f"{page}: its first cell lacks a title, a label or a line “- You need”")
        wanted = {}
        for link in _NEED.finditer(re.split(r"(?<=\.)\s", needs[1])[0]):
            address = posixpath.normpath(posixpath.join(posixpath.dirname(page), link["address"] or ""))
            wanted[labels.get(link["label"], link["label"]) if link["label"] else address] = None
        if unknown := [name for name in wanted if name not in labels.values()]:
            raise ValueError(f"{page}: needs {', '.join(unknown)}, which is no earlier chapter")
        labels |= dict.fromkeys(own, page)
        found.append(
            Chapter(
                len(found) + 1, page, own[0], title(path), part_of[page], reading_seconds(mine), tuple(wanted),
                tuple(exercises(mine)),
            )
        )  # fmt: skip
    return found


def reading_seconds(cells: Sequence[dict[str, Any]]) -> float:
    """How long a reader takes for a chapter up to its exercises."""
    total = 0.0
    for cell in cells:
        text = cell["source"]
        if cell["cell_type"] == "markdown":
            if re.search(r"(?m)^## Exercises", text) or re.search(r"\{exercise(?:-start)?\}", text):
                break
            formulas = len(re.findall(r"(?ms)^\$\$.+?\$\$", text))
            prose = re.sub(r"(?ms)^\$\$.+?\$\$.*?$|\{[\w:-]+\}|[`$*#:(){}\[\]|\\]", " ", text)
            total += 60 * len(prose.split()) / WORDS + FORMULA * formulas
            continue
        if "hide-input" not in cell["metadata"].get("tags", []) and not folds(cell):
            total += LINE * sum(bool(line.strip()) for line in text.splitlines())
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "".join(data.get("text/plain", "")).startswith("Interactive figure"):
                total += SLIDER
            elif "image/png" in data:
                total += FIGURE
    return total


def folds(cell: dict[str, Any]) -> bool:
    """Whether the page folds a cell's code: under a picture, or in the card of a measurement."""
    kinds = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
    return bool(kinds & {"image/png", MIME})


def exercises(cells: Sequence[dict[str, Any]]) -> Iterator[Exercise]:
    """A chapter's exercises. Where a cell's metadata has no aim, its first sentence is it."""
    for cell in cells:
        for block in _EXERCISE.finditer(cell["source"] if cell["cell_type"] == "markdown" else ""):
            if label := re.search(r"(?m)^:label: *([\w-]+)", block[2]):
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
