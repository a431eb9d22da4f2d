"""Every control of every widget in the static pages changes the picture: with no kernel, by keyboard alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

from tests.book.support import BOOK, page_names, parsed
from tests.waiting import eventually, settle

pytestmark = pytest.mark.browser


DRAWN = """widget => [...widget.querySelectorAll('canvas, img, svg')].filter((part) => part.checkVisibility()).map(
  (part) => part.localName === 'canvas' ? part.toDataURL() : part.localName === 'img' ? part.currentSrc : part.outerHTML
).join()"""


def drawn(widget: Locator) -> str:
    """What the widget has drawn: the pixels of its canvases and the sources of its images, of those in sight."""
    return widget.evaluate(DRAWN)


def picture(widget: Locator) -> bytes:
    """The widget in the colours of its page, its controls painted over."""
    controls = [widget.locator(kind) for kind in ("input", "output", "label", "legend", "button", "select")]
    return widget.screenshot(mask=controls, animations="disabled")


def opened(page: Page, site: str, name: str) -> list[Locator]:
    """The running widgets of a page."""
    page.goto(f"{site}/{name}.html")
    settle(page)
    idle(page)
    return page.locator(".cfgtoy-widget").all()


def other(page: Page, widget: Locator, before: str, what: str) -> None:
    """Wait until the widget has drawn another picture."""
    idle(page)
    eventually(page, lambda: drawn(widget) != before, what)


def idle(page: Page) -> None:
    """Wait until no network is at work."""
    page.wait_for_function("() => !document.querySelector('.cfgtoy-widget [aria-busy=true]')")


def with_widgets() -> list[str]:
    """The pages whose source asks for a widget."""
    return [name for name in page_names() if any(asks(BOOK / f"{name}{end}") for end in (".ipynb", ".md"))]


def asks(path: Path) -> bool:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return "```{explorer}" in text or "Interactive figure: " in text


def sweep_sliders(page: Page, widget: Locator) -> None:
    """From end to end, another picture and another spoken value.

    First the number of steps, which stays at its least: a run of few steps answers the others sooner, and as well.
    The last one stays at its end: a network need not draw again what nobody looks at.
    """
    sliders = [slider for slider in widget.locator("input[type=range]").all() if slider.is_visible()]
    names = [slider.get_attribute("aria-label") or str(slider.get_attribute("id")) for slider in sliders]
    named = sorted(zip(names, sliders, strict=True), key=lambda pair: not pair[0].endswith("-steps"))
    for name, slider in named:
        slider.focus()
        start = slider.input_value()
        page.keyboard.press("Home")
        settle(page)
        first, text = drawn(widget), slider.get_attribute("aria-valuetext")
        page.keyboard.press("End")
        other(page, widget, first, f"slider {name} changes nothing")
        assert text, f"slider {name} has no spoken value"
        assert slider.get_attribute("aria-valuetext") != text, f"{name} speaks one value"
        if name.endswith("-steps"):
            page.keyboard.press("Home")
        elif slider is not named[-1][1]:
            slider.fill(start)


def move_handles(page: Page, widget: Locator) -> None:
    for handle in widget.locator("[role=slider]:not(input)").all():
        handle.focus()
        before = drawn(widget)
        page.keyboard.press("ArrowRight")
        settle(page)
        if drawn(widget) == before:  # it may have started at its end
            page.keyboard.press("ArrowLeft")
            settle(page)
        assert drawn(widget) != before, "a handle changes nothing"


def choose(page: Page, widget: Locator) -> None:
    """Each with the first slider at its end: where it stands, at w = 0 say, two choices may be one."""
    radios, slider = widget.locator("input[type=radio]"), widget.locator("input[type=range]:visible").first
    if radios.count() and slider.count():
        slider.focus()
        page.keyboard.press("End")
        settle(page)
        idle(page)
    for radio in radios.and_(page.locator(":not(:checked)")).all():
        before, name = drawn(widget), radio.get_attribute("value")
        radio.check(force=True)
        other(page, widget, before, f"choice {name} changes nothing")


def follow_theme(page: Page, widgets: list[Locator]) -> None:
    """The widgets follow the page's theme without a reload."""
    light = [picture(widget) for widget in widgets]
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    idle(page)
    for widget, before in zip(widgets, light, strict=True):
        eventually(page, lambda: picture(widget) != before, "dark mode changes nothing")  # noqa: B023, asked at once


@pytest.mark.parametrize("name", page_names())
def test_every_control_changes_its_picture(page: Page, site: str, name: str) -> None:
    """Sliders, handles, choices and the theme, in every widget of the page; over http nothing fails either."""
    trouble: list[str] = []
    page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: trouble.append(str(e)))
    page.on("requestfailed", lambda r: trouble.append(f"failed: {r.url}"))
    page.on(
        "request",
        lambda r: r.url.startswith((site, "data:", "blob:")) or trouble.append(f"external: {r.url}"),
    )
    page.on("response", lambda r: trouble.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    widgets = opened(page, site, name)
    assert bool(widgets) is (name in with_widgets())
    for widget in widgets:
        sweep_sliders(page, widget)
        move_handles(page, widget)
        choose(page, widget)
    follow_theme(page, widgets)
    assert not trouble


def test_a_chapter_has_a_slider(chapter: Path) -> None:
    assert chapter.relative_to(BOOK).with_suffix("").as_posix() in with_widgets()


@pytest.mark.parametrize("name", with_widgets())
def test_no_two_frames_are_the_same(html: Path, name: str) -> None:
    """Of a slider over drawn pictures, every position shows another one; two choices may meet in one (at w = 0)."""
    soup = parsed(html / f"{name}.html")
    states = [
        json.loads(node.get_text()) for node in soup.select("script[type='application/json'][id$=-state]")
    ]
    assert states
    for state in states:
        frames = {tuple(key.split(",")): frame for key, frame in state.get("frames", {}).items()}
        for choice in {key[0] for key in frames}:
            mine = [frame for key, frame in frames.items() if key[0] == choice]
            assert len(set(mine)) == len(mine), f"{state.get('label')}: a step without a change"
