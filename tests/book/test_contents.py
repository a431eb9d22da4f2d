"""What the book holds: the table of contents and the notebooks it names, read in one place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.book.support import BOOK, ROOT, chapter_paths, page_names, tool

contents = tool("contents")


def test_pages_are_those_that_the_file_lists() -> None:
    """Read here in another way: the names after ``root`` and ``file``, in their order."""
    text = (BOOK / "_toc.yml").read_text(encoding="utf-8")
    listed = re.findall(r"(?m)^\s*(?:- )?(?:root|file): (\S+)$", text)
    assert page_names() == listed
    assert len(listed) > 20
    captions = re.findall(r"(?m)^\s*- caption: (.+)$", text)
    assert [part.caption for part in contents.parts(BOOK)] == ["", *captions]


def test_one_file_reads_it() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for folder in ("book/_ext", "tools", "cfgtoy")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"_toc\.yml.*\.read_text|load\w*\(.*_toc", path.read_text(encoding="utf-8"))
    ]
    assert readers == ["book/_ext/contents.py"]


def test_sections_belong_to_their_part(tmp_path: Path) -> None:
    toc = "root: intro\nchapters:\n  - file: one\n    sections:\n      - file: deep/two.ipynb\n  - file: three\n"
    (tmp_path / "_toc.yml").write_text(toc)
    assert contents.parts(tmp_path)[1] == contents.Part("Chapters", ("one", "deep/two", "three"))
    assert contents.pages(tmp_path) == ["intro", "one", "deep/two", "three"]


def test_cells_are_read_again_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    for text in ("# First", "# Second, longer"):
        path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": [text, "\n"]}]}))
        assert contents.title(path) == text[2:]


@pytest.mark.parametrize("path", chapter_paths(), ids=lambda path: path.stem)
def test_titles_are_first_headings(path: Path) -> None:
    assert f"# {contents.title(path)}" in path.read_text(encoding="utf-8")
