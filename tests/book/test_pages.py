"""Every built page: no error, no request to elsewhere, light, its mathematics set, every image described."""

from __future__ import annotations

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Page, Response

pytestmark = pytest.mark.browser

OWN_LIMIT = 1_000_000
ALL_LIMIT = 3_000_000


def test_page_is_clean(page: Page, site: str, page_name: str) -> None:
    """No console message of an error, no failed or external request, no formula that MathJax cannot set."""
    trouble: list[str] = []
    page.on("console", lambda m: trouble.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda e: trouble.append(f"error: {e}"))
    page.on("requestfailed", lambda r: trouble.append(f"failed: {r.url}"))
    page.on(
        "request",
        lambda r: (
            trouble.append(f"external: {r.url}") if not r.url.startswith((site, "data:", "blob:")) else None
        ),
    )
    page.on("response", lambda r: trouble.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    page.goto(f"{site}/{page_name}.html", wait_until="networkidle")
    formulas = page.locator(".math").count()
    if formulas:
        page.wait_for_function("document.querySelectorAll('mjx-container').length > 0")
    errors = page.locator("mjx-merror, [data-mjx-error]").all_inner_texts()
    trouble += [f"formula: {text}" for text in errors]
    for widget in page.locator(".cfgtoy-widget").all():
        if widget.get_attribute("data-ready") != "true":
            trouble.append(f"widget {widget.get_attribute('id')} did not start")
    assert not trouble


def test_page_is_light(page: Page, site: str, page_name: str) -> None:
    """The page's own files within 1 MB; with what all pages share, within 3 MB."""
    weights: dict[str, int] = {}

    def weigh(response: Response) -> None:
        if response.url.startswith(site) and response.ok:
            weights[response.url.removeprefix(site)] = len(response.body())

    page.on("response", weigh)
    page.goto(f"{site}/{page_name}.html", wait_until="networkidle")
    own = {url: size for url, size in weights.items() if not url.startswith("/_static/")}
    own |= {url: size for url, size in weights.items() if url.startswith("/_static/widgets/")}
    assert f"/{page_name}.html" in own
    assert sum(own.values()) <= OWN_LIMIT, sorted(own.items(), key=lambda item: -item[1])[:5]
    assert sum(weights.values()) <= ALL_LIMIT, sorted(weights.items(), key=lambda item: -item[1])[:5]


def test_page_runs_from_disk(page: Page, html: Path, page_name: str) -> None:
    """Opened as a file, the page's widgets start and nothing fails."""
    trouble: list[str] = []
    page.on("pageerror", lambda e: trouble.append(str(e)))
    page.on("requestfailed", lambda r: trouble.append(r.url))
    page.goto((html / f"{page_name}.html").as_uri(), wait_until="load")
    page.wait_for_timeout(300)
    assert page.locator(".cfgtoy-widget").count() == page.locator(".cfgtoy-widget[data-ready=true]").count()
    assert not trouble


def test_images_are_described(html: Path, page_name: str) -> None:
    """Every image in the article says what it shows, in words and not by its file name."""
    soup = BeautifulSoup((html / f"{page_name}.html").read_text(encoding="utf-8"), "html.parser")
    article = soup.select_one("article.bd-article")
    assert article is not None
    for image in article.select("img"):
        alt = str(image.get("alt", ""))
        assert len(alt.split()) >= 4, f"image {str(image.get('src'))[:80]} has the alt text {alt!r}"
        assert "_images/" not in alt


def test_phone_does_not_scroll_sideways(page: Page, site: str, page_name: str) -> None:
    """On a narrow screen nothing is wider than the page."""
    page.set_viewport_size({"width": 375, "height": 740})
    page.goto(f"{site}/{page_name}.html", wait_until="networkidle")
    wide = page.evaluate(
        """() => {
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
    )
    assert not wide


def test_search_finds_a_chapter(page: Page, site: str) -> None:
    """The book's own search, which runs in the page."""
    page.goto(f"{site}/search.html?q=hyperbolic+secant", wait_until="networkidle")
    page.wait_for_selector("#search-results li a")
    assert "background/" in str(page.locator("#search-results li a").first.get_attribute("href"))


def test_address_of_the_folder_opens_the_book(page: Page, site: str) -> None:
    page.goto(f"{site}/", wait_until="load")
    page.wait_for_url("**/intro.html")
    assert page.locator("article.bd-article h1").count() == 1
