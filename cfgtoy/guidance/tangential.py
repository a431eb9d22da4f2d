"""Tangential damping: keep of the unconditional estimate what both branches share."""

from __future__ import annotations

import torch
from torch import Tensor

from ..prediction import Denoiser, Prediction
from ._branches import both
from ._vectors import across, inner
from ._weights import Weight, over, weight

__all__ = ["tcfg"]


def tcfg(denoiser: Denoiser, *, w: Weight) -> Denoiser:
    """Tangential damping, on the noise ε as in the source: ε_∅ is projected on d, the leading right singular vector of
    the two rows ε_c and ε_∅, and guidance extrapolates from there.

    With θ = ½ atan2(2⟨ε_c, ε_∅⟩, ‖ε_c‖² − ‖ε_∅‖²), d lies along cos θ ε_c + sin θ ε_∅. Nothing of that lies across d,
    so the dropped part of ε_∅ is −share times the part of Δ = ε_c − ε_∅ across d, share = cos θ/(cos θ + sin θ). That
    is linear in Δ, so it is formed on the model's own estimate, and nothing large cancels.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight, a number or (b,).

    Raises:
        ValueError: ``w`` is not finite.

    Source: Kwon et al. 2025 (TCFG): ε̃ = ε_c + w (ε_c − ⟨ε_∅, d⟩ d).
    """
    w = weight("w", w)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        delta, slope = cond.estimate - uncond.estimate, cond.slope("eps")
        c, u = cond.eps, uncond.eps
        overlap = inner(c, u)
        theta = 0.5 * torch.atan2(2 * overlap, inner(slope * delta, c + u))
        cos, sin = theta.cos(), theta.sin()
        d = cos * c + sin * u
        # Where the branches point apart the share may be infinite; but there nothing cancels in ε_∅ itself.
        dropped = torch.where(overlap < 0, across(u, d) / slope, -cos / (cos + sin) * across(delta, d))
        return Prediction(z, cond.logsnr, cond.estimate + over(w, z) * (delta + dropped), cond.kind)

    return guided
