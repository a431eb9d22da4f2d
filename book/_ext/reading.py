"""Directives on how the book is read: paths of chapters with their minutes, and the exercises with their aims."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import yaml
from chapters import EXERCISE, FIGURE, FORMULA, LINE, SLIDER, WORDS, Chapter, read
from contents import notebooks
from docutils import nodes
from page_links import link
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.logging import getLogger
from tables import row, table

logger = getLogger(__name__)


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
            line = nodes.paragraph("", f"{chapter.number}. ", link(chapter.page, chapter.short))
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
                where = nodes.paragraph("", f"{chapter.number}. ", link(chapter.page, chapter.short))
                for exercise in chapter.exercises:
                    place = nodes.paragraph("", "", link(chapter.page, exercise.title, exercise.label))
                    aim = nodes.paragraph("", "", *self.parse_inline(exercise.aim)[0])
                    body += row(where, place, aim)
                    where = nodes.paragraph()
            section += table(("Chapter", "Exercise", "What it is for"), (24, 26, 50), body)
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


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("reading-paths", Paths)
    app.add_directive("exercise-list", Exercises)
    app.add_directive("minutes", Minutes)
    return {"parallel_read_safe": True}
