"""Small repairs of what the theme and other extensions make: weight, ids and accessibility."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

REPEATED = {"exercise-content", "solution-content", "proof-content"}
"""The ids that sphinx-exercise and sphinx-proof give to a section inside every box; nothing asks for them."""


def drop_icon_script(app: Sphinx, exception: Exception | None) -> None:
    """Empty the script of 1.5 MB that draws the theme's icons as SVG; its font and styles draw the same ones."""
    script = Path(app.outdir) / "_static" / "scripts" / "fontawesome.js"
    if exception is None and script.is_file():
        script.write_text("// Icons come from the font.\n", encoding="utf-8")


def drop_repeated_ids(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """An id stands once on a page."""
    for section in doctree.findall(nodes.section):
        section["ids"] = [name for name in section["ids"] if name not in REPEATED]


def repair_roles(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """A bibliography's entries are no list items, so it is no list."""
    if "body" in context:
        context["body"] = context["body"].replace(
            '<div role="list" class="citation-list">', '<div class="citation-list">'
        )


def mark_photographs(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let the style sheet know the pages whose pictures are photographs: dark mode must not brighten those."""
    if page.startswith("images/") and "body" in context:
        context["body"] = f'<div class="photographs">{context["body"]}</div>'


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", drop_repeated_ids)
    app.connect("html-page-context", repair_roles, priority=900)
    app.connect("html-page-context", mark_photographs, priority=900)
    app.connect("build-finished", drop_icon_script)
    return {"parallel_read_safe": True}
