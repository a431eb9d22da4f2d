"""CFG++ as what it is: CFG whose weight depends on λ and on the step to come."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import as_logsnr, per_sample
from ..prediction import Denoiser, Prediction
from ._branches import both

__all__ = ["cfg_plus_plus"]


def cfg_plus_plus(
    denoiser: Denoiser, scale: float | None = None, *, w: float | None = None, grid: Tensor
) -> Denoiser:
    """CFG++: guide the estimate, renoise without guidance.

    CFG++ takes a DDIM step with a guided x̂ but an unguided ε̂. Collecting terms, that is a DDIM step of plain CFG at the
    scale s(λ) below with λ' the next level of ``grid``; so it is exact for :func:`cfgtoy.samplers.ddim` on the same
    grid, and grows without bound as steps shrink.

    Args:
        denoiser: answers for a class and for NULL.
        scale: interpolation between the unconditional (0) and the conditional (1) estimate.
        w: ``scale`` − 1, the weight of that estimate: −1 to 0 interpolates, as the source does. Give one of the two.
        grid: the rising levels of the sampler, (T,); the first may be −∞.

    Raises:
        ValueError: ``scale`` or ``w`` is not finite, both or neither are given, ``grid`` does not rise; on a call, a λ
            that is not on the grid.

    Source: Chung et al. 2024, eq. 12 and §3: s(λ) = scale / (1 − e^{(λ−λ')/2}).
    """
    if scale is not None and w is not None:
        raise ValueError(f"w: got {w!r} with scale = {scale!r}, takes one of the two, w = scale − 1")
    share = _checks.number("scale", scale) if w is None else 1 + _checks.number("w", w)
    grid = _checks.rising("grid", grid)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        lam = as_logsnr("logsnr", logsnr, z, noise=True)
        levels = grid.to(lam)
        at = (lam[..., None] - levels).abs().argmin(-1)  # the nearest level, () or (b,)
        if not bool(torch.isclose(levels[at], lam, rtol=1e-5, atol=1e-5).all()):
            raise ValueError("logsnr: got a level that is not on the grid, takes the grid's own levels")
        step = torch.cat([levels.diff(), levels.new_full((1,), math.inf)])[at]
        # The last level returns x̂ itself.
        s = share / -torch.expm1(-step / 2)
        cond, uncond = both(denoiser, z, lam, y)
        return uncond.mix(cond, per_sample(s, z))

    return guided
