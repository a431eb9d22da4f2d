"""Every control of every widget in the static pages changes the picture: with no kernel, by keyboard alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser


def picture(widget: Locator) -> bytes:
    """What the widget shows, its controls painted over."""
    controls = [widget.locator(kind) for kind in ("input", "output", "label", "legend", "button", "select")]
    return widget.screenshot(mask=controls, animations="disabled")


def opened(page: Page, site: str, name: str) -> list[Locator]:
    """The running widgets of a page."""
    page.goto(f"{site}/{name}.html", wait_until="networkidle")
    widgets = page.locator(".cfgtoy-widget")
    for index in range(widgets.count()):
        page.wait_for_selector(f"#{widgets.nth(index).get_attribute('id')}[data-ready=true]")
    return widgets.all()


def settle(page: Page) -> None:
    """Two frames and a moment: explorers draw on the next animation frame."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_timeout(120)


def test_every_slider_changes_its_picture(page: Page, site: str, page_name: str) -> None:
    for widget in opened(page, site, page_name):
        for slider in widget.locator("input[type=range]").all():
            if not slider.is_visible():
                continue
            name = slider.get_attribute("aria-label") or slider.get_attribute("id")
            slider.focus()
            page.keyboard.press("Home")
            settle(page)
            first, text = picture(widget), slider.get_attribute("aria-valuetext")
            page.keyboard.press("End")
            settle(page)
            assert picture(widget) != first, f"{page_name}: slider {name} changes nothing"
            assert text, f"{page_name}: slider {name} has no spoken value"
            assert slider.get_attribute("aria-valuetext") != text, f"{page_name}: {name} speaks one value"


def test_every_handle_and_choice_changes_its_picture(page: Page, site: str, page_name: str) -> None:
    for widget in opened(page, site, page_name):
        for handle in widget.locator("[role=slider]:not(input)").all():
            handle.focus()
            before = picture(widget)
            for _ in range(5):
                page.keyboard.press("ArrowRight")
            settle(page)
            if picture(widget) == before:  # it may have started at its end
                for _ in range(5):
                    page.keyboard.press("ArrowLeft")
                settle(page)
            assert picture(widget) != before, f"{page_name}: a handle changes nothing"
        for radio in widget.locator("input[type=radio]:not(:checked)").all():
            before = picture(widget)
            radio.check(force=True)
            settle(page)
            assert picture(widget) != before, (
                f"{page_name}: choice {radio.get_attribute('value')} changes nothing"
            )


def test_a_chapter_has_a_slider(page: Page, site: str, chapter) -> None:
    name = chapter.parent.name + "/" + chapter.stem
    widgets = opened(page, site, name)
    assert any(widget.locator("input[type=range], [role=slider]").count() for widget in widgets)


def test_touch_moves_a_slider(browser, site: str, chapter) -> None:
    """A tap on the far end of the first slider changes its value."""
    context = browser.new_context(viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True)
    page = context.new_page()
    opened(page, site, chapter.parent.name + "/" + chapter.stem)
    slider = page.locator(".cfgtoy-widget input[type=range]").first
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    values = []
    for share in (0.08, 0.92):
        page.touchscreen.tap(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        settle(page)
        values.append(slider.input_value())
    context.close()
    assert float(values[0]) < float(values[1])


def test_dark_mode_redraws(page: Page, site: str, chapter) -> None:
    """The widgets follow the page's theme without a reload."""
    widgets = opened(page, site, chapter.parent.name + "/" + chapter.stem)
    for widget in widgets:
        light = widget.screenshot()
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        settle(page)
        assert widget.screenshot() != light
        page.evaluate("document.documentElement.dataset.theme = 'light'")
        settle(page)
