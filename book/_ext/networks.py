"""Weights for the explorers that run a network: made from ``data/`` when the book is, into ``_static/networks``.

No page holds them. A page's explorer knows the folder, and loads its network once it comes into view.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from cfgtoy.explorers import _weights

FOLDER = "_static/networks"


def place(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Write the weights that this page's explorers ask for, and tell them where."""
    if "data-weights=" in context.get("body", ""):
        address = context["pathto"](FOLDER, resource=True) + "/"
        context["body"] = _weights.place(context["body"], Path(app.outdir) / FOLDER, address)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", place, priority=900)
    return {"parallel_read_safe": True}
