"""A guidance weight that changes with the noise level."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import as_logsnr, per_sample
from ..prediction import Denoiser, Prediction
from ._branches import both
from ._weights import Weight, over, weight

__all__ = ["weight_schedule"]

# Each has mean 1 over u in [0, 1], from noise to data.
SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "constant": torch.ones_like,
    "linear": lambda u: 2 * u,
    "cosine": lambda u: 1 - torch.cos(math.pi * u),
    "falling": lambda u: 2 - 2 * u,
    "beta": lambda u: 6 * u * (1 - u),
}


def weight_schedule(
    denoiser: Denoiser,
    *,
    w: Weight,
    shape: Literal["constant", "linear", "cosine", "falling", "beta"] = "linear",
    lo: float = -20.0,
    hi: float = 20.0,
) -> Denoiser:
    """CFG with the weight w · shape(u), u = (λ − lo)/(hi − lo), kept at its end values outside [lo, hi].

    The sources count u in steps or in time; here it counts in log-SNR, which no sampler or schedule changes. Each
    shape has mean 1 over the range, so w is the mean weight.

    Args:
        denoiser: answers for a class and for NULL.
        w: mean guidance weight, a number or (b,).
        shape: ``"constant"``, 1; ``"linear"``, 2u; ``"cosine"``, 1 − cos πu; ``"falling"``, 2 − 2u; ``"beta"``,
            6u(1 − u), the density of Beta(2, 2).
        lo, hi: ends of the range in log-SNR.

    Raises:
        ValueError: ``w``, ``lo`` or ``hi`` is not finite, ``lo`` ≥ ``hi``, or an unknown ``shape``.

    Source: Wang et al. 2024 (linear, cosine, falling); Malarz et al. 2025 (beta).
    """
    w, lo, hi = weight("w", w), _checks.number("lo", lo), _checks.number("hi", hi)
    if not lo < hi:
        raise ValueError(f"lo: got {lo!r} with hi = {hi!r}, takes lo < hi in log-SNR")
    if shape not in SHAPES:
        raise ValueError(f"shape: got {shape!r}, takes one of {', '.join(SHAPES)}")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        lam = as_logsnr("logsnr", logsnr, z, noise=True)
        share = SHAPES[shape]((lam.clamp(lo, hi) - lo) / (hi - lo))
        push = over(w, z) * per_sample(share, z) * (cond.estimate - uncond.estimate)
        return Prediction(z, cond.logsnr, cond.estimate + push, cond.kind)

    return guided
