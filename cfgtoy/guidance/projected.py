"""Adaptive projected guidance: guide across the estimate more than along it."""

from __future__ import annotations

import math

from torch import Tensor

from .. import _checks
from ..prediction import Denoiser, Prediction
from ._branches import both, inner, norm
from ._weights import Weight, over, weight

__all__ = ["apg"]


def apg(denoiser: Denoiser, *, w: Weight, eta: float = 0.0, threshold: float = math.inf) -> Denoiser:
    """Adaptive projected guidance, with Δ = x_c − x_∅ split across and along x_c.

    The source adds a momentum over steps; that would make a denoiser remember, so it is left out here.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight, a number or (b,).
        eta: share of the part along x_c that is kept; 1 with no threshold is plain CFG.
        threshold: longest Δ allowed, in units of x.

    Raises:
        ValueError: ``w`` or ``eta`` is not finite, or ``threshold`` is not positive.

    Source: Sadat et al. 2024: x̃ = x_c + w (Δ⊥ + eta Δ∥).
    """
    w, eta = weight("w", w), _checks.number("eta", eta)
    if not threshold > 0:
        raise ValueError(f"threshold: got {threshold!r}, takes a positive length")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        x = cond.x
        delta = x - uncond.x
        delta = delta * (threshold / norm(delta)).clamp(max=1.0)
        unit = x / norm(x)
        along = inner(delta, unit) * unit
        return Prediction.from_x(z, cond.logsnr, x + over(w, z) * (delta - along + eta * along))

    return guided
