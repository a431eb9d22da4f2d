"""Links to pages, and to places on them, that the book's own directives make before all pages are known."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


class page_link(nodes.Element):
    """A link with the text ``title`` to the place ``anchor`` on ``page``; to the page itself where that is empty."""


def link(page: str, title: str, anchor: str = "") -> page_link:
    """Such a link."""
    return page_link("", page=page, title=title, anchor=anchor)


def resolve(app: Sphinx, doctree: nodes.document, page: str) -> None:
    for found in list(doctree.findall(page_link)):
        uri = app.builder.get_relative_uri(page, found["page"]) + (found["anchor"] and f"#{found['anchor']}")
        found.replace_self(nodes.reference(text=found["title"], refuri=uri, internal=True))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(page_link)
    app.connect("doctree-resolved", resolve)
    return {"parallel_read_safe": True}
