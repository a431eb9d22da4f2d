"""The explorers in a static page from disk: with no kernel, no network, and readers of every kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from cfgtoy import GaussianMixture, datasets
from cfgtoy.explorers import (
    DigitsExplorer,
    FieldExplorer,
    ParticleExplorer,
    PhotosExplorer,
    SamplingExplorer,
    TemperatureExplorer,
    TradeoffExplorer,
    WeightExplorer,
)
from cfgtoy.explorers._exact import JS
from tests.explorers.kinds import EXACT
from tests.waiting import eventually, resize, settle

pytestmark = pytest.mark.browser
ALL = [kind for kind in EXACT if kind is not WeightExplorer]  # that one has a page of its own: test_weight.py
Open = Callable[..., Any]

PIXELS = "widget => [...widget.querySelectorAll('canvas')].map(c => c.toDataURL()).join()"


def pixels(widget: Any) -> str:
    return widget.evaluate(PIXELS)


def wait_for_change(widget: Any, before: str) -> None:
    """Until the pictures are others than ``before``; a control that does nothing runs into the time limit."""
    changed = f"([widget, before]) => ({PIXELS})(widget) !== before"
    widget.page.wait_for_function(changed, arg=[widget.element_handle(), before])


def no_nan(widget: Any) -> None:
    assert not re.search(r"NaN|Infinity|undefined", widget.inner_text()), widget.inner_text()


def rows(widget: Any) -> dict[str, list[str]]:
    """The figures on screen: first cell to the others."""
    cells = widget.evaluate(
        "w => [...w.querySelectorAll('tbody tr')].map(r => [...r.children].map(c => c.textContent))"
    )
    return {row[0]: row[1:] for row in cells}


def value(text: str) -> float:
    return float(re.match(r"-?[\d.]+(e-?\d+)?", text.replace("−", "-"))[0])  # type: ignore[index]


def test_size_of_all_code() -> None:
    """Of the explorers on mixtures, but for the front page's; and of the networks with the two that show them."""
    networks = [*(JS / "nets").iterdir(), JS / "digits.mjs", JS / "photos.mjs"]
    files = [path for path in JS.iterdir() if path.is_file() and path not in networks]
    assert sum(path.stat().st_size for path in files if path.name != "weight.mjs") <= 120_000
    card = [
        JS / "nets" / name for name in ("card.mjs", "webgpu.mjs")
    ]  # a page fetches these when it has a card
    assert sum(path.stat().st_size for path in networks if path not in card) <= 92_000
    assert sum(path.stat().st_size for path in card) <= 15_000


@pytest.mark.parametrize("kind", ALL)
def test_every_control_is_labelled_and_changes_the_picture(open_page: Open, kind: type) -> None:
    page = open_page(kind())
    widget = page.locator(".cfgtoy-widget")
    for control in widget.locator("input, select").all():
        name = control.evaluate("c => c.labels?.[0]?.textContent || c.getAttribute('aria-label') || ''")
        assert len(name) > 1
        assert control.get_attribute("data-lm-suppress-shortcuts") == "true"
    for slider in widget.locator("input[type=range]").all():
        before, stays = pixels(widget), slider.evaluate("s => s.value === s.min || s.id.endsWith('progress')")
        slider.focus()
        page.keyboard.press("Home")
        settle(page) if stays else wait_for_change(widget, before)
        at_home = pixels(widget)
        page.keyboard.press("End")
        wait_for_change(widget, at_home)
        assert slider.get_attribute("aria-valuetext")
        no_nan(widget)
        widget.get_by_role("button", name="Reset").click()
        settle(page)
    for select in widget.locator("select").all():
        for option in range(select.locator("option").count()):
            select.select_option(index=option)
            settle(page)
            no_nan(widget)


def test_axe_finds_nothing(open_page: Open) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(*(kind() for kind in ALL))
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        settle(page)
        found = axe.run(page).response["violations"]
        assert not found, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found]


def test_theme_switch_redraws_in_the_new_ink(open_page: Open) -> None:
    page = open_page(FieldExplorer())
    widget = page.locator(".cfgtoy-widget")
    count_light = """w => {
      const c = w.querySelector("canvas"), copy = new OffscreenCanvas(c.width, c.height).getContext("2d");
      copy.drawImage(c, 0, 0);
      const d = copy.getImageData(0, 0, c.width, c.height).data;
      let light = 0;
      for (let i = 0; i < d.length; i += 4) light += d[i + 3] > 250 && d[i] + d[i + 1] + d[i + 2] > 600;
      return light;
    }"""
    on_white = widget.evaluate(count_light)  # arrows and text are dark
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    eventually(page, lambda: widget.evaluate(count_light) > on_white + 500, "the ink stays dark")
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    eventually(page, lambda: widget.evaluate(count_light) == on_white, "the dark ink does not come back")


@pytest.mark.parametrize("width", [320, 760])
def test_narrow_windows_and_dense_screens(open_page: Open, width: int) -> None:
    page = open_page(*(kind() for kind in ALL), width=width, device_scale_factor=2, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for canvas in page.locator("canvas").all():
        box = canvas.bounding_box()
        assert box is not None
        assert box["width"] <= width
        assert abs(canvas.evaluate("c => c.width") - 2 * box["width"]) <= 2
    resize(page, 900, 700)
    resize(page, 320, 700)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


CUT = """() => [...document.querySelectorAll("select")].filter((box) => {
  const whole = box.cloneNode(true);
  whole.style.cssText = "position: absolute; width: max-content; flex: none";
  box.after(whole);
  const cut = box.checkVisibility() && whole.offsetWidth > box.offsetWidth;
  whole.remove();
  return cut;
}).map((box) => box.labels[0].textContent)"""


@pytest.mark.usefixtures("small")
def test_no_choice_is_cut(open_page: Open) -> None:
    """A drop-down holds its longest words in whole, in a page of any width and with every control shown."""
    photos = PhotosExplorer(network="both")
    page = open_page(*(kind() for kind in ALL), DigitsExplorer(network="both"), photos, width=320)
    for width in (320, 390, 660, 700, 960, 1100):
        resize(page, width, 900)
        assert page.evaluate(CUT) == [], width


@pytest.mark.parametrize(
    "kind", [FieldExplorer, ParticleExplorer, SamplingExplorer, TemperatureExplorer, TradeoffExplorer]
)
def test_absurd_weights(open_page: Open, kind: type) -> None:
    page = open_page(kind())
    widget = page.locator(".cfgtoy-widget")
    for w in ("1e6", "-1e6", "1e300"):
        assert widget.locator("[role=status]").inner_text() == ""
        widget.get_by_label("guidance weight w, exact value").fill(w)
        page.keyboard.press("Enter")
        settle(page)
        no_nan(widget)
        assert len(widget.locator("[role=status]").inner_text()) > 20
        widget.get_by_role("button", name="Reset").click()
        settle(page)


@pytest.mark.parametrize("kind", ALL)
def test_absurd_mixtures_in_a_link(open_page: Open, kind: type) -> None:
    """Zero spread, coincident means, numbers that are none: each drawn, with a word on what was done."""
    name = kind.module.stem  # type: ignore[attr-defined]
    page = open_page(kind())
    widget = page.locator(".cfgtoy-widget")
    for rows, word in (
        ("0,0,0,0,0,1,0_0,0,0,0,0,1,1", "spread"),
        ("nan,0,1,0,1,1,0_1e9,0,1,0,1,1,1", "number"),
        ("0,0,1,5,1,1,0_0,0,1,0,1,-3,1", "weight"),
        ("x", "number"),
    ):
        page.evaluate(
            "hash => new Promise((heard) => {"
            " addEventListener('hashchange', () => heard(), { once: true }); location.hash = hash; })",
            f"#{name}?mixture={rows}&w=NaN&lam=1e99&y=7",
        )
        settle(page)
        no_nan(widget)
        assert word in widget.locator("[role=status]").inner_text()


@pytest.mark.parametrize("mixture", [
    datasets.ring(12), GaussianMixture(torch.tensor([[0.5, 0.5]]), 0.2), GaussianMixture(torch.zeros(3, 2), 0.25)
], ids=["twelve classes", "one class", "coincident means"])  # fmt: skip
def test_odd_mixtures(open_page: Open, mixture: GaussianMixture) -> None:
    page = open_page(*(kind(mixture=mixture) for kind in ALL), width=320)
    for widget in page.locator(".cfgtoy-widget").all():
        no_nan(widget)
        assert "NaN" not in widget.inner_html()


def test_link_carries_the_setting(open_page: Open) -> None:
    page = open_page(SamplingExplorer(), FieldExplorer(), SamplingExplorer())
    second = page.locator(".cfgtoy-widget").nth(2)
    second.get_by_label("guidance weight w, exact value").fill("5.5")
    page.keyboard.press("Enter")
    second.locator("select").nth(0).select_option(label="DDIM")
    settle(page)
    link = page.evaluate("location.hash")
    assert link == "#sampling-2?w=5.5&sampler=ddim"
    again = open_page(SamplingExplorer(), FieldExplorer(), SamplingExplorer(), hash=link)
    widgets = again.locator(".cfgtoy-widget")
    assert widgets.nth(0).get_by_label("guidance weight w, exact value").input_value() == "2"
    assert widgets.nth(2).get_by_label("guidance weight w, exact value").input_value() == "5.5"
    assert pixels(widgets.nth(2)) == pixels(second)
    widgets.nth(2).get_by_role("button", name="Reset").click()
    settle(again)
    assert widgets.nth(2).get_by_label("guidance weight w, exact value").input_value() == "2"


def test_copy_link(open_page: Open) -> None:
    page = open_page(FieldExplorer(), permissions=["clipboard-read", "clipboard-write"])
    widget = page.locator(".cfgtoy-widget")
    widget.get_by_label("log-SNR λ (noise → data), exact value").fill("1.25")
    page.keyboard.press("Enter")
    widget.get_by_role("button", name="Copy link").click()
    widget.get_by_role("status").filter(has_text=re.compile("Copied|Select and copy")).wait_for()
    fallback = widget.locator(".cx-copy")
    copied = fallback.input_value() if fallback.count() else page.evaluate("navigator.clipboard.readText()")
    assert copied.endswith("page.html#field?lam=1.25")


def test_handles_move_and_widen_a_class(open_page: Open) -> None:
    page = open_page(FieldExplorer())
    widget = page.locator(".cfgtoy-widget")
    mean, spread = widget.get_by_label("Mean of class B"), widget.get_by_label("Spread of class B")
    assert mean.get_attribute("aria-valuetext") == "−0.87, −0.50"
    mean.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    assert mean.get_attribute("aria-valuetext") == "−0.77, 0"
    drag(page, mean, 60, -40)
    x, y = (value(part) for part in mean.get_attribute("aria-valuetext").split(", "))
    assert x > -0.5
    assert y > 0.2
    before = value(spread.get_attribute("aria-valuetext"))
    box, centre = spread.bounding_box(), mean.bounding_box()
    drag(page, spread, box["x"] - centre["x"], box["y"] - centre["y"])
    assert value(spread.get_attribute("aria-valuetext")) == pytest.approx(2 * before, rel=0.1)
    assert "mixture=" in page.evaluate("location.hash")


def drag(page: Any, handle: Any, dx: float, dy: float) -> None:
    """Take a handle by its middle and carry it so many pixels."""
    box = handle.bounding_box()
    page.mouse.move(box["x"] + 12, box["y"] + 12)
    page.mouse.down()
    page.mouse.move(box["x"] + 12 + dx, box["y"] + 12 + dy, steps=5)
    page.mouse.up()


def test_a_particle_is_dragged_and_runs_on_from_there(open_page: Open) -> None:
    """By keys, by the mouse, and by λ; a link brings it back. New noise moves the SDE's twin alone."""
    page = open_page(ParticleExplorer(lam=-2.0, at=-2.0), ParticleExplorer(twins=True, lam=8.0))
    first, second = (page.locator(".cfgtoy-widget").nth(n) for n in (0, 1))
    particle = first.get_by_label("Particle: arrow keys move it")
    particle.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    assert particle.get_attribute("aria-valuetext") == "−0.90, 0"
    drag(page, particle, 60, 0)
    x, y = (value(part) for part in particle.get_attribute("aria-valuetext").split(", "))
    assert x > -0.5
    assert abs(y) < 0.05
    first.get_by_label("log-SNR λ (noise → data), exact value").fill("8")
    page.keyboard.press("Enter")
    settle(page)
    assert value(particle.get_attribute("aria-valuetext").split(", ")[1]) > 1  # class A is at the top
    link, told = page.evaluate("location.hash"), second.locator("canvas").get_attribute("aria-label")
    second.get_by_role("button", name="New noise").click()
    settle(page)
    after = second.locator("canvas").get_attribute("aria-label")
    assert told.split("; SDE")[0] == after.split("; SDE")[0]
    assert told != after
    again = open_page(ParticleExplorer(lam=-2.0, at=-2.0), ParticleExplorer(twins=True), hash=link)
    assert pixels(again.locator(".cfgtoy-widget").nth(0)) == pixels(first)


def test_readout_follows_the_pointer(open_page: Open) -> None:
    page = open_page(FieldExplorer(lam=4.0))
    widget = page.locator(".cfgtoy-widget")
    box = widget.get_by_label("Mean of class C").bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    settle(page)
    assert value(rows(widget)["p(C|z)"][0]) > 0.9
    assert value(rows(widget)["|ε̃|, guided"][0]) > value(rows(widget)["|ε(z, c)|"][0])


def test_play_runs_to_the_end_and_pauses(open_page: Open) -> None:
    page = open_page(SamplingExplorer(n=500))
    widget = page.locator(".cfgtoy-widget")
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") + 60_000)  # from here the page's clock goes as it is told
    widget.get_by_role("button", name="Play").click()
    page.clock.run_for(700)
    widget.get_by_role("button", name="Pause").click()
    page.clock.resume()
    settle(page)
    share = float(widget.get_by_label("progress of the run, %, exact value").input_value())
    assert 2 < share < 90
    assert value(rows(widget)["λ on screen"][0]) == pytest.approx(-20 + 40 * share / 100, abs=1)


def test_reduced_motion_shows_the_end_at_once(open_page: Open) -> None:
    page = open_page(SamplingExplorer(n=500), reduced_motion="reduce")
    widget = page.locator(".cfgtoy-widget")
    progress = widget.get_by_label("progress of the run, %, exact value")
    progress.fill("10")
    page.keyboard.press("Enter")
    widget.get_by_role("button", name="Play").click()
    settle(page)
    assert progress.input_value() == "100"


def test_figures_on_screen_say_what_guidance_does(open_page: Open) -> None:
    """More w: more distinct, farther from the class. A blurred model: its best w is not zero."""
    page = open_page(SamplingExplorer(w=0.0), TradeoffExplorer(blur=1.0))
    widget, tradeoff = page.locator(".cfgtoy-widget").nth(0), page.locator(".cfgtoy-widget").nth(1)
    before = rows(widget)
    widget.get_by_label("guidance weight w, exact value").fill("4")
    page.keyboard.press("Enter")
    settle(page)
    after = rows(widget)
    assert value(after["Inception Score"][0]) > value(before["Inception Score"][0]) + 0.2
    assert value(before["A"][0]) < 0.05 < value(after["A"][0])
    assert value(before["A"][1]) < 3  # per cent beyond 3σ: 1.1 for a Gaussian
    page.wait_for_function(
        "() => [...document.querySelectorAll('td')].some(c => /^w = /.test(c.textContent))"
    )
    assert 0.05 <= value(rows(tradeoff)["least Fréchet at"][0].removeprefix("w = ")) <= 0.4


def test_v_is_there_only_where_it_matters(open_page: Open) -> None:
    page = open_page(SamplingExplorer(sampler="ddim", n=200))
    widget = page.locator(".cfgtoy-widget")
    slider = widget.get_by_label("v: variance of the ancestral step", exact=True)
    assert slider.count() == 0
    widget.get_by_label("sampler").select_option(label="ancestral")
    assert slider.count() == 1


def test_the_name_of_an_axis_keeps_off_the_numbers(core: Any) -> None:
    """Whatever the numbers beside it: each begins to the right of where the name, which is turned, ends."""
    for top in (0.02, 0.0002, 40, 123456):
        js = core.run(
            """const box = document.createElement("div"), seen = [], fill = CanvasRenderingContext2D.prototype.fillText;
               box.style.width = "400px";
               document.body.append(box);
               CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
                 const { b, e } = this.getTransform(), { width, fontBoundingBoxDescent } = this.measureText(text);
                 const number = this.textAlign === "right";
                 seen.push({ turned: b !== 0, number, left: x - width, right: e + fontBoundingBoxDescent });
                 return fill.call(this, text, x, y);
               };
               const plot = new m.plot.Plot(box, { axes: ["a", "name"], ratio: 0.4 });
               plot.begin({ x0: 0, x1: 1, y0: 0, y1: d.top }, m.plot.readTheme(document.body));
               CanvasRenderingContext2D.prototype.fillText = fill;
               box.remove();
               const lefts = seen.filter(({ number }) => number).map(({ left }) => left);
               return { name: seen.find(({ turned }) => turned).right, lefts };""",
            top=top,
        )
        assert len(js["lefts"]) > 1
        assert min(js["lefts"]) >= js["name"] + 2, js
