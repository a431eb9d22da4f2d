"""Words on built pages that no word list has.

    python tools/spelling.py _build/html/intro.html …

Prose only: code, mathematics, names in references and the API's signatures are left out. A word passes if it is
in an English word list or in book/spelling.txt, with a British spelling where the two differ.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

from bs4 import BeautifulSoup
from spellchecker import SpellChecker

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = ", ".join(
    [
        "pre",
        "code",
        "script",
        "style",
        ".math",
        ".sig",
        ".field-list strong",
        ".field-list em",
        ".field-list a",
        ".citation",
        ".footnote",
        ".headerlink",
        ".cfgtoy-widget",
    ]
)
WORD = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿ]+(?:['’][a-z]+)?")
AMERICAN = re.compile(
    r"(?:col|behavi|fav|neighb)or|(?:normal|minim|maxim|general|optim|visual|initial)iz|center(?!\w)"
)


@cache
def known() -> SpellChecker:
    """The word list, with the project's own words."""
    checker = SpellChecker(language="en", distance=1)
    own = (ROOT / "book" / "spelling.txt").read_text(encoding="utf-8").split()
    checker.word_frequency.load_words(own)
    return checker


def american(word: str) -> str:
    """A British spelling as the word list has it: ``colour`` as ``color``, ``normalised`` as ``normalized``."""
    word = re.sub(r"(col|behavi|fav|neighb)our", r"\1or", word)
    word = re.sub(r"(?<=[lmnrt])is(e|ed|es|er|ing|ation)$", r"iz\1", word)
    return word.replace("centre", "center").replace("grey", "gray").replace("modell", "model")


def text(html: str) -> str:
    """The prose of a page's article."""
    soup = BeautifulSoup(html, "html.parser")
    article = soup.select_one("article.bd-article") or soup
    for node in article.select(LEFT_OUT):
        node.decompose()
    return article.get_text(" ")


def unknown(prose: str) -> list[str]:
    """The words that no list has or that are spelt the American way, sorted."""
    own = set((ROOT / "book" / "spelling.txt").read_text(encoding="utf-8").split())
    found = set()
    prose = re.sub(r"https?://\S+", " ", prose)
    for match in WORD.finditer(prose):
        word = re.sub(r"['’](?:s|d|ll|re|ve|t)$", "", match.group())
        if len(word) < 3 or (word.isupper() and len(word) <= 5):
            continue
        if word in own or word.lower() in own:
            continue
        spelt = {word.lower(), american(word.lower())}
        if AMERICAN.search(word.lower()) or known().unknown(spelt) == spelt:
            found.add(word)
    return sorted(found)


def main() -> int:
    bad = 0
    for path in map(Path, sys.argv[1:]):
        if words := unknown(text(path.read_text(encoding="utf-8"))):
            print(f"{path}: {', '.join(words)}")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
