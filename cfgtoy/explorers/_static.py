"""Widgets that are alive in JupyterLab and, with no kernel, in a static page."""

import base64
import hashlib
import html
import itertools
import json
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

from ._bundle import Module, as_es_module, modules

_HERE = Path(__file__).parent
_COUNT = itertools.count()


class StaticWidget(anywidget.AnyWidget):
    """An `anywidget.AnyWidget` whose output also carries a page fragment that runs the same ES module.

    A subclass names its ``module``, an ``.mjs`` file with anywidget's default export, further ``styles``, and synced
    traits, whose values, as JSON, are what the module's ``model.get`` finds in either place. The fragment needs no
    kernel, no network and no other file, over http and from disk. Where no script runs, the still image shows.

    ``live`` says whether a kernel answers, ``alt`` what the widget shows, for readers who do not see it.
    """

    module: ClassVar[Path]
    styles: ClassVar[tuple[Path, ...]] = ()
    _modules: ClassVar[list[Module]] = []

    live = traitlets.Bool(True).tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "module" in cls.__dict__:
            cls._modules = modules(cls.module)
            cls._esm = as_es_module(cls._modules)
            sheets = (_HERE / "_widget.css", *cls.styles)
            cls._css = "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
        super().__init_subclass__(**kwargs)

    def still(self) -> tuple[bytes, int]:
        """A PNG of the widget as it starts and its width in page pixels."""
        raise NotImplementedError

    def attributes(self) -> dict[str, str]:
        """Further attributes of the widget's container in a page."""
        return {}

    def static_state(self) -> dict[str, Any]:
        """The public synced traits, as JSON takes them: what the page's model holds."""
        of_jupyter = {"layout", "tabbable", "tooltip"}
        names = [name for name in self.keys if not name.startswith("_") and name not in of_jupyter]
        return {**self.get_state(names), "live": False}

    def _picture(self) -> tuple[str, int]:
        """The still image as base64 text, and its width."""
        png, width = self.still()
        return base64.b64encode(png).decode(), width

    def static_html(self) -> str:
        """The page fragment: a container with the still image, the modules, the state, and the start."""
        return self._fragment(*self._picture())

    def _fragment(self, png: str, width: int) -> str:
        state = json.dumps(self.static_state(), separators=(",", ":"), allow_nan=False)
        state = state.replace("<", "\\u003c")
        name = hashlib.sha256(f"{next(_COUNT)}{state}".encode()).hexdigest()[:10]
        style = hashlib.sha256(self._css.encode()).hexdigest()[:10]
        shim = modules(_HERE / "_static.mjs")
        parts = {part.key: part.script for part in (*shim, *self._modules)}
        scripts = "\n".join(f'<script data-cfgtoy="{key}">{text}</script>' for key, text in parts.items())
        still = f'<img src="data:image/png;base64,{png}" alt="{html.escape(self.alt)}" width="{width}">'
        more = "".join(f' {key}="{html.escape(text)}"' for key, text in self.attributes().items())
        return (
            f'<style data-cfgtoy="style-{style}">{self._css}</style>\n'
            f'<div class="cfgtoy-widget" id="cfgtoy-{name}"{more}>{still}</div>\n'
            f"{scripts}\n"
            f'<script type="application/json" id="cfgtoy-{name}-state">{state}</script>\n'
            f'<script>globalThis.__cfgtoy["{shim[-1].key}"]'
            f'.mount("cfgtoy-{name}", "{self._modules[-1].key}");</script>'
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        png, width = self._picture()
        data |= {"text/plain": f"Interactive figure: {self.alt}", "text/html": self._fragment(png, width)}
        about = {"image/png": {"alt": self.alt, "width": width}}
        return data | {"image/png": png}, metadata | about
