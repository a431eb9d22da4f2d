"""Where the book is, what it has, and its tools as modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
HTML = ROOT / "_build" / "html"


def page_names() -> list[str]:
    """The pages that the table of contents names."""

    def files(entry: Any) -> Iterator[str]:
        if isinstance(entry, dict):
            for key, value in entry.items():
                yield from [value] if key in ("file", "root") else files(value)
        elif isinstance(entry, list):
            for item in entry:
                yield from files(item)

    return list(files(yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))))


def chapter_paths() -> list[Path]:
    """The notebooks that the table of contents names."""
    return [path for name in page_names() if (path := BOOK / f"{name}.ipynb").is_file()]


def tool(name: str) -> ModuleType:
    """A module of ``tools/`` or of the book's extensions."""
    for folder in (str(ROOT / "tools"), str(BOOK / "_ext")):
        if folder not in sys.path:
            sys.path.append(folder)
    return importlib.import_module(name)
