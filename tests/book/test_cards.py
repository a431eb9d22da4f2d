"""Statement cards and code below pictures: what the pages make of the chapters' cells."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from cfgtoy.ledger import MIME
from tests.book.support import BOOK, parsed, tool


def soup_of(html: Path, chapter: Path) -> BeautifulSoup:
    page = html / chapter.relative_to(BOOK).with_suffix(".html")
    return parsed(page)


def plain(text: str) -> str:
    """Letters and digits alone: formulas and quotation marks are set in other ways on a page."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\\\(.*?\\\)|\$[^$]*\$", "", text.lower()))


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('measured("a", 1, gap < 2)', [[("", "gap < 2")]]),
        ('x = f()\nok = x > 1\nmeasured("a", x, ok, "in a way")', [[("", "ok"), ("ok", "x > 1")]]),
        (
            'far = all(a > 1 for a in b)\nok = far and c < 2\nledger.measured("a", 1, holds=bool(ok))',
            [[("", "ok"), ("ok", "far and c < 2"), ("far", "all((a > 1 for a in b))")]],
        ),
        ('least = min(r)\nmeasured("Told", None, "a", least, least > 0.9)', [[("", "least > 0.9")]]),
        ('measured("a", 1, True)', [[]]),
        ('measured("a", 1, x)\nmeasured("b", 1, y)', [[("", "x")], [("", "y")]]),
    ],
)
def test_reads_what_a_verdict_asks_for(source: str, lines: list[list[tuple[str, str]]]) -> None:
    assert tool("cards").asked(source) == lines


def test_statement_keeps_its_formulas() -> None:
    parts = tool("cards").spoken("The $\\lambda$ is cut to $[-20, 20]$.")
    assert [type(part).__name__ for part in parts] == ["Text", "math", "Text", "math", "Text"]
    assert "".join(part.astext() for part in parts) == "The \\lambda is cut to [-20, 20]."


def test_every_measurement_is_a_card(html: Path, chapter: Path) -> None:
    """What was told, who said it, the figure, the verdict and the test, folded and as committed, stand together."""
    soup = soup_of(html, chapter)
    told = {c: (g.claims[c], g.said[c]) for g in tool("measurements").groups(BOOK) for c in g.claims}
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        measurements = [o["data"][MIME] for o in cell.get("outputs", []) if MIME in o.get("data", {})]
        for number, one in enumerate(measurements):
            card = soup.find(id=tool("outputs").anchor(one["what"]))
            assert card is not None
            assert "statement" in card["class"]  # type: ignore[index]
            text = card.get_text()
            assert one["verdict"] in text
            for claim in cell["metadata"].get("cfgtoy", {}).get("claims", []) if number == 0 else []:
                assert plain(told[claim][0]) in plain(text), claim
                assert told[claim][1] in text
            if cell["metadata"].get("tags") != ["hide-input"] and number + 1 == len(measurements):
                fold = card.select_one("details")
                assert fold is not None
                assert not fold.has_attr("open")
                code = "".join(fold.select_one("pre").get_text().split())  # type: ignore[union-attr]
                assert code == "".join("".join(cell["source"]).split())


def test_every_claim_has_somebody_who_said_it() -> None:
    for group in tool("measurements").groups(BOOK):
        assert all(group.said[claim] for claim in group.claims), group.letter


def test_who_said_an_unknown_claim_is_refused(tmp_path: Path) -> None:
    (tmp_path / "claims.yml").write_text("A: {title: T, who: me, by: {A2: you}, claims: {A1: told}}\n")
    with pytest.raises(ValueError, match="A2"):
        tool("measurements").groups(tmp_path)


def test_no_row_of_bars_before_the_first_picture(html: Path, chapter: Path) -> None:
    """No fold of code stands above the first picture, and nowhere do two stand in a row."""
    soup = soup_of(html, chapter)
    article = soup.select_one("article.bd-article")
    assert article is not None
    cells = article.select("div.cell")
    first = next(
        (k for k, c in enumerate(cells) if c.select_one(".cell_output img, .cell_output .cfgtoy-widget")),
        None,
    )
    opening = cells[:first] if chapter.parent.name != "explorers" else []
    for cell in opening:
        if "folded" in cell["class"] and not cell.find_parent(class_="statement"):
            before = cell.find_previous_sibling()
            assert before is not None
            assert before.select_one(".cell_output"), cell.get_text()[:80]  # it is the code of a table
    for cell in article.select("div.folded"):
        after = cell.find_next_sibling()
        assert after is None or "folded" not in (after.get("class") or []), cell.get_text()[:80]


def test_code_for_a_picture_is_under_it(html: Path, chapter: Path) -> None:
    """Outside of the gallery a cell with a picture shows no open code of its own."""
    article = soup_of(html, chapter).select_one("article.bd-article")
    assert article is not None
    for cell in article.select("div.cell") if chapter.parent.name != "explorers" else []:
        if cell.select_one(".cell_output img, .cell_output .cfgtoy-widget"):
            assert not cell.select(":scope > .cell_input"), cell.get_text()[:80]
            after = cell.find_next_sibling()
            while after is not None and "cell" in after["class"] and "folded" not in after["class"]:
                after = after.find_next_sibling()  # one piece of work with what it prints next
            assert cell.select_one(".statement") or "folded" in after["class"], cell.get_text()[:80]  # type: ignore[index]


def test_checks_keep_their_words(html: Path, chapter: Path) -> None:
    """The fold of an exercise's check says what it is."""
    for fold in soup_of(html, chapter).select("details.hide"):
        inside = fold.find_parent(class_="solution") or fold.find_parent(class_="statement")
        if inside is None and re.search(r"(?m)^check\w*\(|= Check\(", fold.select_one("pre").get_text()):  # type: ignore[union-attr]
            assert "check" in fold.select_one("summary").get_text(), fold.get_text()[:80]  # type: ignore[union-attr]


def test_no_code_is_lost(html: Path, chapter: Path) -> None:
    """Each cell's code is on its page once, wherever it was folded to."""
    soup = soup_of(html, chapter)
    shown = ["".join(block.get_text().split()) for block in soup.select("div.cell div.highlight pre")]
    for cell in json.loads(chapter.read_text(encoding="utf-8"))["cells"]:
        source = "".join("".join(cell["source"]).split())
        if cell["cell_type"] == "code" and source:
            assert shown.count(source) >= 1, "".join(cell["source"])[:80]
