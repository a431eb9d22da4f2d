"""The appendix "What we were told, what we measured": collected from the chapters, never typed.

A cell of a committed chapter that carries claim ids in its metadata (``{"cfgtoy": {"claims": ["A5"]}}``) and a
measurement in its output (`cfgtoy.ledger.measured`) gives the rows of those claims.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from outputs import KINDS, anchor
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from cfgtoy.ledger import MIME


@dataclass(frozen=True)
class Row:
    """One measurement of one claim; ``page`` is the chapter's name without its suffix."""

    claim: str
    page: str
    title: str
    what: str
    figure: str
    verdict: str
    caveat: str


@dataclass(frozen=True)
class Group:
    """A letter's claims: id to text."""

    letter: str
    title: str
    claims: dict[str, str]


def groups(book: Path) -> list[Group]:
    """The claims of ``claims.yml``."""
    loaded = yaml.safe_load((book / "claims.yml").read_text(encoding="utf-8"))
    return [Group(letter, group["title"], group["claims"]) for letter, group in loaded.items()]


def chapters(book: Path) -> list[Path]:
    """The notebooks that the table of contents names, in its order."""

    def files(entry: Any) -> Iterator[str]:
        if isinstance(entry, dict):
            for key, value in entry.items():
                if key in ("file", "root"):
                    yield value
                else:
                    yield from files(value)
        elif isinstance(entry, list):
            for item in entry:
                yield from files(item)

    contents = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    paths = (book / f"{name.removesuffix('.ipynb')}.ipynb" for name in files(contents))
    return [path for path in paths if path.is_file()]


def rows(book: Path) -> list[Row]:
    """Every measurement of a claim, in the order of the book.

    Raises:
        ValueError: if a cell names a claim that ``claims.yml`` does not have, or claims without measuring.
    """
    known = {claim for group in groups(book) for claim in group.claims}
    found = []
    for path in chapters(book):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        page = path.relative_to(book).with_suffix("").as_posix()
        for cell in notebook["cells"]:
            claims = cell["metadata"].get("cfgtoy", {}).get("claims", [])
            if unknown := set(claims) - known:
                raise ValueError(f"{page}, cell {cell['id']}: no claim {', '.join(sorted(unknown))}")
            measured = [o["data"][MIME] for o in cell.get("outputs", []) if MIME in o.get("data", {})]
            if claims and not measured:
                raise ValueError(f"{page}, cell {cell['id']}: names claims but has no measured output")
            found += [Row(c, page, _title(notebook), **m) for c in claims for m in measured]
    return found


def _title(notebook: dict[str, Any]) -> str:
    """The first heading."""
    for cell in notebook["cells"]:
        source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        for line in source.splitlines():
            if cell["cell_type"] == "markdown" and line.startswith("# "):
                return line.removeprefix("# ").strip()
    return "untitled"


class Collected(SphinxDirective):
    """A directive that reads the chapters' measurements."""

    def collect(self) -> tuple[Path, list[Row]]:
        """The book's folder and its rows; the page is built anew when a chapter changes."""
        book = Path(self.env.srcdir)
        for path in (book / "claims.yml", book / "_toc.yml", *chapters(book)):
            self.env.note_dependency(str(path))
        try:
            return book, rows(book)
        except ValueError as error:
            raise self.error(f"{error} (run it: make notebooks NB=…)") from error


class Ledger(Collected):
    """``{ledger}``: a table a letter, a row a measurement; a claim without one says so."""

    def run(self) -> list[nodes.Node]:
        book, found = self.collect()
        by_claim: dict[str, list[Row]] = {}
        for row in found:
            by_claim.setdefault(row.claim, []).append(row)
        out: list[nodes.Node] = []
        for group in groups(book):
            section = nodes.section(ids=[f"claims-{group.letter.lower()}"])
            section += nodes.title(text=f"{group.letter}. {group.title}")
            section += self.table(group, by_claim)
            out.append(section)
        return out

    def prose(self, text: str) -> nodes.paragraph:
        """A claim's words, in which mathematics may stand between dollars."""
        return nodes.paragraph("", "", *self.parse_inline(text)[0])

    def table(self, group: Group, by_claim: dict[str, list[Row]]) -> nodes.table:
        body = nodes.tbody()
        for claim, text in group.claims.items():
            for number, row in enumerate(by_claim.get(claim, []) or [None]):
                told, ident = (text, claim) if number == 0 else ("", "")
                body += _row(ident, self.prose(told), row)
        head = nodes.thead(
            "", _cells(*(nodes.paragraph(text=t) for t in ("", "Told", "Measured", "Verdict")))
        )
        widths = (6, 29, 36, 29)
        columns = [nodes.colspec(colwidth=width) for width in widths]
        inner = nodes.tgroup("", *columns, head, body, cols=len(widths))
        return nodes.table("", inner, classes=["ledger", "colwidths-given"])


class MeasuredIn(Collected):
    """``{measured-in} H9``: links to the cells that measure a claim."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        book, found = self.collect()
        [claim] = self.arguments
        if claim not in {name for group in groups(book) for name in group.claims}:
            raise self.error(f"there is no claim {claim}")
        out = nodes.paragraph(classes=["measured-in"])
        for row in (row for row in found if row.claim == claim):
            out += nodes.Text("See it measured: " if not out.children else "; ")
            out += measured_link("", page=row.page, anchor=anchor(row.what), title=row.title)
            out += nodes.Text(f" ({row.what})")
        return [out] if out.children else []


class measured_link(nodes.Element):
    """A link to a measurement on another page, resolved when all pages are known."""


def _row(claim: str, told: nodes.paragraph, row: Row | None) -> nodes.row:
    cell = nodes.paragraph()
    if row is None:
        return _cells(
            nodes.paragraph(text=claim), told, nodes.paragraph(text="not measured yet"),
            nodes.paragraph(),
        )  # fmt: skip
    cell += nodes.Text(f"{row.what}: ")
    cell += nodes.strong(text=row.figure)
    cell += nodes.Text(". ")
    cell += measured_link("", page=row.page, anchor=anchor(row.what), title=row.title)
    verdict = nodes.paragraph()
    verdict += nodes.inline(text=row.verdict, classes=[f"verdict-{KINDS[row.verdict]}"])
    if row.caveat:
        verdict += nodes.Text(f": {row.caveat}")
    return _cells(nodes.paragraph(text=claim), told, cell, verdict)


def _cells(*content: nodes.Node) -> nodes.row:
    row = nodes.row()
    for item in content:
        row += nodes.entry("", item)
    return row


def resolve(app: Sphinx, doctree: nodes.document, page: str) -> None:
    for link in list(doctree.findall(measured_link)):
        uri = f"{app.builder.get_relative_uri(page, link['page'])}#{link['anchor']}"
        link.replace_self(nodes.reference(text=link["title"], refuri=uri, internal=True))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("ledger", Ledger)
    app.add_directive("measured-in", MeasuredIn)
    app.add_node(measured_link)
    app.connect("doctree-resolved", resolve)
    return {"parallel_read_safe": True}
