"""Tables that directives make."""

from __future__ import annotations

from collections.abc import Sequence

from docutils import nodes


def row(*content: nodes.Node) -> nodes.row:
    """A row, a cell for each content."""
    return nodes.row("", *(nodes.entry("", item) for item in content))


def table(
    heads: Sequence[str], widths: Sequence[int], body: nodes.tbody, kind: str = "ledger"
) -> nodes.table:
    """A table of the style sheet's ``kind``; widths are shares."""
    head = nodes.thead("", row(*(nodes.paragraph(text=text) for text in heads)))
    columns = [nodes.colspec(colwidth=width) for width in widths]
    inner = nodes.tgroup("", *columns, head, body, cols=len(widths))
    return nodes.table("", inner, classes=[kind, "colwidths-given"])
