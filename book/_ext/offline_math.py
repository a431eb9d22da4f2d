"""Serve MathJax from the book's own files: the part of it that the book uses, from a Python package."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

PARTS = (
    "startup.js",
    "core.js",
    "a11y/assistive-mml.js",
    "input/tex.js",
    "input/tex/extensions",
    "output/chtml.js",
    "output/chtml/fonts",
)
COMPONENTS = ["core", "input/tex", "output/chtml", "a11y/assistive-mml"]


def mathjax() -> Path:
    """Where the installed package keeps MathJax. Its name has hyphens, so it cannot be imported by name."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise RuntimeError("sphinx-mathjax-offline is not installed: pip install -r requirements.txt")
    return Path(spec.origin).parent / "static" / "mathjax"


def copy(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    source, target = mathjax(), Path(app.outdir) / "_static" / "mathjax"
    for part in PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            (target / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / part, target / part)


def configure(app: Sphinx, config: Config) -> None:
    """Load the components one by one: the single file that holds them all is half as large again."""
    config.mathjax_path = "mathjax/startup.js"
    config.mathjax3_config.setdefault("loader", {})["load"] = COMPONENTS


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinx.ext.mathjax")
    app.connect("config-inited", configure)
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True}
