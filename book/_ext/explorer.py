"""Explorers: a directive for pages that are no notebooks, and widgets' code kept once for all pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from cfgtoy import explorers

_KEPT = re.compile(
    r'<(?P<tag>script|style) data-cfgtoy="(?P<key>[\w.-]+)">(?P<text>.*?)</(?P=tag)>', re.DOTALL
)
_LINKS = {
    "script": (".js", '<script src="{}"></script>'),
    "style": (".css", '<link rel="stylesheet" href="{}">'),
}


class Explorer(SphinxDirective):
    """``{explorer} SamplingExplorer``: an explorer on a page that is no notebook; traits as YAML below."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        for path in Path(explorers.__file__).parent.rglob("*.*"):
            if path.suffix in (".py", ".mjs", ".css"):
                self.env.note_dependency(str(path))
        traits = yaml.safe_load("\n".join(self.content)) or {}
        widget = getattr(explorers, self.arguments[0])(**traits)
        return [nodes.raw("", widget.static_html(), format="html")]


def share(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Move the modules and styles of widgets to files that all pages share; drop the kernel's widget states.

    The files hold classic scripts, which a browser loads from disk as well as over http.
    """
    context["script_files"] = [
        file
        for file in context.get("script_files", [])
        if getattr(file, "attributes", {}).get("type") != "application/vnd.jupyter.widget-state+json"
    ]
    if "data-cfgtoy=" not in context.get("body", ""):
        return
    folder = Path(app.outdir) / "_static" / "widgets"
    folder.mkdir(parents=True, exist_ok=True)
    root = context["pathto"]("_static/widgets", resource=True)
    seen: set[str] = set()

    def moved(match: re.Match[str]) -> str:
        suffix, link = _LINKS[match["tag"]]
        name = f"{match['key']}{suffix}"
        if name in seen:
            return ""
        seen.add(name)
        (folder / name).write_text(match["text"], encoding="utf-8")
        return link.format(f"{root}/{name}")

    context["body"] = _KEPT.sub(moved, context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("explorer", Explorer)
    app.connect("html-page-context", share, priority=900)
    return {"parallel_read_safe": True}
