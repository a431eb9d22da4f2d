"""The front page's explorer: one slider, tied to points, photographs and a curve; and the fold for other controls."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cfgtoy import artifacts, datasets, guidance, samplers, schedules
from cfgtoy.explorers import SamplingExplorer, WeightExplorer, _networks
from cfgtoy.explorers.weight import PICK, SEEDS
from tests.book.support import ROOT
from tests.waiting import eventually, resize, settle

Open = Callable[..., Any]
W = "w => Number(w.querySelector('input[id$=-w]').value)"


def test_curve_is_the_sweep() -> None:
    rows = json.loads((ROOT / "data" / "cifar10-sweep-cfg.json").read_text(encoding="utf-8"))["results"]
    shown = WeightExplorer().about["curve"]
    assert [w for w, *_ in shown] == sorted(row["w"] for row in rows)
    for row in rows:
        [(_, score, distance)] = [point for point in shown if point[0] == row["w"]]
        assert score == pytest.approx(row["inception_score_cifar10_classifier"], rel=1e-3)
        assert distance == pytest.approx(row["frechet_cifar10_classifier"], rel=1e-3)


def test_photographs_are_those_of_the_sheets() -> None:
    """Row by row the prepared picture at that weight, but for one more compression."""
    about = WeightExplorer().about
    prepared = artifacts.load("cifar10-sheets")
    sheet = np.asarray(Image.open(io.BytesIO(prepared.tensors["jpeg"].numpy().tobytes())), dtype=float)
    picked = np.asarray(Image.open(io.BytesIO(base64.b64decode(about["sheet"]))), dtype=float)
    each, classes = prepared.meta["each"], prepared.meta["classes"]
    assert picked.shape == (32 * len(about["drawn"]), 32 * len(PICK), 3)
    assert about["drawn"] == sorted(about["drawn"])
    assert about["drawn"][0] == 0
    for down, w in enumerate(about["drawn"]):
        [row] = [r["row"] for r in prepared.meta["rows"] if (r["guidance"], r["w"]) == ("cfg", w)]
        for across, (name, noise) in enumerate(PICK.items()):
            left = 32 * (each * classes.index(name) + noise)
            want = sheet[32 * row : 32 * row + 32, left : left + 32]
            got = picked[32 * down : 32 * down + 32, 32 * across : 32 * across + 32]
            assert np.abs(got - want).mean() < 6


@pytest.mark.browser
def test_points_miss_the_bands_at_eight_as_the_package_says(open_page: Open) -> None:
    """The first class, on screen and by the package's Heun steps: the same mean, above the tilted density's own."""
    page = open_page(WeightExplorer(), reduced_motion="reduce")
    widget = page.locator(".cfgtoy-widget")
    widget.locator("summary").click()
    settle(page)
    shown = widget.evaluate(
        "w => [...w.querySelectorAll('tbody tr')].map(r => Number(r.lastChild.textContent))"
    )
    mix = datasets.three_gaussians().to(dtype=torch.float32)
    classes = torch.arange(3000) * 3 // 3000
    x = samplers.sample(
        guidance.classifier_free(mix, w=8.0),
        classes,
        shape=(3000, 2),
        grid=schedules.Uniform().grid(40),
        method="heun",
        generator=torch.Generator().manual_seed(1),
    )
    for c in range(3):
        mean, cov = mix.mean_cov(c)
        points = x[classes == c].double()
        gap = (points.mean(0) - mean).square().sum()
        spread = (
            torch.trace(points.T.cov() + cov)
            - 2 * torch.linalg.eigvals(points.T.cov() @ cov.double()).real.sqrt().sum()
        )
        assert shown[c] == pytest.approx((gap + spread).item(), rel=0.06)
        assert shown[c] > 1


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_slider_moves_all_three(open_page: Open, theme: str) -> None:
    page = open_page(WeightExplorer(w=0.0), reduced_motion="reduce")
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    settle(page)
    widget = page.locator(".cfgtoy-widget")
    slider = widget.get_by_label("guidance weight w", exact=True)
    assert widget.locator("input:visible, select:visible").count() == 2  # the slider and its exact number
    names = [b.inner_text() for b in widget.locator("button:visible").all()]
    assert names == ["Play"]
    drawn = "w => [...w.querySelectorAll('canvas')].map(c => c.toDataURL())"
    eventually(page, lambda: len(set(widget.evaluate(drawn))) >= 8, "the photographs are not there")
    before = widget.evaluate(drawn)
    slider.fill("2")
    settle(page)
    after = widget.evaluate(drawn)
    assert len(before) == 2 + len(PICK)
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert "w = 2" in widget.locator(".cx-caption").inner_text()


@pytest.mark.browser
def test_student_draws_the_photographs_where_it_is_asked_to(open_page: Open) -> None:
    """What stands there is what the student draws in Python, enlarged; w moves it, up to what it has learned."""
    page = open_page(WeightExplorer(w=0.0), reduced_motion="reduce")
    widget = page.locator(".cfgtoy-widget")
    widget.locator("summary").click()
    widget.get_by_role("button", name="Draw the photographs here").click()
    y = [("airplane", "automobile", "bird", "cat", "deer", "dog", "frog").index(name) for name in PICK]
    for typed, w in (("", 0.0), ("3", 3.0), ("7", 4.0)):
        if typed:
            widget.get_by_label("guidance weight w, exact value").fill(typed)
            page.keyboard.press("Enter")
        widget.locator(".cx-caption", has_text=f"by a student, at w = {w:g}:").wait_for()
        tiles = widget.locator(".cx-photographs canvas").evaluate_all(
            """tiles => tiles.map((tile) => {
              const { width, height } = tile, copy = new OffscreenCanvas(width, height).getContext("2d");
              copy.drawImage(tile, 0, 0);
              const { data } = copy.getImageData(0, 0, width, height);
              return btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
            })"""
        )
        shown = np.frombuffer(b"".join(map(base64.b64decode, tiles)), np.uint8).astype(float)
        shown = shown.reshape(len(PICK), 32, 3, 32, 3, 4)[..., :3].mean((2, 4))
        *_, (_, _, x) = _networks.student_path(
            "cifar10-student", w=w, y=y, seeds=[SEEDS[name] for name in PICK]
        )
        want = ((x.permute(0, 2, 3, 1) + 1) * 127.5).clamp(0, 255).numpy()
        assert np.abs(shown - want).mean() < 6  # of enlarging and of the mean over three pixels each way
    assert "learned w from 0 to 4" in widget.get_by_role("status").inner_text()


@pytest.mark.browser
def test_plays_there_and_back_once(open_page: Open) -> None:
    page = open_page(WeightExplorer(n=100))
    widget = page.locator(".cfgtoy-widget")
    assert widget.evaluate(W) == 0
    eventually(page, lambda: widget.evaluate(W) > 4, "it did not rise")
    eventually(page, lambda: widget.evaluate(W) == 0, "it did not come back")
    eventually(page, lambda: widget.get_by_role("button", name="Play").is_visible(), "it does not stop")
    assert "#" not in page.url


@pytest.mark.browser
def test_a_hand_on_the_slider_stops_the_play(open_page: Open) -> None:
    page = open_page(WeightExplorer(n=100))
    widget = page.locator(".cfgtoy-widget")
    eventually(page, lambda: widget.evaluate(W) > 0, "it did not start")
    widget.get_by_label("guidance weight w", exact=True).focus()
    page.keyboard.press("End")
    settle(page)
    assert widget.evaluate(W) == 8
    assert widget.get_by_role("button", name="Play").is_visible()
    settle(page)
    assert widget.evaluate(W) == 8


@pytest.mark.browser
def test_less_motion_stays_at_eight(open_page: Open) -> None:
    page = open_page(WeightExplorer(n=100), reduced_motion="reduce")
    widget = page.locator(".cfgtoy-widget")
    assert widget.evaluate(W) == 8
    widget.get_by_role("button", name="Play").click()
    settle(page)
    assert widget.evaluate(W) == 0


@pytest.mark.browser
def test_fits_a_phone_and_axe_finds_nothing(open_page: Open) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(WeightExplorer(n=100), width=390, reduced_motion="reduce")
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        settle(page)
        found = axe.run(page).response["violations"]
        assert not found, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found]


@pytest.mark.browser
def test_curve_grows_with_the_window(open_page: Open) -> None:
    page = open_page(WeightExplorer(w=0.0, n=100), width=320, reduced_motion="reduce")
    chart = page.locator(".cx-panel .cx-plot")
    room = "chart => chart.parentElement.clientWidth - chart.clientWidth"
    for width in (320, 390, 320):
        resize(page, width, 900)
        eventually(page, lambda: chart.evaluate(room) == 0, "the curve does not fill its place")


@pytest.mark.browser
def test_controls_that_are_not_named_wait_under_more(open_page: Open) -> None:
    page = open_page(SamplingExplorer(controls=["w"]))
    widget = page.locator(".cfgtoy-widget")
    shown = [label.inner_text() for label in widget.locator("label:visible").all()]
    assert shown == ["progress of the run, %", "guidance weight w"]
    widget.locator("summary").click()
    widget.get_by_label("steps N", exact=True).fill("8")
    settle(page)
    assert "8 steps" in str(widget.locator("canvas").get_attribute("aria-label"))
