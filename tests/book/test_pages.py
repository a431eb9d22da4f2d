"""Every built page: no error, no request to elsewhere, light, its mathematics set, every image described."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Response

from tests.book.support import parsed
from tests.waiting import resize, settle

pytestmark = pytest.mark.browser

OWN_LIMIT, LIGHT_LIMIT = 3_000_000, 1_000_000  # the second for pages without photographs
SHARED_LIMIT = 2_000_000

WIDE = """() => {
    const limit = document.documentElement.clientWidth + 1;
    const scrolls = (node) => {
        for (let n = node.parentElement; n; n = n.parentElement) {
            if (/auto|scroll|hidden/.test(getComputedStyle(n).overflowX) && n !== document.body) return true;
        }
        return false;
    };
    return [...document.querySelectorAll('article.bd-article *')]
        .filter((n) => n.getBoundingClientRect().right > limit && !scrolls(n) && !n.closest('mjx-container'))
        .map((n) => n.outerHTML.slice(0, 120));
}"""


@dataclass
class Visit:
    """What one load of a page showed."""

    trouble: list[str] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)
    too_wide: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def visits() -> dict[str, Visit]:
    """The visits so far: a page is loaded once for all the tests that look at it."""
    return {}


@pytest.fixture
def visit(page: Page, site: str, page_name: str, visits: dict[str, Visit]) -> Visit:
    """The page, loaded on a wide screen and then narrowed to a phone's width."""
    if page_name in visits:
        return visits[page_name]
    seen = Visit()

    def weigh(response: Response) -> None:
        if response.status >= 400:
            seen.trouble.append(f"{response.status}: {response.url}")
        elif response.url.startswith(site) and response.ok:
            seen.weights[response.url.removeprefix(site)] = len(response.body())

    def asked(request: Request) -> None:
        if not request.url.startswith((site, "data:", "blob:")):
            seen.trouble.append(f"external: {request.url}")

    page.on("console", lambda m: seen.trouble.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda e: seen.trouble.append(f"error: {e}"))
    page.on("requestfailed", lambda r: seen.trouble.append(f"failed: {r.url}"))
    page.on("request", asked)
    page.on("response", weigh)
    page.goto(f"{site}/{page_name}.html")
    settle(page)
    assert page.locator("mjx-container").count() or not page.locator(".math").count()
    unknown = 'mjx-container [style*="color: red"]'  # how MathJax sets a macro that it does not know
    errors = page.locator(f"mjx-merror, [data-mjx-error], {unknown}").all_inner_texts()
    seen.trouble += [f"formula: {text}" for text in errors]
    resize(page, 375, 740)
    seen.too_wide = page.evaluate(WIDE)
    visits[page_name] = seen
    return seen


def test_page_is_clean(visit: Visit) -> None:
    """No console message of an error, no failed or external request, no formula that MathJax cannot set."""
    assert not visit.trouble


def test_page_is_light(visit: Visit, page_name: str) -> None:
    """The page's own files are within its limit, and so are the files that all pages share."""
    own = {
        url: size
        for url, size in visit.weights.items()
        if not url.startswith("/_static/") or "/widgets/" in url
    }
    shared = sum(visit.weights.values()) - sum(own.values())
    limit = OWN_LIMIT if page_name.startswith("images/") else LIGHT_LIMIT
    assert f"/{page_name}.html" in own
    assert sum(own.values()) <= limit, sorted(own.items(), key=lambda item: -item[1])[:5]
    assert 0 < shared <= SHARED_LIMIT


def test_phone_does_not_scroll_sideways(visit: Visit) -> None:
    """On a narrow screen nothing is wider than the page."""
    assert not visit.too_wide


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 1300, 1440])
def test_the_board_of_rules_fits_a_laptop(page: Page, site: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{site}/beyond/20-which-rule.html")
    box = page.locator("table.board").locator("xpath=..")
    inside, seen = box.evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert 600 < inside <= seen


def test_page_runs_from_disk(page: Page, html: Path, page_name: str) -> None:
    """Opened as a file, the page's widgets start and nothing fails."""
    trouble: list[str] = []
    page.on("pageerror", lambda e: trouble.append(str(e)))
    page.on("requestfailed", lambda r: trouble.append(r.url))
    page.goto((html / f"{page_name}.html").as_uri())
    settle(page)
    assert page.locator(".cfgtoy-widget").count() == page.locator(".cfgtoy-widget[data-ready=true]").count()
    assert not trouble


def test_images_are_described(html: Path, page_name: str) -> None:
    """Every image in the article says what it shows, in words and not by its file name."""
    soup = parsed(html / f"{page_name}.html")
    article = soup.select_one("article.bd-article")
    assert article is not None
    for image in article.select("img"):
        alt = str(image.get("alt", ""))
        assert len(alt.split()) >= 4, f"image {str(image.get('src'))[:80]} has the alt text {alt!r}"
        assert "_images/" not in alt


def test_headings_do_not_skip_a_level(html: Path, page_name: str) -> None:
    """One title, and no subsection without its section: screen readers move by headings."""
    soup = parsed(html / f"{page_name}.html")
    article = soup.select_one("article.bd-article")
    assert article is not None
    levels = [int(heading.name[1]) for heading in article.select("h1, h2, h3, h4, h5, h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels)), levels


def test_search_finds_a_chapter(page: Page, site: str) -> None:
    """The book's own search, which runs in the page."""
    page.goto(f"{site}/search.html?q=hyperbolic+secant")
    page.wait_for_selector("#search-results li a")
    assert "background/" in str(page.locator("#search-results li a").first.get_attribute("href"))


def test_address_of_the_folder_opens_the_book(page: Page, site: str) -> None:
    page.goto(f"{site}/")
    page.wait_for_url("**/intro.html")
    assert page.locator("article.bd-article h1").count() == 1
