"""The notation table against every numbered chapter, and the bibliography against the whole book."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import nbformat
import pytest

from tests.book.support import BOOK, tool

GREEK = re.compile(
    "alpha|beta|gamma|[dD]elta|zeta|eta|theta|kappa|mu|nu|xi|pi|rho|[sS]igma|tau|phi|chi|psi|omega|ell|lambda|eps|nullc"
)
SAME = {"logsnr": "lambda"}  # macros that show another letter
WORDS = re.compile(r"\\(?:text|mathrm|operatorname|begin|end|mathcal)\{[^}]*\}")
CODE = re.compile(
    r"(?<!`)`[^`\n]+`(?!`)|^```(?:console|python)$[\s\S]*?^```$", re.MULTILINE
)  # not the fences of theorems
MATH = re.compile(r"\$\$(.*?)\$\$|\$([^$]+?)\$", re.DOTALL)
SYMBOL = re.compile(r"\\?([A-Za-z]+)(?:_\\lambda)?")
NUMBERS = {BOOK / f"{chapter.page}.ipynb": chapter.number for chapter in tool("chapters").read(BOOK)}
CHAPTERS = sorted(NUMBERS)


def letters(markdown: str) -> set[str]:
    """The letters, Latin and Greek, that the formulas of a text use."""
    found = set()
    for block, inline in MATH.findall(CODE.sub("", markdown)):
        for name, letter in re.findall(r"\\([A-Za-z]+)|([A-Za-z])", WORDS.sub(" ", block or inline)):
            name = SAME.get(name, name)
            found |= {letter} if letter else {name} if GREEK.fullmatch(name) else set()
    return found


@cache
def table() -> list[tuple[str, frozenset[int]]]:
    """(letter, chapters) of each row that explains single letters; no chapters means all of them."""
    rows, local = [], False
    for line in (BOOK / "back" / "notation.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "Symbol":
            local = cells[1] == "Chapters"
        if not re.fullmatch(r"\$[^$]*\$", cells[0]):
            continue
        for symbol in cells[0].strip("$").split(","):
            if match := SYMBOL.fullmatch(symbol.strip()):
                where = frozenset(map(int, cells[1].split(","))) if local else frozenset()
                rows.append((match[1], where))
    return rows


def test_a_letter_has_one_row() -> None:
    assert [letter for letter, n in Counter(letter for letter, _ in table()).items() if n > 1] == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_uses_letters_as_the_table_says(path: Path) -> None:
    number = NUMBERS[path]
    known = {letter for letter, where in table() if not where or number in where}
    cells = nbformat.read(path, as_version=4).cells
    used = letters("\n".join(cell.source for cell in cells if cell.cell_type == "markdown"))
    assert used - known == set()


def test_a_row_of_single_chapters_is_used_there() -> None:
    for letter, where in table():
        for path in CHAPTERS:
            if NUMBERS[path] in where:
                cells = nbformat.read(path, as_version=4).cells
                assert letter in letters("\n".join(c.source for c in cells if c.cell_type == "markdown"))


@pytest.mark.parametrize(
    ("formula", "found"),
    [
        ("$T s^2$", "T s"),
        ("$$\n\\tilde s = \\rho(x)\n$$", "s rho x"),
        ("```{prf:theorem} A\n$v_\\text{ODE}$\n```", "v"),
        ("`$T$` and {eq}`eq-s`", ""),
        ("```console\n$ make book\n$ ls\n```", ""),
        ("$\\logsnr$, $\\E_q$", "lambda q"),
    ],
)
def test_finds_letters(formula: str, found: str) -> None:
    assert letters(formula) == set(found.split())


def test_every_source_is_cited() -> None:
    keys = re.findall(r"(?m)^@\w+\{([^,]+),", (BOOK / "references.bib").read_text(encoding="utf-8"))
    pages = [*BOOK.rglob("*.md"), *BOOK.rglob("*.ipynb")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in pages if "_build" not in path.parts)
    cited = {key.strip() for group in re.findall(r"cite:[pt]\}`([^`]+)`", text) for key in group.split(",")}
    assert sorted(set(keys) - cited) == []
