"""What the book holds: the one place that reads the table of contents, ``_toc.yml``, and the notebooks it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Part:
    """A part of the book: its caption, empty for the front page, and the names of its pages."""

    caption: str
    pages: tuple[str, ...]


def parts(book: Path) -> list[Part]:
    """The parts of the book in the folder ``book``, the front page first."""

    def files(entry: dict[str, Any]) -> Iterator[str]:
        yield entry["file"].removesuffix(".ipynb")
        for inner in entry.get("sections", []):
            yield from files(inner)

    contents = loaded(book / "_toc.yml")
    found = [Part("", (contents["root"],))]
    for part in contents.get("parts", [contents]):
        pages = tuple(page for entry in part["chapters"] for page in files(entry))
        found.append(Part(part.get("caption", "Chapters"), pages))
    return found


def pages(book: Path) -> list[str]:
    """The names of all pages, in the order of the book."""
    return [page for part in parts(book) for page in part.pages]


def notebooks(book: Path) -> list[Path]:
    """The pages that are notebooks, in the order of the book."""
    return [path for page in pages(book) if (path := book / f"{page}.ipynb").is_file()]


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a committed notebook, each source one text. They are read once: leave them as they are."""
    return _cells(path, path.stat().st_mtime_ns)


@cache
def _cells(path: Path, changed: int) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in found]


def loaded(path: Path) -> Any:
    """What a YAML file says, read once: leave it as it is."""
    return _loaded(path, path.stat().st_mtime_ns)


@cache
def _loaded(path: Path, changed: int) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def title(path: Path) -> str:
    """The first heading of a notebook."""
    lines = (
        line for cell in cells(path) if cell["cell_type"] == "markdown" for line in cell["source"].split("\n")
    )
    return next((line.removeprefix("# ").strip() for line in lines if line.startswith("# ")), path.stem)
