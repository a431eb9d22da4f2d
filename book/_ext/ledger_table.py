"""The appendix "What we were told, what we measured", its summary, and links to the cells that measure a claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contents import notebooks
from docutils import nodes
from measurements import IMAGES, KINDS, Group, Row, differing, groups, hardest, quantities, rows
from outputs import anchor
from page_links import link, page_link
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole
from tables import row, table


class Collected(SphinxDirective):
    """A directive that reads the chapters' measurements."""

    def collect(self) -> tuple[list[Group], list[Row]]:
        """The claims and their rows; the page is built anew when a chapter changes."""
        book = Path(self.env.srcdir)
        for path in (book / "claims.yml", book / "_toc.yml", *notebooks(book)):
            self.env.note_dependency(str(path))
        try:
            return groups(book), rows(book)
        except ValueError as error:
            raise self.error(f"{error} (run it: make notebooks NB=…)") from error


class Ledger(Collected):
    """``{ledger}``: a table a letter, a row a measurement; a claim without one says so."""

    def run(self) -> list[nodes.Node]:
        told, found = self.collect()
        differ = differing(found)
        out: list[nodes.Node] = []
        for group in told:
            section = nodes.section(ids=[f"claims-{group.letter.lower()}"])
            section += nodes.title(text=f"{group.letter}. {group.title}")
            body = nodes.tbody()
            for claim, text in group.claims.items():
                words = nodes.paragraph("", "", *self.parse_inline(text)[0])
                words += nodes.inline(text=f" ({group.said[claim]})", classes=["told-by"])
                if claim in differ:
                    refid = f"differs-{claim.lower()}"
                    words += nodes.Text(" ")
                    words += nodes.reference(
                        text="On images the verdict differs.", refid=refid, internal=True, classes=["differs"]
                    )
                ident = nodes.paragraph(text=claim)
                for mine in [one for one in found if one.claim == claim] or [None]:
                    body += row(ident, words, *_measured(mine))
                    ident, words = nodes.paragraph(), nodes.paragraph()
            section += table(("", "Told", "Measured", "On", "Verdict"), (6, 27, 30, 13, 24), body)
            out.append(section)
        return out


class Differences(Collected):
    """``{ledger-differences}``: each claim whose verdict on images is not that on mixtures, and where to read why."""

    def run(self) -> list[nodes.Node]:
        told, found = self.collect()
        words = {claim: text for group in told for claim, text in group.claims.items()}
        out = nodes.definition_list()
        for claim, mine in differing(found).items():
            text = self.parse_inline(words[claim])[0]
            term = nodes.term("", f"{claim}. ", *text, ids=[f"differs-{claim.lower()}"])
            lines = nodes.bullet_list()
            for on, verdict in hardest(mine).items():
                line = nodes.paragraph("", f"On {on}: ")
                line += nodes.inline(text=verdict, classes=[f"verdict-{KINDS[verdict]}"])
                for one in mine:
                    if (one.on, one.verdict) == (on, verdict):
                        line += nodes.Text(f", {one.caveat}: " if one.caveat else ": ")
                        line += _link(one)
                lines += nodes.list_item("", line)
            out += nodes.definition_list_item("", term, nodes.definition("", lines))
        if not out.children:
            return [nodes.paragraph(text="None: where images were measured, they say what the mixtures say.")]
        return [out]


class Summary(Collected):
    """``{ledger-summary}``: how many statements, measurements and verdicts, for each thing measured on."""

    def run(self) -> list[nodes.Node]:
        told, found = self.collect()
        body = nodes.tbody()
        for on in dict.fromkeys(one.on for one in found):
            mine = [one for one in found if one.on == on]
            counts = [sum(one.verdict == verdict for one in mine) for verdict in KINDS]
            texts = (on, len({one.claim for one in mine}), *counts)
            body += row(*(nodes.paragraph(text=str(text)) for text in texts))
        claims = sum(len(group.claims) for group in told)
        total = nodes.paragraph(text=f"{claims} statements and questions, {len(found)} measurements.")
        heads = ("Measured on", "Statements", *KINDS)
        return [total, table(heads, (24, 16, 16, 22, 22), body, "ledger-summary")]


class Measured(SphinxRole):
    """``{measured}`words <the quantity>```: a link with those words to the cell that measured it, anywhere in the book.

    The quantity may be cut short, as long as no other one begins like that.
    """

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        words, _, start = self.text.rstrip(">").rpartition(" <")
        book = Path(self.env.srcdir)
        for path in (book / "_toc.yml", *notebooks(book)):
            self.env.note_dependency(str(path))
        found = [(page, what) for page, what in quantities(book) if what.startswith(start)]
        if not words or len(found) != 1:
            problem = f"{{measured}}: {len(found)} quantities begin with {start!r}, takes one"
            message = self.inliner.reporter.error(problem, line=self.lineno)
            return [nodes.problematic(self.rawtext, self.rawtext)], [message]
        [(page, what)] = found
        return [link(page, words, anchor(what))], []


class MeasuredIn(Collected):
    """``{measured-in} H9``: links to the cells that measure a claim."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        told, found = self.collect()
        [claim] = self.arguments
        if not any(claim in group.claims for group in told):
            raise self.error(f"there is no claim {claim}")
        out = nodes.paragraph(classes=["measured-in"])
        for one in (one for one in found if one.claim == claim):
            out += nodes.Text("See it measured: " if not out.children else "; ")
            out += _link(one)
            out += nodes.Text(f" ({one.what}; {one.on})" if one.on in IMAGES else f" ({one.what})")
        return [out] if out.children else []


def _link(one: Row) -> page_link:
    """To the cell that measured it, under its chapter's title."""
    return link(one.page, one.title, anchor(one.what))


def _measured(one: Row | None) -> tuple[nodes.paragraph, nodes.paragraph, nodes.paragraph]:
    """What came out, on what, and the verdict."""
    if one is None:
        return nodes.paragraph(text="not measured yet"), nodes.paragraph(), nodes.paragraph()
    cell = nodes.paragraph("", f"{one.what}: ", nodes.strong(text=one.figure), nodes.Text(". "), _link(one))
    verdict = nodes.paragraph()
    verdict += nodes.inline(text=one.verdict, classes=[f"verdict-{KINDS[one.verdict]}"])
    if one.caveat:
        verdict += nodes.Text(f": {one.caveat}")
    return cell, nodes.paragraph(text=one.on, classes=["measured-on"]), verdict


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("ledger", Ledger)
    app.add_directive("ledger-differences", Differences)
    app.add_directive("ledger-summary", Summary)
    app.add_directive("measured-in", MeasuredIn)
    app.add_role("measured", Measured())
    return {"parallel_read_safe": True}
