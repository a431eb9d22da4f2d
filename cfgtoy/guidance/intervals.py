"""Guidance in an interval of noise levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..logsnr import as_logsnr, per_sample
from ..prediction import Denoiser, Prediction
from ._weights import Weight
from .table import Rule, wrapped

__all__ = ["interval"]


def interval(
    guided: Denoiser,
    unguided: Denoiser | None = None,
    *,
    w: Weight | None = None,
    of: Rule | str = "classifier-free",
    lo: float = -math.inf,
    hi: float = math.inf,
) -> Denoiser:
    """A guided denoiser where lo ≤ λ ≤ hi, an unguided one elsewhere. One λ for all means one call.

    The level that counts is the one the denoiser is asked at. A sampler that looks ahead asks at the end of a step too
    (Heun's corrector, at the next level), so the last step before the interval is then guided by half, and the last
    one in it too.

    Args:
        guided, unguided: the two denoisers; or the denoiser alone, with ``w``: guided by ``of`` at that weight.
        w: guidance weight, a number or (b,).
        of: the rule that guides inside.
        lo, hi: ends of the interval in log-SNR; by default ±inf, which leaves a side open.

    Raises:
        ValueError: NaN, or ``lo`` > ``hi``; both or neither of ``unguided`` and ``w``.

    Source: Kynkäänniemi et al. 2024, eq. 4: ε̃ = ε(z,c) + 1[lo ≤ λ ≤ hi] w (ε(z,c) − ε(z)).
    """
    if not (isinstance(lo, int | float) and isinstance(hi, int | float) and lo <= hi):  # NaN compares false
        raise ValueError(f"lo: got {lo!r} with hi = {hi!r}, takes lo ≤ hi in log-SNR")
    inside_rule, outside_rule = wrapped(guided, unguided, of, w, "unguided")

    def switched(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        lam = as_logsnr("logsnr", logsnr, z, noise=True)
        inside = (lam >= lo) & (lam <= hi)
        if bool(inside.all()):
            return inside_rule(z, lam, y)
        if not bool(inside.any()):
            return outside_rule(z, lam, y)
        on, off = inside_rule(z, lam, y), outside_rule(z, lam, y)
        return Prediction(
            z, lam, torch.where(per_sample(inside, z), on.estimate, off.as_kind(on.kind)), on.kind
        )

    return switched
