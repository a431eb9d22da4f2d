"""Dynamic thresholding: clip and rescale x̂ by its own quantile."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import per_sample
from ..prediction import Denoiser, Prediction
from ._weights import Weight
from .table import Rule, rule

__all__ = ["dynamic_threshold"]


def dynamic_threshold(
    denoiser: Denoiser,
    *,
    w: Weight | None = None,
    of: Rule | str = "classifier-free",
    quantile: float = 0.995,
    floor: float = 1.0,
) -> Denoiser:
    """Dynamic thresholding: clip x̂ to [−s, s] and divide by s/floor, s the larger of ``floor`` and a quantile of |x̂|.

    Args:
        denoiser: the (guided) denoiser to tame; or, with ``w``, the one to guide first.
        w: guidance weight, a number or (b,); None leaves the denoiser as it is.
        of: the rule whose result is tamed, where ``w`` is given.
        quantile: of |x̂| over a sample's entries, in [0, 1].
        floor: the range of the data; samples inside it are left alone, bit for bit.

    Raises:
        ValueError: ``quantile`` outside [0, 1] or ``floor`` not positive.

    Source: Saharia et al. 2022, §2.3: x̃ = clip(x̂, −s, s) floor/s.
    """
    quantile = _checks.unit_interval("quantile", quantile)
    if not _checks.number("floor", floor) > 0:
        raise ValueError(f"floor: got {floor!r}, takes a positive number")
    raw = denoiser if w is None else rule(of)(denoiser, w=w)

    def thresholded(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        pred = raw(z, logsnr, y)
        # In float64: where σ is small, a rounding of x̂ or s would be a large step of the estimate itself.
        wide = Prediction(z.double(), pred.logsnr, pred.estimate.double(), pred.kind)
        x = wide.x
        s = per_sample(torch.quantile(x.abs().flatten(1), quantile, dim=1).clamp(min=floor), x)
        moved = wide.plus(x.clamp(-s, s) * (floor / s) - x, "x")
        return Prediction(z, pred.logsnr, moved.estimate.to(pred.estimate), pred.kind)

    return thresholded
