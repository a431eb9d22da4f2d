"""Every built page: no error, no request to elsewhere, light, accessible, its mathematics set and in sight."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request

from tests.book.axe import AXE, COLOURS, serious
from tests.book.support import BOOK, chapter_paths, page_names, parsed
from tests.waiting import PATIENCE, resize, settle

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


FORMULAS = """() => [...document.querySelectorAll('article.bd-article mjx-container')].map((m) => ({
  text: m.textContent.slice(0, 40), wide: m.scrollWidth > m.clientWidth + 1 && m.clientWidth > 0,
  scrolls: /auto|scroll/.test(getComputedStyle(m).overflowX), focus: m.tabIndex >= 0,
  display: m.getAttribute('display') === 'true',
}))"""


@dataclass
class Visit:
    """One load of a page, for all the tests that look at it."""

    name: str
    page: Page
    trouble: list[str] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module", params=page_names())
def visit(request: pytest.FixtureRequest, browser: Browser, html: Path) -> Iterator[Visit]:
    """The page as it opens from disk on a phone; the tests below take it on, in this order."""
    context = browser.new_context(
        viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True, color_scheme="light"
    )
    context.set_default_timeout(1000 * PATIENCE)
    seen = Visit(request.param, context.new_page())

    def asked(request: Request) -> None:
        parts = urlsplit(request.url)
        path = Path(unquote(parts.path))
        if parts.scheme == "file" and path.is_relative_to(html):
            seen.weights[path.relative_to(html).as_posix()] = path.stat().st_size if path.is_file() else 0
        elif parts.scheme not in ("data", "blob"):
            seen.trouble.append(f"external: {request.url}")

    page = seen.page
    page.on("console", lambda m: seen.trouble.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda e: seen.trouble.append(f"error: {e}"))
    page.on("requestfailed", lambda r: seen.trouble.append(f"failed: {r.url}"))
    page.on("request", asked)
    page.goto((html / f"{seen.name}.html").as_uri())
    settle(page)
    yield seen
    context.close()


def test_page_is_light(visit: Visit) -> None:
    """The page's own files are within its limit, and so are the files that all pages share."""
    own = {
        name: size
        for name, size in visit.weights.items()
        if not name.startswith("_static/") or "/widgets/" in name
    }
    shared = sum(visit.weights.values()) - sum(own.values())
    limit = OWN_LIMIT if visit.name.startswith("images/") else LIGHT_LIMIT
    assert f"{visit.name}.html" in own
    assert sum(own.values()) <= limit, sorted(own.items(), key=lambda item: -item[1])[:5]
    assert 0 < shared <= SHARED_LIMIT


def test_formulas_are_set(visit: Visit) -> None:
    """MathJax has set every formula, and knows every macro."""
    page = visit.page
    assert page.locator("mjx-container").count() or not page.locator(".math").count()
    unknown = 'mjx-container [style*="color: red"]'  # how MathJax sets a macro that it does not know
    assert not page.locator(f"mjx-merror, [data-mjx-error], {unknown}").all_inner_texts()


def test_formulas_fit_a_phone(visit: Visit) -> None:
    """Each is whole there, or it scrolls in a box of its own."""
    found = visit.page.evaluate(FORMULAS)
    assert not [f for f in found if f["wide"] and f["display"] and not (f["scrolls"] and f["focus"])]


def test_phone_does_not_scroll_sideways(visit: Visit) -> None:
    """On a narrow screen nothing is wider than the page."""
    assert visit.page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [375, 375]
    assert not visit.page.evaluate(WIDE)


def test_page_runs_by_touch(visit: Visit) -> None:
    """Its widgets start, and a tap moves a chapter's first slider."""
    page = visit.page
    assert page.locator(".cfgtoy-widget").count() == page.locator(".cfgtoy-widget[data-ready=true]").count()
    if (BOOK / f"{visit.name}.ipynb") in chapter_paths():
        page.wait_for_function("() => !document.querySelector('.cfgtoy-widget [aria-busy=true]')")
        slider = page.locator(".cfgtoy-widget input[type=range]").first
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        assert box is not None
        values = []
        for share in (0.08, 0.92):
            page.touchscreen.tap(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
            settle(page)
            values.append(slider.input_value())
        assert float(values[0]) < float(values[1])


def test_formulas_fit_a_wide_screen(visit: Visit) -> None:
    """Where the sidebars slide in only after the window is wide."""
    resize(visit.page, 1280, 900)
    settle(visit.page)
    assert not [f for f in visit.page.evaluate(FORMULAS) if f["wide"] and f["display"]]


def test_page_is_clean(visit: Visit) -> None:
    """In all this no console message of an error, no failed or external request."""
    assert not visit.trouble


def test_axe_finds_nothing_serious(visit: Visit) -> None:
    """By all its rules in light mode, by those of colours in dark."""
    visit.page.add_script_tag(content=AXE)  # which asks for styles where there are none: after the test above
    for theme, rules in (("light", {}), ("dark", COLOURS)):
        visit.page.emulate_media(color_scheme=theme)
        visit.page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        settle(visit.page)
        found = serious(visit.page, rules)
        assert not found, f"{theme}: " + "\n".join(found[:12])


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 1300, 1440])
def test_the_board_of_rules_fits_a_laptop(page: Page, site: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{site}/beyond/20-which-rule.html")
    box = page.locator("table.board").locator("xpath=..")
    inside, seen = box.evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert 600 < inside <= seen


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
