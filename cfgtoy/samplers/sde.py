"""Samplers that draw noise at every level."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Generator, Tensor

from .. import _checks
from ..logsnr import log_alpha_sigma
from ..prediction import Denoiser
from ..process import _reverse
from .moves import moves
from .state import Noise, State, begin, end, source

__all__ = ["ancestral", "langevin"]


def ancestral(
    denoiser: Denoiser,
    z: Tensor,
    grid: Tensor,
    y: Tensor | int | None = None,
    *,
    v: float = 0.3,
    generator: Generator | None = None,
    noise: Noise | None = None,
) -> Iterator[State]:
    """The ancestral sampler: z' ~ N(μ̃(z, x̂), (σ̃²)^{1−v} (σ²_{λ|λ'})^v), the last step returns x̂.

    Args:
        denoiser: any denoiser, guided or not.
        z: N(0, I) samples at the grid's first level, (b, \\*d).
        grid: rising levels, (T,); the first may be −∞.
        y: classes, (b,), one int for all, or None.
        v: where the variance lies between its lower (0) and upper (1) bound, in log space.
        generator: source of randomness, on z's device.
        noise: another source, instead of the generator; see :data:`Noise`.

    Yields:
        T + 1 states.

    Raises:
        ValueError: at the call: ``v`` outside [0, 1], a grid that does not rise, in z's dtype too, NaN, labels that do
            not fit, or a ``noise`` beside a generator; later: noise of another shape, or a denoiser whose estimate
            says nothing of x at λ = −∞, as ε does.

    Source: Ho & Salimans 2022, Algorithm 2.
    """
    v = _checks.unit_interval("v", v)
    levels, y = begin(z, grid, y)
    return _ancestral(denoiser, z, levels, y, v, source(generator, noise))


def _ancestral(
    denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | None, v: float, noise: Noise
) -> Iterator[State]:
    for step, lam in enumerate(grid):
        pred = denoiser(z, lam, y)
        yield State(step, lam, z, pred)
        if step + 1 < len(grid):
            mean, log_var = _reverse(z, pred.x, lam, grid[step + 1], v)
            z = mean + (0.5 * log_var).exp() * noise(z, step + 1)
    yield end(len(grid), z, pred)


def langevin(
    denoiser: Denoiser,
    z: Tensor,
    grid: Tensor,
    y: Tensor | int | None = None,
    *,
    corrections: int = 2,
    generator: Generator | None = None,
    noise: Noise | None = None,
) -> Iterator[State]:
    """Annealed Langevin correction: after each DDIM step, ``corrections`` Langevin steps at the level it led to.

    A guided score is the gradient of log p(z|c) + w log p(c|z) at each level, and Langevin steps at one level draw from
    that density, which no sampler that only follows the guided ODE or SDE does. With more of them and more levels the
    samples tend to the tilted density. Towards the data they mix ever more slowly, so it takes many.

    A correction replaces noise: z' = α x̂ + σ (e^{−σ} ε̂ + √(1 − e^{−2σ}) ξ), with the mean of the x̂ at both ends, hence
    1 + (T − 1)(1 + 2 ``corrections``) evaluations in all.

    Arguments, states and errors as in :func:`ancestral`.

    Args:
        corrections: Langevin steps a level, at least 0.

    Source: Song et al. 2021, Algorithm 4 (predictor and corrector); Bradley & Nakkiran 2024 on guidance as such a pair.
    """
    _checks.positive_int("corrections", corrections, least=0)
    levels, y = begin(z, grid, y)
    return _langevin(denoiser, z, levels, y, corrections, source(generator, noise))


def _langevin(
    denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | None, corrections: int, noise: Noise
) -> Iterator[State]:
    log_alpha, log_sigma = log_alpha_sigma(grid)
    keep, fill, spread = moves(grid, grid, 2 * log_sigma.exp())
    pred = denoiser(z, grid[0], y)
    for step, lam in enumerate(grid):
        if step > 0:
            z = log_alpha[step].exp() * pred.x + log_sigma[step].exp() * pred.eps
            for k in range(corrections):
                fresh = spread[step] * noise(z, (step - 1) * corrections + k + 1)
                x = denoiser(z, lam, y).x
                there = denoiser(keep[step] * z + fill[step] * x + fresh, lam, y).x
                z = keep[step] * z + fill[step] * (x + there) / 2 + fresh
            pred = denoiser(z, lam, y)
        yield State(step, lam, z, pred)
    yield end(len(grid), z, pred)
