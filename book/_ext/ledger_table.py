"""The appendix "What we were told, what we measured": collected from the chapters, never typed.

A cell of a committed chapter that carries claim ids in its metadata (``{"cfgtoy": {"claims": ["A5"]}}``) and a
measurement in its output (`cfgtoy.ledger.measured`) gives the rows of those claims.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from outputs import KINDS, anchor
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from cfgtoy.ledger import MIME

IMAGES = ("digits", "CIFAR-10", "digits and CIFAR-10")
"""What the part on images measures on."""


@dataclass(frozen=True)
class Row:
    """One measurement of one claim.

    Attributes:
        claim: Its id.
        page: The chapter's name without its suffix.
        title: The chapter's title.
        on: What it was measured on: ``"mixtures"``, one of `IMAGES`, or ``"the paper's tables"``.
        what: The quantity, in words; then the figure, the verdict and its caveat.
    """

    claim: str
    page: str
    title: str
    on: str
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
            on = cell["metadata"].get("cfgtoy", {}).get("on")
            found += [
                Row(c, page, _title(notebook), on or measured_on(page, m["what"]), **m)
                for c in claims
                for m in measured
            ]
    return found


def measured_on(page: str, what: str) -> str:
    """What a measurement is about, where its cell does not say so in ``{"cfgtoy": {"on": "digits"}}``.

    The words decide; where they name no data, the chapter does: mixtures outside of the part on images.
    """
    if "the paper" in what:
        return "the paper's tables"
    if not page.startswith("images/"):
        return "mixtures"
    for text in (what.lower(), Path(page).name):
        found = [on for word, on in (("digit", "digits"), ("cifar", "CIFAR-10")) if word in text]
        if found:
            return " and ".join(found)
    return "CIFAR-10"


def kinds(found: Sequence[Row]) -> dict[str, str]:
    """The hardest verdict of some rows, for each thing that they were measured on."""
    order = list(KINDS)
    verdicts: dict[str, str] = {}
    for row in found:
        verdicts[row.on] = max(verdicts.get(row.on, order[0]), row.verdict, key=order.index)
    return verdicts


def differing(found: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each claim whose verdict on some images is not the one on mixtures."""
    out = {}
    for claim in sorted({row.claim for row in found}, key=lambda claim: (claim[0], int(claim[1:]))):
        mine = [row for row in found if row.claim == claim]
        verdicts = kinds(mine)
        if {verdict for on, verdict in verdicts.items() if on in IMAGES} - {verdicts.get("mixtures")} and (
            "mixtures" in verdicts
        ):
            out[claim] = mine
    return out


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
        differ = differing(found)
        by_claim: dict[str, list[Row]] = {}
        for row in found:
            by_claim.setdefault(row.claim, []).append(row)
        out: list[nodes.Node] = []
        for group in groups(book):
            section = nodes.section(ids=[f"claims-{group.letter.lower()}"])
            section += nodes.title(text=f"{group.letter}. {group.title}")
            section += self.table(group, by_claim, differ)
            out.append(section)
        return out

    def prose(self, text: str) -> nodes.paragraph:
        """A claim's words, in which mathematics may stand between dollars."""
        return nodes.paragraph("", "", *self.parse_inline(text)[0])

    def table(
        self, group: Group, by_claim: dict[str, list[Row]], differ: dict[str, list[Row]]
    ) -> nodes.table:
        body = nodes.tbody()
        for claim, text in group.claims.items():
            for number, row in enumerate(by_claim.get(claim, []) or [None]):
                told = self.prose(text) if number == 0 else nodes.paragraph()
                if number == 0 and claim in differ:
                    told += nodes.Text(" ")
                    told += nodes.reference(
                        text="On images the verdict differs.",
                        refid=f"differs-{claim.lower()}",
                        internal=True,
                        classes=["differs"],
                    )
                body += _row(claim if number == 0 else "", told, row)
        return _table(("", "Told", "Measured", "On", "Verdict"), (6, 27, 30, 13, 24), body)


class Differences(Collected):
    """``{ledger-differences}``: each claim whose verdict on images is not that on mixtures, and where to read why."""

    def run(self) -> list[nodes.Node]:
        book, found = self.collect()
        told = {claim: text for group in groups(book) for claim, text in group.claims.items()}
        out = nodes.definition_list()
        for claim, mine in differing(found).items():
            term = nodes.term(
                "", f"{claim}. ", *self.parse_inline(told[claim])[0], ids=[f"differs-{claim.lower()}"]
            )
            lines = nodes.bullet_list()
            for on, verdict in kinds(mine).items():
                line = nodes.paragraph("", f"On {on}: ")
                line += nodes.inline(text=verdict, classes=[f"verdict-{KINDS[verdict]}"])
                for row in (row for row in mine if (row.on, row.verdict) == (on, verdict)):
                    line += nodes.Text(f", {row.caveat}: " if row.caveat else ": ")
                    line += measured_link("", page=row.page, anchor=anchor(row.what), title=row.title)
                lines += nodes.list_item("", line)
            out += nodes.definition_list_item("", term, nodes.definition("", lines))
        if not out.children:
            return [nodes.paragraph(text="None: where images were measured, they say what the mixtures say.")]
        return [out]


class Summary(Collected):
    """``{ledger-summary}``: how many statements, measurements and verdicts, for each thing measured on."""

    def run(self) -> list[nodes.Node]:
        book, found = self.collect()
        body = nodes.tbody()
        for on in dict.fromkeys(row.on for row in found):
            mine = [row for row in found if row.on == on]
            counts = [sum(row.verdict == verdict for row in mine) for verdict in KINDS]
            cells = (on, len({row.claim for row in mine}), *counts)
            body += _cells(*(nodes.paragraph(text=str(cell)) for cell in cells))
        told = sum(len(group.claims) for group in groups(book))
        total = nodes.paragraph(text=f"{told} statements and questions, {len(found)} measurements.")
        return [
            total,
            _table(("Measured on", "Statements", *KINDS), (24, 16, 16, 22, 22), body, "ledger-summary"),
        ]


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
            out += nodes.Text(f" ({row.what}; {row.on})" if row.on in IMAGES else f" ({row.what})")
        return [out] if out.children else []


class measured_link(nodes.Element):
    """A link to a page, or to a place on it such as a measurement, resolved when all pages are known."""


def _row(claim: str, told: nodes.paragraph, row: Row | None) -> nodes.row:
    ident = nodes.paragraph(text=claim)
    if row is None:
        return _cells(
            ident, told, nodes.paragraph(text="not measured yet"), nodes.paragraph(), nodes.paragraph()
        )
    cell = nodes.paragraph("", f"{row.what}: ")
    cell += nodes.strong(text=row.figure)
    cell += nodes.Text(". ")
    cell += measured_link("", page=row.page, anchor=anchor(row.what), title=row.title)
    verdict = nodes.paragraph()
    verdict += nodes.inline(text=row.verdict, classes=[f"verdict-{KINDS[row.verdict]}"])
    if row.caveat:
        verdict += nodes.Text(f": {row.caveat}")
    return _cells(ident, told, cell, nodes.paragraph(text=row.on, classes=["measured-on"]), verdict)


def _table(
    heads: Sequence[str], widths: Sequence[int], body: nodes.tbody, kind: str = "ledger"
) -> nodes.table:
    head = nodes.thead("", _cells(*(nodes.paragraph(text=text) for text in heads)))
    columns = [nodes.colspec(colwidth=width) for width in widths]
    inner = nodes.tgroup("", *columns, head, body, cols=len(widths))
    return nodes.table("", inner, classes=[kind, "colwidths-given"])


def _cells(*content: nodes.Node) -> nodes.row:
    row = nodes.row()
    for item in content:
        row += nodes.entry("", item)
    return row


def resolve(app: Sphinx, doctree: nodes.document, page: str) -> None:
    for link in list(doctree.findall(measured_link)):
        uri = app.builder.get_relative_uri(page, link["page"])
        if link["anchor"]:
            uri += f"#{link['anchor']}"
        link.replace_self(nodes.reference(text=link["title"], refuri=uri, internal=True))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("ledger", Ledger)
    app.add_directive("ledger-differences", Differences)
    app.add_directive("ledger-summary", Summary)
    app.add_directive("measured-in", MeasuredIn)
    app.add_node(measured_link)
    app.connect("doctree-resolved", resolve)
    return {"parallel_read_safe": True}
