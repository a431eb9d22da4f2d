"""How the notebooks' outputs become a page: alt texts, measurements, and widgets whose code is kept once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from docutils import nodes
from myst_nb.core.render import MimeData, MimeRenderPlugin, NbElementRenderer, load_mime_renders
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from cfgtoy import explorers
from cfgtoy.ledger import MIME

_SCRIPT = re.compile(r'<script data-cfgtoy="(?P<key>[\w.-]+)">(?P<text>.*?)</script>', re.DOTALL)
_STYLE = re.compile(r'<style data-cfgtoy="(?P<key>[\w.-]+)">(?P<text>.*?)</style>', re.DOTALL)

KINDS = {"holds": "holds", "holds with a caveat": "caveat", "fails as stated": "fails"}
"""A verdict's name in the style sheet."""


def anchor(what: str) -> str:
    """The id on its page of the measurement of ``what``."""
    return f"measured-{hashlib.sha256(what.encode()).hexdigest()[:8]}"


class Outputs(MimeRenderPlugin):
    """Renders what myst-nb does not: a figure's alt text, and measurements."""

    mime_priority_overrides: ClassVar[Sequence[tuple[str, str, int | None]]] = [("*", MIME, 1)]

    @staticmethod
    def handle_mime(renderer: NbElementRenderer, data: MimeData, inline: bool) -> list[nodes.Element] | None:
        if data.mime_type == "image/png" and "alt" in (metadata := data.output_metadata.get("image/png", {})):
            [image] = renderer.render_image(data)
            image["alt"] = metadata["alt"]
            return [image]
        if data.mime_type == MIME and not inline:
            return [measurement(data.content)]
        return None


def measurement(found: dict[str, str]) -> nodes.Element:
    """A measured line: what, figure, verdict, and the caveat below."""
    kind = KINDS[found["verdict"]]
    box = nodes.container(classes=["measured", f"measured-{kind}"], ids=[anchor(found["what"])])
    line = nodes.paragraph()
    line += nodes.inline(text=f"{found['what']}: ", classes=["measured-what"])
    line += nodes.strong(text=found["figure"])
    line += nodes.inline(text=found["verdict"], classes=["measured-verdict"])
    box += line
    if found["caveat"]:
        box += nodes.paragraph(text=found["caveat"], classes=["measured-caveat"])
    return box


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

    def moved(match: re.Match[str], suffix: str, tag: str) -> str:
        name = f"{match['key']}{suffix}"
        if name in seen:
            return ""
        seen.add(name)
        (folder / name).write_text(match["text"], encoding="utf-8")
        return tag.format(f"{root}/{name}")

    body = _SCRIPT.sub(lambda m: moved(m, ".js", '<script src="{}"></script>'), context["body"])
    context["body"] = _STYLE.sub(lambda m: moved(m, ".css", '<link rel="stylesheet" href="{}">'), body)


def setup(app: Sphinx) -> dict[str, Any]:
    # myst-nb finds plugins among installed packages' entry points; this one comes with the book.
    if Outputs not in load_mime_renders():
        load_mime_renders().append(Outputs)
    app.add_directive("explorer", Explorer)
    app.connect("html-page-context", share, priority=900)
    return {"parallel_read_safe": True}
