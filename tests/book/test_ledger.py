"""The ledger: collected from the chapters, complete, and strict about what it collects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cfgtoy.ledger import MIME, measured
from tests.book.support import BOOK, parsed, tool

COUNTS = {"A": 8, "B": 6, "C": 5, "D": 4, "E": 8, "F": 11, "G": 17, "H": 20}
IDS = [f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)]


def test_claims_are_all_there() -> None:
    claims = {
        claim: text for group in tool("measurements").groups(BOOK) for claim, text in group.claims.items()
    }
    assert list(claims) == IDS
    assert all(len(text.split()) > 3 for text in claims.values())


@pytest.mark.parametrize("claim", IDS)
def test_claim_is_measured(claim: str) -> None:
    found = [row for row in tool("measurements").rows(BOOK) if row.claim == claim]
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
    soup = parsed(html / "back" / "ledger.html")
    shown = [plain(row.get_text()) for row in soup.select("table.ledger tbody tr")]
    found = tool("measurements").rows(BOOK)
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
    rows = tool("measurements").rows(book(tmp_path, ["A2", "A1"], [output("gap", 0.25, True, "here")]))
    assert [(r.claim, r.page, r.title, r.what, r.figure) for r in rows] == [
        ("A2", "one", "The title", "gap", "0.250"),
        ("A1", "one", "The title", "gap", "0.250"),
    ]
    assert {(r.verdict, r.caveat) for r in rows} == {("holds with a caveat", "here")}


def test_a_cell_may_say_what_it_measured_on(tmp_path: Path) -> None:
    folder = book(tmp_path, ["A1"], [output("gap", 0.25, True)])
    text = (
        (folder / "one.ipynb").read_text().replace('{"claims": ["A1"]}', '{"claims": ["A1"], "on": "digits"}')
    )
    (folder / "one.ipynb").write_text(text)
    assert [row.on for row in tool("measurements").rows(folder)] == ["digits"]


@pytest.mark.parametrize(
    ("page", "what", "on"),
    [
        ("guidance/11-trade-off", "FID in the paper at equal score", "the paper's tables"),
        ("guidance/11-trade-off", "w of the smallest distance", "mixtures"),
        ("background/01-forward", "a gap to three digits", "mixtures"),
        ("images/13-digits", "share of sevens", "digits"),
        ("images/14-cifar10", "share of ships", "CIFAR-10"),
        ("images/14-cifar10", "FID in the paper", "the paper's tables"),
        ("images/a", "confidence on digits", "digits"),
        ("images/a", "confidence", "CIFAR-10"),
        ("images/a", "curl, CIFAR-10 and digits", "digits and CIFAR-10"),
    ],
)
def test_what_was_measured_on_follows_from_words_and_page(page: str, what: str, on: str) -> None:
    assert tool("measurements").measured_on(page, what) == on


def test_rows_name_what_the_book_measures_on() -> None:
    """Images in the part on images, and elsewhere where a cell says so."""
    ledger = tool("measurements")
    for row in ledger.rows(BOOK):
        assert row.on in ("mixtures", "the paper's tables", *ledger.IMAGES), row
        assert row.on != "mixtures" or not row.page.startswith("images/"), row
        assert row.on not in ledger.IMAGES or row.page.startswith(
            ("images/", "beyond/", "guidance/08-attack")
        ), row


def test_a_claim_differs_where_the_hardest_verdicts_do() -> None:
    ledger = tool("measurements")

    def row(claim: str, on: str, verdict: str) -> object:
        return ledger.Row(claim, "page", "title", on, "what", "1", verdict, "")

    rows = [
        row("A1", "mixtures", "holds"), row("A1", "mixtures", "holds with a caveat"),
        row("A1", "digits", "holds with a caveat"), row("A1", "digits", "holds"),
        row("A2", "mixtures", "holds"), row("A2", "digits", "holds"), row("A2", "CIFAR-10", "fails as stated"),
        row("A3", "mixtures", "holds"), row("A3", "the paper's tables", "fails as stated"),
        row("A4", "CIFAR-10", "fails as stated"),
    ]  # fmt: skip
    assert list(ledger.differing(rows)) == ["A2"]


def test_page_marks_and_lists_what_differs(html: Path) -> None:
    ledger = tool("measurements")
    soup = parsed(html / "back" / "ledger.html")
    wanted = {f"differs-{claim.lower()}" for claim in ledger.differing(ledger.rows(BOOK))}
    assert {str(a["href"]).lstrip("#") for a in soup.select("table.ledger a[href^='#differs-']")} == wanted
    listed = {str(node["id"]): node for node in soup.select("dt[id^=differs-]")}
    assert set(listed) == wanted
    for term in listed.values():
        lines = term.find_next("dd").select("li")  # type: ignore[union-attr]
        assert len(lines) >= 2
        assert all(line.select("a") for line in lines)


def test_summary_counts_every_row(html: Path) -> None:
    rows = tool("measurements").rows(BOOK)
    soup = parsed(html / "intro.html")
    lines = [
        [cell.get_text(strip=True) for cell in tr.select("td")]
        for tr in soup.select("table.ledger-summary tbody tr")
    ]
    assert sum(int(count) for line in lines for count in line[2:]) == len(rows)
    for on, claims, *_ in lines:
        assert int(claims) == len({row.claim for row in rows if row.on == plain_on(on)})


def plain_on(text: str) -> str:
    """As the rows have it, without the page's curly apostrophe."""
    return text.replace("’", "'")


def test_unknown_claim_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="A9"):
        tool("measurements").rows(book(tmp_path, ["A9"], [output("gap", 0.25, True)]))


def test_claim_without_measurement_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no measured output"):
        tool("measurements").rows(book(tmp_path, ["A1"], []))
