"""Code that only serves a picture goes under it: one fold a picture, and never a row of folds above the first.

That is the code of cells tagged ``hide-input`` and of those that put out a picture. Where they stand one after another
they are one piece of work. Their outputs stay in their order; their code goes into one fold under the last output, and
where there is none yet, under the next picture of the section. The gallery of explorers shows its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx

REACH = 6  # blocks that code without an output looks ahead for its picture


def parts(cell: nodes.Element) -> tuple[nodes.Element | None, nodes.Element | None]:
    """The source and the output of a code cell."""
    found: dict[str, nodes.Element] = {child.get("nb_element"): child for child in cell.children}
    return found.get("cell_code_source"), found.get("cell_code_output")


def fold(code: Sequence[nodes.Element], closed: str, opened: str) -> nodes.container:
    """A folded cell of code, with its words when closed and when open."""
    inner = HideCodeCellNode(prompt_show=closed, prompt_hide=opened)
    inner["classes"].append("above-input")
    inner.extend(code)
    box = nodes.container(nb_element="folded", classes=["cell", "tag_hide-input", "folded"])
    box += inner
    return box


def is_cell(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def shows(cell: nodes.Node) -> bool:
    """Whether a cell put out a picture or a widget."""
    if not is_cell(cell):
        return False
    return any(cell.findall(nodes.image)) or any(
        "cfgtoy-widget" in raw.astext() for raw in cell.findall(nodes.raw)
    )


def hidden(node: nodes.Node) -> bool:
    """Whether a cell has code, and that serves a picture or is tagged to be hidden."""
    if not is_cell(node) or parts(node)[0] is None:  # type: ignore[arg-type]
        return False
    if any(
        "check" in box for box in node.findall(nodes.container)
    ):  # an exercise's, which has words of its own
        return False
    mode = node.get("hide_mode")  # type: ignore[attr-defined]
    return mode == "input" or (mode is None and shows(node))


def gather(app: Sphinx, doctree: nodes.document) -> None:
    """Move the code of hidden cells under their pictures."""
    if app.env.docname.startswith("explorers/"):
        return
    for parent in {id(node.parent): node.parent for node in doctree.findall(hidden)}.values():
        waiting: list[nodes.Element] = []
        spent: list[nodes.Element] = []  # cells that had code alone
        children = list(parent.children)
        for at, node in enumerate(children):
            if hidden(node):
                source, output = parts(node)
                node.remove(source)
                waiting.append(source)
                node.attributes.pop("hide_mode", None)
                node["classes"] = [name for name in node["classes"] if name != "tag_hide-input"]
                if output is None:
                    spent.append(node)
            if not waiting:
                continue
            after = children[at + 1 :]
            last = not after or not hidden(after[0])
            if shows(node) and last:
                put(parent, node, waiting, "Show the code for this picture", "Hide the code")
                waiting = []
            elif last and not comes(after):
                put(parent, node, waiting, "Show the code", "Hide the code")
                waiting = []
        for node in spent:
            parent.remove(node)


def comes(after: Sequence[nodes.Node]) -> bool:
    """Whether a picture follows soon, before a subsection."""
    for node in after[:REACH]:
        if isinstance(node, nodes.section):
            return False
        if shows(node):
            return True
    return False


def put(parent: nodes.Element, node: nodes.Node, code: list[nodes.Element], closed: str, opened: str) -> None:
    parent.insert(parent.index(node) + 1, fold(code, closed, opened))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", gather, priority=400)
    return {"parallel_read_safe": True}
