"""Commit, then reveal: a field for the reader's guess under every bold question that comes before an explorer.

What answers the question, the text after the explorer up to its first paragraph, is put in a box that ``guesses.js``
keeps folded until there is a guess. Without scripts, and on paper, nothing is folded.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

REACH = 8  # blocks from a question to its explorer: the cells that make it


def set_fields(app: Sphinx, doctree: nodes.document) -> None:
    """Give every question its form, and fold what answers it."""
    number = 0
    for question in [node for node in doctree.findall(nodes.paragraph) if asks(node)]:
        parent = question.parent
        after = parent.children[parent.index(question) + 1 :]
        for place, block in enumerate(after[:REACH]):
            if isinstance(block, nodes.section) or asks(block):
                break
            if not explores(block):
                continue
            number += 1
            rest = after[place + 1 :]
            while rest and is_code(rest[0]):  # the code for the picture is no answer
                rest = rest[1:]
            fold(parent, rest, f"guess-{number}")
            parent.insert(parent.index(question) + 1, form(f"guess-{number}"))
            break


def asks(node: nodes.Node) -> bool:
    """Whether a paragraph has a bold question."""
    if not isinstance(node, nodes.paragraph) or "?" not in node.astext():
        return False
    bold = [strong.astext().strip() for strong in node.findall(nodes.strong)]
    return any(text.endswith("?") or text == "Question." for text in bold)


def is_code(block: nodes.Node) -> bool:
    return isinstance(block, nodes.container) and block.get("nb_element") == "folded"


def explores(block: nodes.Node) -> bool:
    return any("cfgtoy-widget" in raw.astext() for raw in block.findall(nodes.raw))


def fold(parent: nodes.Element, after: list[nodes.Node], key: str) -> None:
    """Box the blocks up to the first paragraph, if it comes soon and before another section."""
    for count, block in enumerate(after[:3], start=1):
        if isinstance(block, nodes.section):
            return
        if isinstance(block, nodes.paragraph):
            box = nodes.container(ids=[f"{key}-answer"], classes=["guess-answer"])
            parent.insert(parent.index(after[0]), box)
            for node in after[:count]:
                parent.remove(node)
                box += node
            return


def form(key: str) -> nodes.raw:
    html = (
        f'<form class="guess" data-guess="{key}"><label for="{key}">Your guess</label> '
        f'<input id="{key}" type="text" autocomplete="off" aria-describedby="{key}-said"> '
        '<button type="submit">Guess</button> <button type="button">Show me</button>'
        f'<p class="said" id="{key}-said" role="status" aria-live="polite"></p></form>'
    )
    return nodes.raw("", html, format="html")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", set_fields)
    app.add_js_file("guesses.js")
    return {"parallel_read_safe": True}
