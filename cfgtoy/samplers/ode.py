r"""Samplers of the probability-flow ODE: noise at the start, none on the way.

With σ/α for time, the ODE is d(z/α)/d(σ/α) = ε̂ (Song et al. 2021; Karras et al. 2022), and in z itself
dz = x̂ dα + ε̂ dσ.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..logsnr import log_alpha_sigma
from ..prediction import Denoiser
from .state import State, begin, end

__all__ = ["ddim", "dpmpp_2m", "heun"]


def ddim(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | int | None = None) -> Iterator[State]:
    """DDIM: z' = α' x̂ + σ' ε̂, the exact Euler step of the probability-flow ODE in σ/α. First order.

    Arguments, states and errors as in :func:`ancestral`.

    Source: Song, Meng & Ermon 2021, eq. 12 with η = 0.
    """
    return _ddim(denoiser, z, *begin(z, grid, y))


def _ddim(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | None) -> Iterator[State]:
    log_alpha, log_sigma = log_alpha_sigma(grid)
    for step, lam in enumerate(grid):
        pred = denoiser(z, lam, y)
        yield State(step, lam, z, pred)
        if step + 1 < len(grid):
            z = log_alpha[step + 1].exp() * pred.x + log_sigma[step + 1].exp() * pred.eps
    yield end(len(grid), z, pred)


def heun(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | int | None = None) -> Iterator[State]:
    """Heun's method on dz = x̂ dα + ε̂ dσ: both estimates are the means of a step's two ends. Second order.

    Two evaluations a step: z' = z + (α' − α)(x̂ + x̂')/2 + (σ' − σ)(ε̂ + ε̂')/2, with x̂', ε̂' at DDIM's z'.

    Karras et al. take the mean of ε̂ alone, on z/α. There the correction is α'/α times as large, which is ten thousand
    where one step leads out of pure noise, as with few levels of the cosine schedule; this one stays of the size of z
    on any grid, and on even ones it is no less accurate.

    Arguments, states and errors as in :func:`ancestral`.

    Source: Karras et al. 2022, Algorithm 1, on z instead of z/α.
    """
    return _heun(denoiser, z, *begin(z, grid, y))


def _heun(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | None) -> Iterator[State]:
    log_alpha, log_sigma = log_alpha_sigma(grid)
    alpha, sigma = log_alpha.exp(), log_sigma.exp()
    pred = denoiser(z, grid[0], y)
    for step, lam in enumerate(grid[:-1]):
        yield State(step, lam, z, pred)
        eps = pred.eps
        euler = alpha[step + 1] * pred.x + sigma[step + 1] * eps
        ahead = denoiser(euler, grid[step + 1], y)
        # x̂' − x̂ = −(σ'/α')(ε̂' − ε̂) at one z': what the means change is (ασ'/α' − σ)(ε̂' − ε̂)/2.
        slope = sigma[step] * torch.expm1((lam - grid[step + 1]) / 2)
        z = euler + 0.5 * slope * (ahead.eps - eps)
        pred = denoiser(z, grid[step + 1], y)
    yield State(len(grid) - 1, grid[-1], z, pred)
    yield end(len(grid), z, pred)


def dpmpp_2m(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | int | None = None) -> Iterator[State]:
    """DPM-Solver++(2M): exponential integrator in x̂, extrapolated from two levels. Second order, one evaluation a step.

    A step more than twice as long as the one before, such as the last of the cosine grid, extrapolates as if it were as
    long as that one: further, x̂ overshoots.

    Arguments, states and errors as in :func:`ancestral`.

    Source: Lu et al. 2022b, Algorithm 2. Their λ is half of ours.
    """
    return _dpmpp_2m(denoiser, z, *begin(z, grid, y))


def _dpmpp_2m(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | None) -> Iterator[State]:
    log_alpha, log_sigma = log_alpha_sigma(grid)
    length = grid.diff()
    ratio = length[1:] / length[:-1]
    ratio = ratio.where(ratio <= 2, 1.0)
    x_before: Tensor | None = None
    for step, lam in enumerate(grid):
        pred = denoiser(z, lam, y)
        yield State(step, lam, z, pred)
        if step + 1 < len(grid):
            x = target = pred.x
            if x_before is not None:
                target = x + 0.5 * ratio[step - 1] * (x - x_before)
            keep = (log_sigma[step + 1] - log_sigma[step]).exp()
            fill = log_alpha[step + 1].exp() * -torch.expm1((lam - grid[step + 1]) / 2)
            z = keep * z + fill * target
            x_before = x
    yield end(len(grid), z, pred)
