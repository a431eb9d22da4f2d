"""The figure style: what it draws is where it should be, and what it refuses."""

from __future__ import annotations

import io
import itertools

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

mpl.use("agg")

from cfgtoy import plotting
from tests.forked import python


def luminance(color: str) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: str, b: str) -> float:
    high, low = sorted([luminance(a), luminance(b)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_ink_reads_on_white_and_on_black() -> None:
    assert contrast(plotting.INK, "#ffffff") > 4.5
    assert contrast(plotting.INK, "#121212") > 3.5


def test_class_colours_show_on_both_grounds() -> None:
    for color in plotting.class_colors:
        assert contrast(color, "#ffffff") > 2
        assert contrast(color, "#121212") > 3


def test_class_colours_stay_apart_without_red_or_green() -> None:
    """Simulated deuteranopia and protanopia (Machado et al. 2009, severity 1): no two of the first five alike."""
    simulations = {
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ],
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
    }
    rgb = {c: np.array([int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for c in plotting.class_colors[:5]}
    for matrix in simulations.values():
        seen = {color: np.array(matrix) @ value for color, value in rgb.items()}
        for a, b in itertools.combinations(seen, 2):
            assert np.linalg.norm(seen[a] - seen[b]) > 0.1, (a, b)


def filled(fig) -> np.ndarray:
    """Opacity of a figure's pixels."""
    image = Image.open(io.BytesIO(plotting.to_png(fig, dpi=100))).convert("RGBA")
    return np.asarray(image)[..., 3]


@pytest.fixture(autouse=True)
def _style():
    with mpl.rc_context():
        plotting.use_style()
        yield


def test_figures_are_small_palette_images_on_nothing() -> None:
    fig, ax = plotting.subplots()
    plotting.density(ax, lambda z: -(z**2).sum(-1))
    png = plotting.to_png(fig, colors=16)
    image = Image.open(io.BytesIO(png))
    assert image.mode == "P"
    assert len(image.getcolors()) <= 16
    assert image.convert("RGBA").getpixel((2, 2))[3] == 0
    assert len(png) < 40_000


def test_density_regions_hold_their_mass() -> None:
    """For a standard normal, the region of mass m is the disc of radius sqrt(-2 log(1 - m))."""
    fig, ax = plotting.subplots(size=(4, 4))
    plotting.density(ax, lambda z: -(z**2).sum(-1) / 2 + 7.0, mass=[0.5], extent=5.0, n=400)
    [vertices] = [p.vertices for c in ax.collections for p in c.get_paths() if len(p.vertices) > 50]
    radius = np.linalg.norm(vertices, axis=1)
    assert np.sqrt(2 * np.log(2)) == pytest.approx(radius.mean(), rel=0.01)
    plotting.to_png(fig)


def test_arrows_are_cut_at_the_longest_and_compare_across_panels() -> None:
    fig, axes = plotting.subplots(2)
    longest = plotting.field(axes[0], lambda z: torch.ones_like(z), n=5)
    assert longest == pytest.approx(2**0.5)
    assert plotting.field(axes[1], lambda z: 2 * torch.ones_like(z), n=5, longest=longest) == longest
    first, second = (ax.collections[0] for ax in axes)
    assert np.allclose(np.hypot(first.U, first.V), np.hypot(second.U, second.V))
    plotting.to_png(fig)


def test_each_class_has_its_marker_and_colour() -> None:
    fig, ax = plotting.subplots()
    plotting.scatter(ax, torch.randn(30, 2), torch.arange(30) % 3, names=["a", "b", "c"])
    assert len({tuple(c.get_facecolor()[0]) for c in ax.collections}) == 3
    assert len({len(c.get_paths()[0].vertices) for c in ax.collections}) == 3
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b", "c"]
    plotting.to_png(fig)


def test_grid_points_run_along_x_first() -> None:
    points, xs, ys = plotting.grid_points((0.0, 1.0, 10.0, 12.0), 3)
    assert points[:3, 0].tolist() == xs.tolist() == [0.0, 0.5, 1.0]
    assert points[::3, 1].tolist() == ys.tolist() == [10.0, 11.0, 12.0]


def test_show_carries_its_alt_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {}
    monkeypatch.setattr("IPython.display.display", lambda data, **kw: shown.update(data=data, **kw))
    fig, _ = plotting.subplots(2)
    plotting.show(fig, alt="Two panels with nothing in them.")
    assert shown["metadata"]["image/png"]["alt"] == "Two panels with nothing in them."
    assert shown["metadata"]["image/png"]["width"] == 580
    assert shown["data"]["text/plain"] == "Figure: Two panels with nothing in them."


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda ax: plotting.subplots(4), "columns"),
        (lambda ax: plotting.density(ax, lambda z: z), "log_density"),
        (lambda ax: plotting.density(ax, lambda z: z[:, 0] * float("nan")), "log_density"),
        (lambda ax: plotting.field(ax, lambda z: z[:, 0]), "vectors"),
        (lambda ax: plotting.scatter(ax, torch.zeros(3)), "x"),
        (lambda ax: plotting.scatter(ax, torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64)), "y"),
        (lambda ax: plotting.show(ax.figure, alt="too short"), "alt"),
        (lambda ax: plotting.to_png(ax.figure, colors=1), "colors"),
    ],
)
def test_bad_input_is_named(call, named: str) -> None:
    fig, ax = plotting.subplots()
    with pytest.raises(ValueError, match=f"^{named}: "):
        call(ax)
    mpl.pyplot.close(fig)


def test_density_of_zero_is_allowed() -> None:
    def half(z: Tensor) -> Tensor:
        return torch.where(z[:, 0] > 0, -(z**2).sum(-1), torch.tensor(-torch.inf))

    fig, ax = plotting.subplots(size=(3, 3))
    plotting.density(ax, half)
    assert filled(fig).any()


def test_the_package_does_not_import_matplotlib() -> None:
    code = "import sys, cfgtoy; sys.exit('matplotlib' in sys.modules)"
    assert python(code).returncode == 0
