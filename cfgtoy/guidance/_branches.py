"""Two answers for one sample: with its class and without, from one network or from two."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import as_logsnr, per_sample
from ..prediction import NULL, Denoiser, Prediction

__all__ = ["both", "classes", "pair", "unconditional"]


def classes(y: Tensor | int | None, z: Tensor) -> Tensor:
    """``y`` as one int64 class a sample, (b,)."""
    if z.ndim == 0:
        raise ValueError("z: got shape (), takes (b, *d)")
    if y is None:
        return torch.full((len(z),), NULL, device=z.device)
    y = y if isinstance(y, Tensor) else torch.tensor(y)
    if y.is_floating_point() or y.ndim > 1 or (y.ndim == 1 and len(y) not in (1, len(z))):
        raise ValueError(
            f"y: got {y.dtype} of shape {tuple(y.shape)}, takes one integer class a sample, ({len(z)},)"
        )
    return y.to(z.device, torch.int64).expand(len(z))


def both(
    denoiser: Denoiser, z: Tensor, logsnr: Tensor, y: Tensor | int | None, y_other: Tensor | int | None = NULL
) -> tuple[Prediction, Prediction]:
    """The predictions for ``y`` and for ``y_other``, of one kind, from one call on a doubled batch."""
    lam = as_logsnr("logsnr", logsnr, _checks.tensor("z", z), check=False)
    lams = lam if lam.ndim == 0 else torch.cat([lam, lam])
    rows = torch.cat([classes(y, z), classes(y_other, z)])
    doubled = denoiser(torch.cat([z, z]), lams, rows)
    first, second = doubled.estimate.split(len(z))
    return Prediction(z, lam, first, doubled.kind), Prediction(z, lam, second, doubled.kind)


def unconditional(denoiser: Denoiser) -> Denoiser:
    """``denoiser`` with its class withheld: whatever ``y`` it is asked for, it answers for ∅."""

    def without_class(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        return denoiser(z, logsnr, None)

    return without_class


def pair(conditional: Denoiser, unconditional: Denoiser) -> Denoiser:
    """One denoiser from two: ``conditional`` answers where there is a class, ``unconditional`` where y is NULL.

    Both are asked for every sample, and both must hold estimates of one kind or convert to it.
    """

    def either(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        if y is None:
            return unconditional(z, logsnr, None)
        rows = classes(y, z)
        null = per_sample(rows == NULL, z)
        cond = conditional(z, logsnr, rows.clamp(min=0))
        other = unconditional(z, logsnr, None).as_kind(cond.kind)
        return Prediction(z, cond.logsnr, torch.where(null, other, cond.estimate), cond.kind)

    return either
