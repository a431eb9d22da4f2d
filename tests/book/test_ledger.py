"""The ledger: collected from the chapters, complete, and strict about what it collects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from cfgtoy.ledger import MIME, measured
from tests.book.support import BOOK, tool

COUNTS = {"A": 8, "B": 6, "C": 5, "D": 4, "E": 8, "F": 11, "G": 2, "H": 12}
IDS = [f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)]


def test_claims_are_all_there() -> None:
    claims = {
        claim: text for group in tool("ledger_table").groups(BOOK) for claim, text in group.claims.items()
    }
    assert list(claims) == IDS
    assert all(len(text.split()) > 3 for text in claims.values())


@pytest.mark.parametrize("claim", IDS)
def test_claim_is_measured(claim: str) -> None:
    found = [row for row in tool("ledger_table").rows(BOOK) if row.claim == claim]
    assert found, f"no chapter measures {claim}"
    for row in found:
        assert row.figure
        assert row.verdict in ("holds", "holds with a caveat", "fails as stated")
        if row.verdict == "holds with a caveat":
            assert row.caveat


def plain(text: str) -> str:
    """Without spaces, and with the quotation marks that one types."""
    return "".join(text.translate(str.maketrans("“”‘’", "\"\"''")).replace("--", "–").split())


def test_page_shows_every_row(html: Path) -> None:
    soup = BeautifulSoup((html / "back" / "ledger.html").read_text(encoding="utf-8"), "html.parser")
    shown = [plain(row.get_text()) for row in soup.select("table.ledger tbody tr")]
    found = tool("ledger_table").rows(BOOK)
    assert len(shown) >= len(found)
    for row in found:
        assert any(plain(f"{row.what}: {row.figure}") in line for line in shown), row


def test_measurements_are_named_once_a_page(chapter: Path) -> None:
    """A measurement's words are its anchor."""
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    names = [
        o["data"][MIME]["what"] for c in cells for o in c.get("outputs", []) if MIME in o.get("data", {})
    ]
    assert len(names) == len(set(names))


def book(folder: Path, claims: list[str], outputs: list[dict]) -> Path:
    """A book of one chapter with one code cell."""
    (folder / "claims.yml").write_text("A: {title: T, claims: {A1: told one, A2: told two}}\n")
    (folder / "_toc.yml").write_text("root: intro\nchapters:\n  - file: one\n")
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# The title\n", "text"], "id": "a"},
        {
            "cell_type": "code",
            "metadata": {"cfgtoy": {"claims": claims}},
            "outputs": outputs,
            "source": "",
            "id": "b",
        },
    ]
    (folder / "one.ipynb").write_text(json.dumps({"cells": cells}))
    return folder


def output(*arguments: object) -> dict:
    """A cell's measured output."""
    return {"output_type": "execute_result", "data": measured(*arguments)._repr_mimebundle_()}


def test_rows_come_from_outputs(tmp_path: Path) -> None:
    rows = tool("ledger_table").rows(book(tmp_path, ["A2", "A1"], [output("gap", 0.25, True, "here")]))
    assert [(r.claim, r.page, r.title, r.what, r.figure) for r in rows] == [
        ("A2", "one", "The title", "gap", "0.250"),
        ("A1", "one", "The title", "gap", "0.250"),
    ]
    assert {(r.verdict, r.caveat) for r in rows} == {("holds with a caveat", "here")}


def test_unknown_claim_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="A9"):
        tool("ledger_table").rows(book(tmp_path, ["A9"], [output("gap", 0.25, True)]))


def test_claim_without_measurement_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no measured output"):
        tool("ledger_table").rows(book(tmp_path, ["A1"], []))
