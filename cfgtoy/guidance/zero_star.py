"""CFG-Zero*: scale the unconditional estimate to fit the conditional one before extrapolating."""

from __future__ import annotations

import torch
from torch import Tensor

from ..prediction import Denoiser, Prediction
from ._branches import both, inner
from ._weights import Weight, over, weight

__all__ = ["cfg_zero_star"]


def cfg_zero_star(denoiser: Denoiser, *, w: Weight) -> Denoiser:
    """CFG-Zero*'s scaled guidance: ε̃ = (1+w) ε(z,c) − w s* ε(z), with s* = ⟨ε(z,c), ε(z)⟩ / ‖ε(z)‖² per sample.

    The source guides flow velocities; here the same projection is made on ε. Its second part, no motion in the first
    steps, belongs to the sampler's grid and is left out.

    Raises:
        ValueError: ``w`` is not finite.

    Source: Fan et al. 2025.
    """
    w = weight("w", w)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        base = uncond.eps
        fit = inner(cond.eps, base) / inner(base, base).clamp(min=torch.finfo(base.dtype).tiny)
        share = over(w, z)
        return Prediction.from_eps(z, cond.logsnr, (1 + share) * cond.eps - share * fit * base)

    return guided
