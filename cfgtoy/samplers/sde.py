"""Samplers that draw noise at every level."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Generator, Tensor

from .. import _checks
from ..prediction import Denoiser
from ..process import _reverse
from .state import Noise, State, begin, end, source

__all__ = ["ancestral"]


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
