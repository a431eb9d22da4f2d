r"""A sampler that noises its samples again and denoises them with guidance, round after round."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from .. import _checks
from ..prediction import Denoiser
from ..process import diffuse
from .table import Method, sample


@torch.no_grad()
def gibbs_like(
    denoiser: Denoiser,
    y: Tensor | int | None = None,
    *,
    start: Denoiser,
    shape: Sequence[int],
    grid: Tensor,
    again: Tensor,
    rounds: int = 2,
    method: Method = "heun",
    generator: Generator | None = None,
) -> Tensor:
    r"""Gibbs-like guidance: samples drawn without it, then noised to a middle level and denoised with it, R times.

    With γ = 1 + w, let π ∝ p(x | c)^γ p(x)^{1−γ} be the tilted density. By Bayes' rule the score of its noisy π_λ is

    .. math:: ∇ \log π_λ(z) = γ ∇ \log p_λ(z | c) + (1-γ) ∇ \log p_λ(z)
        + (γ-1) ∇ R_γ\big(p(x | z, c) \,\|\, p(x | z)\big),

    with Rényi's divergence R_γ(a ‖ b) = log ∫ a^γ b^{1−γ} / (γ − 1). The first two terms are the guided score; the last
    pushes away from where the two posteriors agree, and CFG leaves it out. Towards the data it vanishes. So guidance
    that begins at a low noise level draws nearly the right thing, from z that have the right density there, and a round

    .. math:: z = α_* x + σ_* ξ, \qquad x' = \text{the guided ODE from } z \text{ at } λ_* \text{ to the data}

    nearly keeps π. The first x come from the class's own density, where nothing is missing, and keep its diversity.
    With less noise in a round (a higher λ_*) what the rounds tend to is nearer to π, and they take longer to get there.
    On two centred Gaussians of variance 1 (the class) and 2 (all), with s = e^{−λ_*} and an exact ODE, a round makes
    A² (V + s) of a variance V, with A² = (1+s)^{−γ} (1 + s/2)^{γ−1}. That rests at s / (A^{−2} − 1): the tilted
    2/(γ + 1) as s → 0, and the guided ODE's 2^{1−γ} as s → ∞.

    Evaluations: the method's for the grid, of ``start``, and R times its for ``again``, of ``denoiser``.

    Args:
        denoiser, y: the guided one, by any rule; classes, (b,), one int for all, or None.
        start: draws the first samples: the model without guidance, in the source.
        shape: of the result, x after the last round, (b, \*d).
        grid: rising levels of the first draw, (T,). Its dtype and device are the result's.
        again, rounds: rising finite levels of a round, (U,), the first of them λ_*; and R, at least 0.
        method: how both are run, a name in :data:`SAMPLERS`: the source has ``"heun"`` or ``"ddim"``.
        generator: source of all randomness; the same seed gives the same samples.

    Raises:
        ValueError: ``rounds`` is not an integer from 0, ``again`` not finite and rising, samples leave the range of
            numbers, or as in :func:`sample`.

    Source: Moufad et al. 2025, whose published code this follows. It counts noise in units of x, λ_* = −2 log σ_*, and
    comes with σ_* = 1, R = 2, 12 of 32 steps for the first draw, and γ = 2. Of the paper's text only the abstract could
    be looked up: both formulas here are derived anew, and tested.
    """
    _checks.positive_int("rounds", rounds, least=0)
    _checks.function("start", start)
    grid = _checks.rising("grid", grid)
    again = _checks.rising("again", _checks.finite("again", again).to(grid))
    x = sample(start, y, shape=shape, grid=grid, method=method, generator=generator)
    for k in range(rounds + 1):
        drawn = f"after round {k}" if k else "of the first draw"
        got = f"samples {drawn} that left the range of numbers"
        _checks.require(bool(x.isfinite().all()), "denoiser", got, "a weight and levels it can follow")
        if k < rounds:
            z = diffuse(x, again[0], generator=generator)
            x = sample(denoiser, y, shape=shape, grid=again, method=method, generator=generator, z=z)
    return x
