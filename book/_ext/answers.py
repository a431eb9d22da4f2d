"""Exercises that a page judges by itself: a field in the box of each whose answer is a number, a word or a truth.

While the book is built, an unanswered `cfgtoy.exercises.Check` puts out what judges an answer. This moves it into the
exercise's box as a form, which ``answers.js`` brings to life, and folds the cell of the check. The right answer is in
the page for the script, not for the eye: it is encoded, and no text shows it.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, ClassVar

from docutils import nodes
from myst_nb.core.render import MimeData, MimeRenderPlugin, NbElementRenderer, load_mime_renders
from sphinx.application import Sphinx
from sphinx_exercise.nodes import exercise_enumerable_node, exercise_node

from cfgtoy.exercises import FOR_PAGES, MIME

_OPEN = re.compile(r"^(?P<names>\w+(?:, *\w+)*) *= *\.\.\.", re.MULTILINE)
_FOLD = {
    "hide_mode": "input",
    "prompt_show": "Show the check that runs in JupyterLab",
    "prompt_hide": "Hide the check",
}


class Answers(MimeRenderPlugin):
    """Renders what an open check puts out, as a place that `set_fields` finds."""

    mime_priority_overrides: ClassVar[Sequence[tuple[str, str, int | None]]] = [("*", MIME, 1)]

    @staticmethod
    def handle_mime(renderer: NbElementRenderer, data: MimeData, inline: bool) -> list[nodes.Element] | None:
        if data.mime_type == MIME and not inline:
            return [nodes.container(check=data.content)]
        return None


def set_fields(app: Sphinx, doctree: nodes.document) -> None:
    """Move every check's data into its exercise's box, and fold its cell."""
    box: nodes.Element | None = None
    names: list[str] = []
    for node in list(doctree.findall(nodes.Element)):
        if isinstance(node, exercise_node | exercise_enumerable_node):
            box, names = node, []
        elif node.get("nb_element") == "cell_code_source" and (found := _OPEN.search(node.astext())):
            names = re.split(r", *", found["names"])
        elif node.get("nb_element") == "cell_code" and box is not None:
            for data in take(node):
                name = names.pop(0) if names else "answer"
                number = sum(
                    "answer" in form["classes"] for form in box.children if isinstance(form, nodes.raw)
                )
                box += field(data, box["label"], number + 1, name)
                node.attributes.update(_FOLD)
                node["classes"].append("tag_hide-input")


def take(cell: nodes.Element) -> Iterator[dict[str, Any]]:
    """The data that a cell put out, taken from it; where there are any, the line of the open question goes too."""
    outputs = [child for child in cell.children if child.get("nb_element") == "cell_code_output"]
    for output in outputs:
        places = [node for node in output.findall(nodes.container) if "check" in node]
        if not places:
            continue
        judged = any(place["check"]["kind"] != "code" for place in places)
        for child in list(output.children):
            if any(place in child.findall() for place in places) or (
                judged and child.astext().startswith("Not answered yet")
            ):
                output.remove(child)
        if not output.children:
            cell.remove(output)
        yield from (place["check"] for place in places)


def field(data: dict[str, Any], label: str, number: int, name: str) -> nodes.raw:
    """The form of one answer, or where only Python can judge, the way there."""
    if data["kind"] == "code":
        text = "<p>The answer is code: write it in JupyterLab, and run the check below it.</p>"
        return nodes.raw("", f'<div class="answer">{text}</div>', format="html", classes=["answer"])
    key = f"answer-{label}-{number}"
    sealed = base64.b64encode(json.dumps(data).encode()).decode()
    if data["kind"] == "truth":
        options = "".join(f"<option>{value}</option>" for value in ("", "True", "False"))
        control = f'<select id="{key}" aria-describedby="{key}-verdict">{options}</select>'
    else:
        several = "" if data["scalar"] else ' placeholder="numbers, a comma between them"'
        control = (
            f'<input id="{key}" type="text" autocomplete="off" spellcheck="false"'
            f' aria-describedby="{key}-verdict"{several}>'
        )
    html = (
        f'<form class="answer" data-exercise="{escape(label)}" data-check="{sealed}">'
        f'<label for="{key}">Your answer, <code>{escape(name)}</code> =</label> {control} '
        f'<button type="submit">Check</button>'
        f'<p class="verdict" id="{key}-verdict" role="status" aria-live="polite"></p></form>'
    )
    return nodes.raw("", html, format="html", classes=["answer"])


def setup(app: Sphinx) -> dict[str, Any]:
    os.environ[FOR_PAGES] = "1"  # for the kernels that the build starts
    if Answers not in load_mime_renders():
        load_mime_renders().append(Answers)
    app.connect("doctree-read", set_fields)
    app.add_js_file("answers.js")
    return {"parallel_read_safe": True}
