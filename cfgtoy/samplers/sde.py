"""Samplers that draw noise at every level."""

from collections.abc import Iterator

from torch import Generator, Tensor

from .. import _checks
from ..logsnr import log_alpha_sigma
from ..prediction import Denoiser, Prediction
from ..process import _reverse
from .moves import moves
from .state import Noise, State, begin, source, states


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
    """The ancestral sampler: z' ~ N(μ̃(z, x̂), (σ̃²)^{1−v} (σ²_{λ|λ'})^v), the last step returns x̂. Yields T + 1 states.

    Args:
        denoiser: any denoiser, guided or not.
        z: N(0, I) samples at the grid's first level, (b, \\*d).
        grid: rising levels, (T,); the first may be −∞.
        y: classes, (b,), one int for all, or None.
        v: where the variance lies between its lower (0) and upper (1) bound, in log space.
        generator, noise: source of randomness, on z's device, or another one in its place; see :data:`Noise`.

    Raises:
        ValueError: at the call: ``v`` outside [0, 1], a grid that does not rise, in z's dtype too, NaN, labels that do
            not fit, or a ``noise`` beside a generator; later: noise of another shape, or a denoiser whose estimate
            says nothing of x at λ = −∞, as ε does.

    Source: Ho & Salimans 2022, Algorithm 2.
    """
    v = _checks.unit_interval("v", v)
    levels, classes = begin(z, grid, y)
    draw = source(generator, noise)

    def step(k: int, z: Tensor, pred: Prediction) -> Tensor:
        mean, log_var = _reverse(z, pred.x, levels[k - 1], levels[k], v)
        return mean + (0.5 * log_var).exp() * draw(z, k)

    return states(denoiser, z, levels, classes, step)


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
    """Annealed Langevin correction: after each DDIM step, ``corrections`` (≥ 0) Langevin steps at the level it led to.

    A guided score is the gradient of log p(z|c) + w log p(c|z) at each level, and Langevin steps at one level draw from
    that density, which no sampler that only follows the guided ODE or SDE does. With more of them and more levels the
    samples tend to the tilted density. Towards the data they mix ever more slowly, so it takes many.

    A correction replaces noise: z' = α x̂ + σ (e^{−σ} ε̂ + √(1 − e^{−2σ}) ξ), with the mean of the x̂ at both ends, hence
    1 + (T − 1)(1 + 2 ``corrections``) evaluations in all. Other arguments, states and errors as in :func:`ancestral`.

    Source: Song et al. 2021, Algorithm 4 (predictor and corrector); Bradley & Nakkiran 2024 on guidance as such a pair.
    """
    _checks.positive_int("corrections", corrections, least=0)
    levels, classes = begin(z, grid, y)
    draw = source(generator, noise)
    log_alpha, log_sigma = log_alpha_sigma(levels)
    keep, fill, spread = moves(levels, levels, 2 * log_sigma.exp())

    def step(k: int, z: Tensor, pred: Prediction) -> Tensor:
        z = log_alpha[k].exp() * pred.x + log_sigma[k].exp() * pred.eps
        for i in range(corrections):
            fresh = spread[k] * draw(z, (k - 1) * corrections + i + 1)
            x = denoiser(z, levels[k], classes).x
            there = denoiser(keep[k] * z + fill[k] * x + fresh, levels[k], classes).x
            z = keep[k] * z + fill[k] * (x + there) / 2 + fresh
        return z

    return states(denoiser, z, levels, classes, step)
