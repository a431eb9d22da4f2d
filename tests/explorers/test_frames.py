"""The slider over Python's figures: in the page with no kernel, and what a kernel adds."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cfgtoy.explorers import Frames, frames
from tests.waiting import settle


def square(value: float, choice: int = 0) -> bytes:
    """A picture of one grey that tells the value and the choice."""
    file = io.BytesIO()
    Image.new("L", (40, 30), int(10 * value) + 100 * choice).save(file, "png")
    return file.getvalue()


def shade(source: str) -> int:
    """The grey of a data address."""
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).getpixel((0, 0))  # type: ignore[return-value]


def made(**options: Any) -> Frames:
    arguments = {"label": "weight w", "alt": "A grey square at {value}."} | options
    return frames(square, [0, 1, 2, 4], **arguments)


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Open widgets in a page from disk; nothing is logged and nothing is asked of a network."""
    page, trouble = browser.new_page(), []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda r: trouble.append(r.url) if not r.url.startswith(("file:", "data:")) else None)

    def open_widgets(*widgets: Frames) -> Any:
        file = tmp_path / "page.html"
        body = "".join(widget.static_html() for widget in widgets)
        file.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title><body>{body}')
        page.goto(file.as_uri())
        settle(page)
        return page

    yield open_widgets
    page.close()
    assert not trouble


@pytest.mark.browser
def test_keys_run_through_the_frames(opened: Any) -> None:
    page = opened(made(start=1, caption="Below."))
    slider, picture = page.get_by_label("weight w"), page.locator("img")
    seen = []
    slider.focus()
    page.keyboard.press("Home")
    for _ in range(4):
        seen.append(
            (
                slider.get_attribute("aria-valuetext"),
                shade(picture.get_attribute("src")),
                picture.get_attribute("alt"),
            )
        )
        page.keyboard.press("ArrowRight")
    assert seen == [(f"{v}", 10 * v, f"A grey square at {v}.") for v in (0, 1, 2, 4)]
    assert page.locator("figcaption").inner_text() == "Below."


@pytest.mark.browser
def test_choices_change_the_picture_and_its_text(opened: Any) -> None:
    page = opened(
        made(choices={"red": 0, "blue": 1}, choice_label="class", alt="{choice} at {value} is grey.")
    )
    assert shade(page.locator("img").get_attribute("src")) == 0
    page.get_by_label("blue").check()
    assert shade(page.locator("img").get_attribute("src")) == 100
    assert page.locator("img").get_attribute("alt") == "blue at 0 is grey."
    assert page.locator("legend").inner_text() == "class"


@pytest.mark.browser
def test_one_widget_twice_on_a_page(opened: Any) -> None:
    widget = made()
    page = opened(widget, widget)
    page.locator("input[type=range]").nth(1).focus()
    page.keyboard.press("End")
    shades = [shade(img.get_attribute("src")) for img in page.locator("img").all()]
    assert shades == [0, 40]


@pytest.mark.browser
def test_without_scripts_the_still_image_stands(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(f"<meta charset=utf-8>{made(start=2).static_html()}")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert shade(page.locator("img").get_attribute("src")) == 20
    assert page.locator("img").get_attribute("alt") == "A grey square at 2."
    context.close()


def test_in_between_values_are_drawn_by_the_kernel_when_asked() -> None:
    widget = made(fine=4)
    assert sorted(widget.frames) == ["0,0", "0,12", "0,4", "0,8"]
    widget.position = 3
    assert widget.value == 0.75
    [(key, frame)] = widget.received.items()
    assert (key, shade(f",{frame}")) == ("0,3", 7)


def test_the_static_page_holds_ready_frames_alone() -> None:
    state = made(fine=4).static_state()
    assert state["live"] is False
    assert state["stride"] == 4
    assert [key for key, frame in state["frames"].items() if frame is None] == ["0,0"]


def test_output_serves_every_reader() -> None:
    data, metadata = made()._repr_mimebundle_()
    assert data["text/plain"] == "Interactive figure: A grey square at 0."
    assert "application/vnd.jupyter.widget-view+json" in data
    assert shade(f",{data['image/png']}") == 0
    assert metadata["image/png"] == {"alt": "A grey square at 0.", "width": 40}
    assert "http" not in data["text/html"].replace("http://www.w3.org", "")


def test_a_frame_is_drawn_and_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, encoded, encode = [], [], base64.b64encode
    monkeypatch.setattr(base64, "b64encode", lambda png: encoded.append(png) or encode(png))
    widget = frames(
        lambda value: drawn.append(value) or square(value), [0, 1, 2], label="w", alt="A grey square."
    )
    data, _ = widget._repr_mimebundle_()
    widget.position = 2
    assert drawn == [0, 1, 2]
    assert len(encoded) == 3
    assert data["text/html"].count(data["image/png"]) == 1
    assert base64.b64decode(data["image/png"]) == square(0)
    assert widget.still()[0] == square(2)


def test_text_in_the_state_cannot_end_the_script() -> None:
    fragment = made(caption="</script><b>", label="a & <i>").static_html()
    assert fragment.count("</script><b>") == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"start": 3}, "start"),
        ({"fine": 0}, "fine"),
        ({"choices": ["a", "b"]}, "choice_label"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}: got"):
        made(**options)


def test_one_value_is_no_slider() -> None:
    with pytest.raises(ValueError, match=r"^values: got 1"):
        frames(square, [1], label="w", alt="A grey square.")


def test_bytes_must_be_a_png() -> None:
    with pytest.raises(ValueError, match=r"^fn: gave bytes"):
        frames(lambda value: b"no", [1, 2], label="w", alt="A grey square.")
