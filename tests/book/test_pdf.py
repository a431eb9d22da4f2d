"""The book on paper: one document whose links stay inside it, and its print."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from tests.book.support import BOOK, page_names, tool

pdf, contents = tool("pdf"), tool("contents")
KNOWN = {"intro", "guidance/06-a", "guidance/07-b"}
SMALL = [contents.Part("", ("intro",)), contents.Part("Guidance", ("guidance/08-attack",))]


@pytest.mark.parametrize(
    ("address", "leads"),
    [
        ("#x", "#guidance-06-a--x"),
        ("07-b.html", "#guidance-07-b"),
        ("../intro.html#y", "#intro--y"),
        ("../back/other.html", None),
        ("https://a.org/b.html", "https://a.org/b.html"),
    ],
)
def test_links_stay_inside(address: str, leads: str | None) -> None:
    assert pdf.linked("guidance/06-a", address, KNOWN) == leads


@pytest.fixture(scope="module")
def document(html: Path) -> BeautifulSoup:
    """The whole book as the page that is printed."""
    text = pdf.document(html, contents.parts(BOOK), base=html.as_uri(), size=pdf.PAPER["a4"], version="1.2.3")
    return BeautifulSoup(text, "html.parser")


def test_every_page_is_there_once_and_listed(document: BeautifulSoup) -> None:
    there = [section["id"] for section in document.select("main > section")]
    assert there == [pdf.ident(name) for name in page_names()]
    listed = [str(link["href"]) for link in document.select("nav.listing a")]
    assert [address for address in listed if not address.startswith("#part-")] == [
        f"#{name}" for name in there
    ]


def test_every_link_leads_somewhere(document: BeautifulSoup) -> None:
    ids = Counter(str(node["id"]) for node in document.select("[id]"))
    assert [name for name, count in ids.items() if count > 1] == []
    inside = {str(link["href"])[1:] for link in document.select('a[href^="#"]')}
    assert len(inside) > 100
    assert inside - set(ids) == set()
    outside = {urlsplit(str(link["href"])).scheme for link in document.select('a:not([href^="#"])')}
    assert outside <= {"https", "http", "mailto"}


def test_every_picture_is_a_file_or_inside(document: BeautifulSoup) -> None:
    for image in document.select("img"):
        parts = urlsplit(str(image["src"]))
        assert parts.scheme in ("data", "file")
        assert parts.scheme == "data" or Path(unquote(parts.path)).is_file()


def test_nothing_is_folded_and_nothing_runs_but_formulas(document: BeautifulSoup) -> None:
    assert not document.select(
        "main script, main button, main .toggle, main .dropdown, main details:not([open])"
    )
    assert len(document.select("main .solution")) == len(document.select("main div.exercise"))
    assert all(
        "mathjax" in str(script.get("src", script.string)).lower() for script in document.select("script")
    )


def test_sliders_are_pictures_that_say_so(document: BeautifulSoup) -> None:
    assert not document.select(".cfgtoy-widget, input")
    stills = document.select("figure.still")
    assert len(stills) > 10
    for figure in stills:
        assert figure.select("img")
        assert "you can drag this" in figure.get_text()


@pytest.mark.browser
@pytest.mark.slow
def test_it_prints(html: Path, tmp_path: Path) -> None:
    """Two pages of the book: outline, page numbers that rise in the order of the contents, no formula in error."""
    source, target = tmp_path / "small.html", tmp_path / "small.pdf"
    text = pdf.document(html, SMALL, base=html.as_uri(), size=pdf.PAPER["a4"], version="1.2.3")
    source.write_text(text, encoding="utf-8")
    trouble = pdf.print_pdf(source, target)
    if trouble == ["no Chromium on the path"]:
        pytest.skip(trouble[0])
    assert trouble == []
    made = target.read_bytes()
    assert made.startswith(b"%PDF-")
    assert re.search(rb"/Title \(9\. Guidance as an attack", made)
    numbers = pdf.page_numbers(made)
    assert 3 <= numbers["intro"] < numbers["part-Guidance"] == numbers["guidance-08-attack"]
    pages = len(re.findall(rb"(?m)^<</Type /Page$", made))
    inside = [number for name, number in numbers.items() if name.startswith("guidance-08-attack--")]
    assert numbers["guidance-08-attack"] <= min(inside) < max(inside) <= pages


def test_numbers_need_a_known_form() -> None:
    with pytest.raises(ValueError, match="does not name its places"):
        pdf.page_numbers(b"%PDF-1.7\n/ObjStm")
