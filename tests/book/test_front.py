"""The front page and the teacher's page: the explorer in sight, the paths, the map, and the exercises' aims."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page

from tests.book.support import BOOK, chapter_paths, page_names, parsed, tool
from tests.waiting import PATIENCE, eventually, settle

SCREENS = {"wide": (1280, 800), "phone": (390, 844)}


@pytest.fixture(scope="module")
def front(html: Path) -> BeautifulSoup:
    """The front page."""
    return parsed(html / "intro.html")


def numbered() -> list[str]:
    """The pages of the chapters with a number, from the table of contents."""
    return [name for name in page_names() if re.match(r"\d\d-", Path(name).name)]


@pytest.mark.browser
@pytest.mark.parametrize("screen", SCREENS)
def test_explorer_is_alive_within_the_first_screen(browser: Browser, site: str, screen: str) -> None:
    """Without scrolling, the picture and its weight are in sight, and the weight moves the picture."""
    width, height = SCREENS[screen]
    phone = screen == "phone"
    context = browser.new_context(
        viewport={"width": width, "height": height}, has_touch=phone, is_mobile=phone, reduced_motion="reduce"
    )
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    page.goto(f"{site}/intro.html")
    settle(page)
    canvas, slider = (
        page.locator(".front-explorer canvas").first,
        page.get_by_label("guidance weight w").first,
    )
    for part in (canvas, slider):
        box = part.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= height
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    before = canvas.evaluate("c => c.toDataURL()")
    box = slider.bounding_box()
    assert box is not None
    press = page.touchscreen.tap if phone else page.mouse.click
    press(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2)
    eventually(page, lambda: float(slider.input_value()) < 4, "the slider did not move")
    eventually(page, lambda: canvas.evaluate("c => c.toDataURL()") != before, "the picture did not change")
    assert page.evaluate("scrollY") == 0
    context.close()


def test_map_has_every_chapter_and_what_it_needs(front: BeautifulSoup) -> None:
    """A box a chapter of the table of contents, in its order; the words for screen readers name its needs."""
    found = tool("chapters").read(BOOK)
    boxes = front.select(".chapter-map ol a")
    assert [str(box["href"]).removesuffix(".html") for box in boxes] == numbered()
    assert [chapter.page for chapter in found] == numbered()
    number = {chapter.page: chapter.number for chapter in found}
    for chapter, box in zip(found, boxes, strict=True):
        told = re.search(r", needs (.+)", box.get_text())
        assert told is not None
        assert re.findall(r"\d+", told[1]) == [str(number[need]) for need in chapter.needs]


def test_needs_are_the_links_of_the_line_you_need() -> None:
    """Read here in another way: the chapters' labels that stand between "You need" and the next full stop."""
    for chapter in tool("chapters").read(BOOK):
        text = (BOOK / f"{chapter.page}.ipynb").read_text(encoding="utf-8")
        line = text[text.index("You need") :].split(":::", maxsplit=1)[0]
        line = re.match(r"(?s).+?\.(?=\s|\\n|$)", line)[0]  # type: ignore[index]
        names = {Path(need).name for need in chapter.needs}
        linked = {Path(link).name for link in re.findall(r"\(([\w./-]+)\.ipynb", line)}
        labels = set(re.findall(r"(?<=[`<])ch-[\w-]+", line))
        there = {
            other.label for other in tool("chapters").read(BOOK) if Path(other.page).name in names - linked
        }
        assert linked <= names
        assert there == labels


def test_map_is_drawn_downwards_without_running_into_boxes() -> None:
    """Each chapter lies below all it needs, in a place of its own; no line crosses a box."""
    drawing = tool("chapter_map")
    found = tool("chapters").read(BOOK)
    at, edges = drawing.places(found), tool("chapters").essential(found)
    assert len(set(at.values())) == len(at) == len(found)
    assert all(column in range(drawing.COLUMNS) for _, column in at.values())
    for page, needs in edges.items():
        for need in needs:
            assert at[need][0] < at[page][0]
            lane = drawing.lane(at[need], at[page], at.values())
            between = {column for row, column in at.values() if at[need][0] < row < at[page][0]}
            assert lane not in between


def test_essential_edges_keep_all_that_is_needed() -> None:
    """Following the lines upwards from a chapter reaches exactly what it builds on."""
    chapters = tool("chapters")
    found = chapters.read(BOOK)
    edges, above = chapters.essential(found), chapters.ancestors(found)

    def climb(page: str) -> set[str]:
        return set(edges[page]).union(*(climb(need) for need in edges[page]))

    assert {page: climb(page) for page in edges} == {page: set(needs) for page, needs in above.items()}


@pytest.mark.browser
def test_map_lights_up_from_the_keyboard(page: Page, site: str) -> None:
    """With the focus on the last chapter of a line, the boxes and lines above it change their look."""
    page.goto(f"{site}/intro.html")
    settle(page)
    chapters = tool("chapters")
    found = chapters.read(BOOK)
    last = found[-1]
    above = [chapter.number for chapter in found if chapter.page in chapters.ancestors(found)[last.page]]
    others = [chapter.number for chapter in found if chapter.number not in (*above, last.number)]
    shadow = "id => getComputedStyle(document.getElementById(`map-${id}`)).boxShadow"
    dark = {number: page.evaluate(shadow, number) for number in (*above, *others)}
    page.locator(f"#map-{last.number - 1}").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == f"map-{last.number}"
    settle(page)
    assert all(page.evaluate(shadow, number) != dark[number] for number in above)
    assert all(page.evaluate(shadow, number) == dark[number] for number in others)


def test_paths_fit_their_names(front: BeautifulSoup) -> None:
    """The hour is an hour, the day a day; every chapter of a path is there, in order, and links to its page."""
    cards = {card.select_one("h3").get_text().strip("#\n"): card for card in front.select(".path")}  # type: ignore[union-attr]
    assert list(cards) == ["An hour", "A day", "A course"]
    totals = {name: card.select_one(".path-total").get_text() for name, card in cards.items()}  # type: ignore[union-attr]
    minutes = {chapter.page: chapter.minutes for chapter in tool("chapters").read(BOOK)}
    chosen = {name: [str(a["href"])[:-5] for a in card.select("li a")] for name, card in cards.items()}
    for pages in chosen.values():
        assert pages == [page for page in numbered() if page in pages]
    assert sum(minutes[page] for page in chosen["An hour"]) <= 60
    assert f"{sum(minutes[page] for page in chosen['An hour'])} minutes" in totals["An hour"]
    assert int(re.findall(r"(\d+) hours", totals["A day"])[0]) <= 8
    assert totals["A course"].startswith(f"{len(numbered())} chapters")


def test_minutes_follow_the_length(tmp_path: Path) -> None:
    """Words, lines, formulas, figures and sliders each take their time; hidden code and exercises take none."""
    chapters = tool("chapters")

    def seconds(*cells: tuple[str, str, dict]) -> float:
        made = [{"cell_type": kind, "source": text, "metadata": {}, **more} for kind, text, more in cells]
        return chapters.reading_seconds(made)

    text = ("markdown", "word " * 170, {})
    assert seconds(text) == pytest.approx(60)
    assert seconds(text, ("markdown", "$$ x = 1 $$ (eq-x)", {})) == pytest.approx(
        60 + chapters.FORMULA, abs=2
    )
    assert seconds(("code", "a = 1\n\nb = 2", {})) == 2 * chapters.LINE
    assert seconds(("code", "a = 1", {"metadata": {"tags": ["hide-input"]}})) == 0
    figure = {"outputs": [{"data": {"image/png": "", "text/plain": "Figure: x"}}]}
    slider = {"outputs": [{"data": {"image/png": "", "text/plain": "Interactive figure: x"}}]}
    assert seconds(("code", "", figure)) == chapters.FIGURE
    assert seconds(("code", "a = 1", figure)) == chapters.FIGURE  # its code is folded
    assert seconds(("code", "", slider)) == chapters.SLIDER
    assert seconds(("markdown", "## Exercises", {}), text) == 0


def test_every_exercise_is_listed_with_its_aim(html: Path) -> None:
    soup = parsed(html / "back" / "teaching.html")
    listed = {str(a["href"]).rpartition("#")[2] for a in soup.select("table.ledger a[href*='#ex-']")}
    labels = []
    for path in chapter_paths():
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        labels += re.findall(
            r"(?m)^:label: *(ex-[\w-]+)", "\n".join("".join(cell["source"]) for cell in cells)
        )
    assert labels
    assert len(labels) == len(set(labels))
    assert listed == set(labels)


@pytest.mark.parametrize("label", [e.label for c in tool("chapters").read(BOOK) for e in c.exercises])
def test_aim_is_a_sentence(label: str) -> None:
    [exercise] = [e for c in tool("chapters").read(BOOK) for e in c.exercises if e.label == label]
    assert exercise.title
    assert 4 <= len(exercise.aim.split()) <= 30
    assert exercise.aim.endswith((".", "?"))


def test_needing_a_later_chapter_is_refused(tmp_path: Path) -> None:
    head = "(ch-a)=\n# A\n\n:::{admonition} In this chapter\n- You need {ref}`ch-b`.\n:::\n"
    cell = {"cell_type": "markdown", "metadata": {}, "source": head, "id": "a"}
    (tmp_path / "01-a.ipynb").write_text(f'{{"cells": [{json.dumps(cell)}]}}', encoding="utf-8")
    (tmp_path / "_toc.yml").write_text(
        "root: intro\nparts:\n  - caption: P\n    chapters:\n      - file: 01-a\n"
    )
    with pytest.raises(ValueError, match="ch-b"):
        tool("chapters").read(tmp_path)
