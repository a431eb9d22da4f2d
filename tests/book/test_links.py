"""Every link inside the book leads somewhere."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Page

from tests.book.support import page_names, parsed, tool


@cache
def ids(path: Path) -> frozenset[str]:
    """The anchors of a page."""
    soup = parsed(path)
    return frozenset(str(node.get("id") or node.get("name")) for node in soup.select("[id], a[name]"))


def test_internal_links_lead_somewhere(html: Path, page_name: str) -> None:
    path = html / f"{page_name}.html"
    soup = parsed(path)
    broken, seen = [], 0
    for node in soup.select("a[href], link[href], script[src], img[src]"):
        target = str(node.get("href") or node.get("src"))
        parts = urlsplit(target)
        if parts.scheme in ("http", "https", "mailto", "data") or target == "#":
            continue
        seen += 1
        file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not file.exists():
            broken.append(f"{target}: no such file")
        elif parts.fragment and file.suffix == ".html" and unquote(parts.fragment) not in ids(file):
            broken.append(f"{target}: no such place")
    assert seen > 5
    assert not broken


def test_pages_that_moved_lead_on(html: Path) -> None:
    for old, (new, anchor) in tool("moved").MOVED.items():
        assert old not in page_names()
        path = html / f"{old}.html"
        [link] = [urlsplit(str(node["href"])) for node in parsed(path).select("a[href]")]
        target = (path.parent / link.path).resolve()
        assert target == (html / f"{new}.html").resolve()
        assert link.fragment == anchor
        assert anchor in ids(target)


@pytest.mark.browser
@pytest.mark.parametrize("place", ["", "#eq-images-lead"])
def test_a_moved_page_takes_the_reader_to_the_place(html: Path, page: Page, place: str) -> None:
    for old, (new, anchor) in tool("moved").MOVED.items():
        page.goto((html / f"{old}.html").as_uri() + place)
        page.wait_for_url(f"**/{new}.html{place or '#' + anchor}")


def test_an_id_stands_once_on_a_page(html: Path, page_name: str) -> None:
    soup = parsed(html / f"{page_name}.html")
    counts = Counter(str(node["id"]) for node in soup.select("[id]"))
    assert counts
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_external_files(html: Path, page_name: str) -> None:
    """A page loads nothing from another host; links for a reader to follow are another matter."""
    soup = parsed(html / f"{page_name}.html")
    loaded = [
        str(n.get("src") or n.get("href")) for n in soup.select("script[src], img[src], link[rel=stylesheet]")
    ]
    assert loaded
    assert not [address for address in loaded if urlsplit(address).netloc]
