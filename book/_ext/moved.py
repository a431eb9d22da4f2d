"""Pages that have moved since the first edition: at the old address stands a page that leads on, to the same place."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

MOVED = {"images/15-attack-images": ("guidance/08-attack", "ch-attack-images")}
"""A page that is gone, to the one that has its text now, and where on it that begins."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Moved</title>
<noscript><meta http-equiv="refresh" content="0; url={address}#{anchor}"></noscript>
<script>location.replace("{address}" + (location.hash || "#{anchor}"))</script>
<p>This page is now <a href="{address}#{anchor}">a part of another</a>.</p>
</html>
"""


def leave(app: Sphinx, exception: Exception | None) -> None:
    """Write a page at each old address."""
    if exception or app.builder.format != "html":
        return
    for old, (new, anchor) in MOVED.items():
        if new not in app.project.docnames:
            continue  # a preview of another chapter
        path = Path(app.outdir, f"{old}.html")
        path.parent.mkdir(parents=True, exist_ok=True)
        address = posixpath.relpath(f"{new}.html", posixpath.dirname(old))
        path.write_text(PAGE.format(address=address, anchor=anchor), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", leave)
    return {"parallel_read_safe": True}
