"""Adaptive projected guidance: guide across the estimate more than along it."""

from __future__ import annotations

import math

from torch import Tensor

from .. import _checks
from ..prediction import Denoiser, Prediction
from ._branches import both
from ._vectors import across, norm
from ._weights import Weight, over, weight

__all__ = ["apg"]


def apg(denoiser: Denoiser, *, w: Weight, eta: float = 0.0, threshold: float = math.inf) -> Denoiser:
    """Adaptive projected guidance, with Δ = x_c − x_∅ split across and along x_c.

    The source also gives Δ a momentum over the steps, Δ_i + β Δ_{i−1}, with β < 0. A denoiser would have to remember
    for that, and would answer differently to a sampler that asks twice a step; so it is left out here, β = 0.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight, a number or (b,).
        eta: share of the part along x_c that is kept; 1 with no threshold is plain CFG.
        threshold: longest Δ allowed, in units of x; inf allows all.

    Raises:
        ValueError: ``w`` or ``eta`` is not finite, or ``threshold`` is not positive.

    Source: Sadat et al. 2024, Algorithm 1: x̃ = x_c + w (Δ⊥ + eta Δ∥), Δ ← Δ min(1, threshold/‖Δ‖).
    """
    w, eta = weight("w", w), _checks.number("eta", eta)
    if threshold != math.inf and not _checks.number("threshold", threshold) > 0:
        raise ValueError(f"threshold: got {threshold!r}, takes a positive length")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        delta = cond.estimate - uncond.estimate
        if threshold != math.inf:
            length = norm(cond.slope("x") * delta)
            delta = delta * (threshold / length).clamp(max=1.0)
        push = over(w, z) * across(delta, cond.x, eta)
        return Prediction(z, cond.logsnr, cond.estimate + push, cond.kind)

    return guided
