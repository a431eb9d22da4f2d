"""Intervals in five units: against the formulas of each, against diffusers' own rounding, and through the rule."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from cfgtoy import datasets, guidance, logsnr, schedules
from cfgtoy.guidance import convert_interval

F64 = torch.float64
UNITS = ("step", "fraction", "t", "sigma", "logsnr")
GRIDS = {
    "uniform": schedules.Uniform(-10, 10).grid(20, dtype=F64),
    "flow": logsnr.from_flow_time(torch.linspace(1, 0, 29, dtype=F64)[:-1]),
    "shifted flow": logsnr.from_flow_time(3 * (t := torch.linspace(1, 0, 29, dtype=F64)[:-1]) / (1 + 2 * t)),
    "cosine": schedules.Cosine(-20, 20).grid(50),
}


@pytest.mark.parametrize("t", [0.9, 0.5, 0.031])
def test_a_level_in_each_unit(t):
    sigma = t / (1 - t)  # z_t = (1 − t) x + t ε
    lam = 2 * math.log((1 - t) / t)
    assert convert_interval((t, 1.0), "t") == pytest.approx((-math.inf, lam))
    assert convert_interval((sigma, math.inf), "sigma") == pytest.approx((-math.inf, lam))
    assert convert_interval((t, 1.0), "t", "sigma") == pytest.approx((sigma, math.inf))
    assert convert_interval((-math.inf, lam), "logsnr", "t") == pytest.approx((t, 1.0))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize(("unit", "to"), list(itertools.permutations(UNITS, 2)))
def test_there_and_back_holds_the_same_steps(unit, to, grid):
    steps = len(grid)
    for first, last in [(0, steps), (0, 3), (5, 6), (7, steps), (4, 15)]:
        given = convert_interval((first, last), "step", unit, grid=grid)
        there = convert_interval(given, unit, to, grid=grid)
        assert convert_interval(there, to, "step", grid=grid) == (first, last)


@pytest.mark.parametrize("unit", UNITS)
def test_the_whole_is_open_at_both_sides(unit):
    whole = {
        "step": (0, 28),
        "fraction": (0, 1),
        "t": (0, 1),
        "sigma": (0, math.inf),
        "logsnr": (-math.inf, math.inf),
    }
    assert convert_interval(whole[unit], unit, grid=GRIDS["flow"]) == (-math.inf, math.inf)


def test_fractions_round_as_diffusers_rounds_them():
    for steps in (7, 28, 29, 49, 50, 100):
        grid = schedules.Uniform(-10, 10).grid(steps)
        for first in range(steps):
            start, stop = convert_interval((first, steps), "step", "fraction", grid=grid)
            assert (int(start * steps), int(stop * steps)) == (first, steps)


def test_only_steps_and_fractions_depend_on_the_grid():
    straight, shifted = GRIDS["flow"], GRIDS["shifted flow"]
    for unit, ends in {"t": (0.2, 0.8), "sigma": (0.25, 4.0)}.items():
        assert convert_interval(ends, unit, grid=straight) == convert_interval(ends, unit, grid=shifted)
    for unit, ends in {"step": (3, 20), "fraction": (0.1, 0.7)}.items():
        assert convert_interval(ends, unit, grid=straight) != convert_interval(ends, unit, grid=shifted)


def test_the_rule_guides_those_steps():
    grid, mixture = GRIDS["shifted flow"], datasets.three_gaussians(dtype=F64)
    lo, hi = convert_interval((0.25, 0.5), "fraction", grid=grid)
    inside = guidance.interval(mixture, guidance.classifier_free(mixture, w=2.0), lo=lo, hi=hi)
    z, y = torch.randn(4, 2, dtype=F64), torch.tensor([0, 1, 2, 0])
    plain = [bool(torch.equal(inside(z, lam, y).v, mixture(z, lam, y).v)) for lam in grid]
    assert [i for i, is_plain in enumerate(plain) if is_plain] == list(range(7, 14))


def test_what_is_refused():
    grid = GRIDS["flow"]
    with pytest.raises(ValueError, match=r"^unit: got 'percent', takes one of step, fraction"):
        convert_interval((0, 1), "percent")
    with pytest.raises(ValueError, match=r"^to: got None"):
        convert_interval((0, 1), "t", None)
    for unit, to in (("step", "t"), ("t", "fraction")):
        with pytest.raises(ValueError, match=r"^grid: got None, takes the sampler's levels"):
            convert_interval((0, 1), unit, to)
    with pytest.raises(ValueError, match=r"^grid: got a grid that does not rise"):
        convert_interval((0, 1), "step", grid=GRIDS["uniform"].flip(0))
    wrong = {"t": (0.5, 1.5), "fraction": (-0.1, 1), "sigma": (-1, 2), "step": (0, 29), "logsnr": (2, 1)}
    for unit, ends in [*wrong.items(), ("t", (float("nan"), 1)), ("t", "ab"), ("t", 0.5)]:
        with pytest.raises(ValueError, match=r"^ends: got"):
            convert_interval(ends, unit, grid=grid)
    for ends, unit, to in [
        ((3, 3), "step", "t"),
        ((0.5, 0.51), "fraction", "t"),
        ((0.51, 0.515), "t", "step"),
    ]:
        with pytest.raises(ValueError, match=r"^ends: got"):
            convert_interval(ends, unit, to, grid=grid)
