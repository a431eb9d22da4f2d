"""An interval of noise levels in the units in which people give one."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import flow_time, from_flow_time

Unit = Literal["step", "fraction", "t", "sigma", "logsnr"]


def convert_interval(
    ends: tuple[float, float], unit: Unit, to: Unit = "logsnr", *, grid: Tensor | None = None
) -> tuple[float, float]:
    """One interval of noise levels in another unit; (lo, hi) of :func:`~cfgtoy.guidance.interval` by default.

    ==============  =====================================================================  ================
    ``"step"``      steps first ≤ i < last of the sampler, from 0 to T                      needs the grid
    ``"fraction"``  of the steps, from 0 to 1; diffusers' ``start`` and ``stop``            needs the grid
    ``"t"``         the flow's time, 1 noise to 0 data: t = σ/(α+σ)                         of itself
    ``"sigma"``     the noise beside data of unit scale, as in EDM: σ/α                     of itself
    ``"logsnr"``    λ                                                                       of itself
    ==============  =====================================================================  ================

    An end that is that of all levels (step 0 or T, fraction 0 or 1, t = 1 or 0, σ = ∞ or 0) leaves its side open,
    λ = ∓∞: nothing there is switched off. Another end of steps or fractions falls halfway between two levels.

    Args:
        ends: the two ends in ``unit``, rising, as are those in ``to`` that come back.
        unit, to: what they are given in, and what is asked for.
        grid: the rising levels of the sampler, (T,), where steps or fractions come in.

    Raises ``ValueError``: an unknown unit, ends that do not rise or that the unit does not have, a grid that is missing
    or does not rise, or an interval in which no step lies, where steps are asked for.
    Source: Kynkäänniemi et al. 2024 (σ); diffusers, ``guiders`` (fractions, rounded down to steps).
    """
    for name, value in (("unit", unit), ("to", to)):
        _checks.one_of(name, value, get_args(Unit))
    if grid is not None:
        grid = _checks.rising("grid", grid)
    elif {unit, to} & {"step", "fraction"}:
        raise ValueError(f"grid: got None, takes the sampler's levels: from {unit} to {to} depends on them")
    lo, hi = _to_logsnr(*_checked(ends, unit, grid), unit, grid)
    return _from_logsnr(lo, hi, to, grid)


def _checked(ends: tuple[float, float], unit: Unit, grid: Tensor | None) -> tuple[float, float]:
    least = -math.inf if unit == "logsnr" else 0
    most = 1 if unit in ("fraction", "t") else math.inf if grid is None or unit != "step" else len(grid)
    try:
        first, last = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise ValueError(f"ends: got {ends!r}, takes two numbers") from None
    rises = least <= first <= last <= most and (first < last or unit != "step")  # NaN compares false
    _checks.require(rises, "ends", f"{first:g} to {last:g}", f"two that rise in {least:g} … {most:g}")
    return first, last


def _to_logsnr(first: float, last: float, unit: Unit, grid: Tensor | None) -> tuple[float, float]:
    if unit == "logsnr":
        return first, last
    if unit in ("step", "fraction"):
        assert grid is not None
        scale = len(grid) if unit == "fraction" else 1
        begin, end = int(first * scale), int(last * scale)
        takes = f"ends with a step of the {len(grid)} between"
        _checks.require(begin < end, "ends", f"{first:g} to {last:g}", takes)
        # Halfway in t between the last level outside and the first inside, where no rounding can move a level across.
        t = flow_time(grid.double())
        between = [-math.inf, *from_flow_time((t[:-1] + t[1:]) / 2).tolist(), math.inf]
        return between[begin], between[end]
    ends = torch.tensor([last, first], dtype=torch.float64)
    lo, hi = (from_flow_time(ends) if unit == "t" else -2 * ends.log()).tolist()
    return lo, hi


def _from_logsnr(lo: float, hi: float, to: Unit, grid: Tensor | None) -> tuple[float, float]:
    if to == "logsnr":
        return lo, hi
    if to in ("step", "fraction"):
        assert grid is not None
        begin, end = int((grid < lo).sum()), int((grid <= hi).sum())
        got = f"λ from {lo:g} to {hi:g}"
        _checks.require(begin < end, "ends", got, "ends with a level of the grid between")
        return (begin, end) if to == "step" else (_fraction(begin, len(grid)), _fraction(end, len(grid)))
    ends = torch.tensor([hi, lo], dtype=torch.float64)
    clean, noisy = (flow_time(ends) if to == "t" else (-ends / 2).exp()).tolist()
    return clean, noisy


def _fraction(step: int, steps: int) -> float:
    """step/steps, or the next number above it, so that it times ``steps`` rounds down to ``step``."""
    share = step / steps
    return share if int(share * steps) == step else math.nextafter(share, 1.0)
