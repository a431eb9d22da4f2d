"""Every line of an "In short" leads to where it is measured, or to the formula that it says in words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.book.support import BOOK, chapter_paths, parsed, tool

LINK = re.compile(r"\{(?P<role>measured|eq|ref|prf:ref)\}`(?:[^`]*? <)?(?P<target>[^`<>]+)>?`")
LAST = re.compile(LINK.pattern + r"\)?\.?$")
NAME = re.compile(r"(?m)^\(([\w-]+)\)=|^\$\$ ?\(([\w-]+)\)|^:label: ([\w-]+)")
NUMBERED = [path for path in chapter_paths() if path.name[0].isdigit()]


def prose(path: Path) -> str:
    """A chapter's text, without its code."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def lines(text: str) -> list[str]:
    """The bullets of "In short", each on one line."""
    [part] = re.findall(r"(?ms)^## In short\n(.+?)(?=^## |\Z)", text)
    bullets = re.findall(r"(?m)^- .+(?:\n  .+)*", part)
    return [" ".join(bullet.split()) for bullet in bullets]


def labels() -> set[str]:
    """What the chapters name: places, formulas and algorithms."""
    text = "\n".join(prose(path) for path in NUMBERED)
    return {name for found in NAME.findall(text) for name in found if name}


def test_reads_the_lines() -> None:
    text = "## In short\n\n- One\n  goes on. {eq}`eq-a`\n- Two. ({measured}`here <gap>`)\n\nNext: x\n\n## More\n\n- no"
    assert lines(text) == ["- One goes on. {eq}`eq-a`", "- Two. ({measured}`here <gap>`)"]
    assert [LINK.search(line)["target"] for line in lines(text)] == ["eq-a", "gap"]  # type: ignore[index]
    assert all(LAST.search(line) for line in lines(text))
    assert not LAST.search("- {eq}`eq-a` and more.")


@pytest.mark.parametrize("chapter", NUMBERED, ids=lambda path: path.stem)
def test_every_line_ends_with_where_it_is_measured(chapter: Path) -> None:
    said = lines(prose(chapter))
    assert len(said) >= 3
    assert [line for line in said if not LAST.search(line)] == []
    assert any("{measured}" in line for line in said)


@pytest.mark.parametrize("chapter", NUMBERED, ids=lambda path: path.stem)
def test_what_the_lines_lead_to_is_there_once(chapter: Path) -> None:
    quantities = [what for _, what in tool("measurements").quantities(BOOK)]
    known = labels()
    for line in lines(prose(chapter)):
        for link in LINK.finditer(line):
            if link["role"] == "measured":
                assert sum(what.startswith(link["target"]) for what in quantities) == 1, link["target"]
            else:
                assert link["target"] in known


@pytest.mark.parametrize("chapter", NUMBERED, ids=lambda path: path.stem)
def test_the_page_leads_there(html: Path, chapter: Path) -> None:
    """Each line's last link ends on a card, a formula, an algorithm or a section."""
    page = html / chapter.relative_to(BOOK).with_suffix(".html")
    soup = parsed(page)
    items = soup.select("#in-short > ul > li")
    assert len(items) == len(lines(prose(chapter)))
    for item in items:
        parts = urlsplit(str(item.select("a[href]")[-1]["href"]))
        place = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        there = parsed(place)
        target = there.find(id=unquote(parts.fragment))
        assert target is not None, item.get_text()
        kinds = set(target.get("class") or [])
        assert kinds & {"statement", "math", "algorithm"} or target.name in ("section", "span"), (
            item.get_text()
        )
