"""How the notebooks' outputs become a page, where myst-nb does not know it: alt texts and measurements."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar

from docutils import nodes
from measurements import KINDS
from myst_nb.core.render import MimeData, MimeRenderPlugin, NbElementRenderer, load_mime_renders
from sphinx.application import Sphinx

from cfgtoy.ledger import MIME


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


def setup(app: Sphinx) -> dict[str, Any]:
    # myst-nb finds plugins among installed packages' entry points; this one comes with the book.
    if Outputs not in load_mime_renders():
        load_mime_renders().append(Outputs)
    return {"parallel_read_safe": True}
