"""Where the book is, what it has, and its tools as modules."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
HTML = ROOT / "_build" / "html"


def page_names() -> list[str]:
    """The pages that the table of contents names."""
    return tool("contents").pages(BOOK)


def chapter_paths() -> list[Path]:
    """The notebooks that the table of contents names."""
    return tool("contents").notebooks(BOOK)


@cache
def parsed(path: Path) -> BeautifulSoup:
    """A built page, read once for all the tests that look into it; they leave it as it is."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def tool(name: str) -> ModuleType:
    """A module of ``tools/`` or of the book's extensions."""
    for folder in (str(ROOT / "tools"), str(BOOK / "_ext")):
        if folder not in sys.path:
            sys.path.append(folder)
    return importlib.import_module(name)
