"""Zero-init: no motion at the noisiest levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import as_logsnr, per_sample
from ..prediction import Denoiser, Prediction

__all__ = ["zero_init"]


def zero_init(denoiser: Denoiser, *, until: float) -> Denoiser:
    """A denoiser, guided or not, that stands still where λ ≤ ``until``.

    Still means that the flow velocity u = ε − x is zero: an Euler step in t leaves z_t where it is, and so does DDIM.
    A zero of ε or of x would be a motion. So this goes around a rule whatever its kind, as in
    ``zero_init(cfg_zero_star(model, w=2.0), until=grid[0].item())`` for one step of a sampler with that ``grid``.

    Args:
        denoiser: whatever moves above ``until``; it is asked there alone, where one λ holds for all samples.
        until: the last level without motion, in log-SNR; −inf moves at all levels above pure noise.

    Raises:
        ValueError: ``until`` is NaN or +inf.

    Source: Fan et al. 2025 (CFG-Zero*), §3.3 and Algorithm 1: ũ = 0 in the first steps.
    """
    if until != -math.inf:
        until = _checks.number("until", until)

    def stilled(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        lam = as_logsnr("logsnr", logsnr, z, noise=True)
        still = lam <= until
        if bool(still.all()):
            return Prediction.from_flow(z, lam, torch.zeros_like(z))
        moving = denoiser(z, lam, y)
        if not bool(still.any()):
            return moving
        return Prediction.from_flow(z, lam, torch.where(per_sample(still, z), 0.0, moving.flow))

    return stilled
