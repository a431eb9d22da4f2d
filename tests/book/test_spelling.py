"""The pages' prose: every word is in a word list, and none is a known misspelling."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.book.support import BOOK, page_names, tool


@cache
def prose(page: Path) -> str:
    """What both tests of a page read."""
    return tool("spelling").text(page.read_text(encoding="utf-8"))


def test_words_are_known(html: Path, page_name: str) -> None:
    found = prose(html / f"{page_name}.html")
    assert found.strip()
    assert not tool("spelling").unknown(found)


@pytest.mark.parametrize("wrong", ["recieve", "gaurantee", "color", "normalize", "Gausian"])
def test_a_wrong_word_is_found(wrong: str) -> None:
    assert tool("spelling").unknown(f"the {wrong} of it") == [wrong]


@pytest.mark.parametrize(
    "right", ["colour", "normalise", "raised", "surprise", "Fréchet", "denoiser", "model's"]
)
def test_a_right_word_passes(right: str) -> None:
    assert tool("spelling").unknown(f"the {right} of it") == []


def test_own_words_are_sorted_and_single() -> None:
    words = (BOOK / "spelling.txt").read_text(encoding="utf-8").split()
    assert words == sorted(set(words), key=lambda word: (word.lower(), word))


def test_codespell_finds_nothing(html: Path, tmp_path: Path) -> None:
    """On any page; one process reads them all."""
    for name in page_names():
        file = tmp_path / f"{name.replace('/', '-')}.txt"
        file.write_text(prose(html / f"{name}.html"), encoding="utf-8")
    words = ",".join(word.lower() for word in (BOOK / "spelling.txt").read_text(encoding="utf-8").split())
    command = [sys.executable, "-m", "codespell_lib", "-L", words, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
