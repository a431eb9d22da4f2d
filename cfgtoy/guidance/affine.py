"""Means of two predictions with weights 1 + w and −w: away from no class, from another class, from a worse model."""

from __future__ import annotations

from torch import Tensor

from .. import _checks
from ..prediction import NULL, Denoiser, Prediction
from ._branches import both
from ._weights import Weight, over, weight

__all__ = ["auto", "classifier_free", "negative"]


def classifier_free(denoiser: Denoiser, *, w: Weight) -> Denoiser:
    """Classifier-free guidance, from one call on a doubled batch. Where y is NULL it is the unconditional prediction.

    The mean is taken in whatever the denoiser estimates (x, ε, v or u): all are affine in each other at a given z, and
    the weights sum to one, so the result is the same.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight; 0 conditional, −1 unconditional; a number or (b,).

    Raises:
        ValueError: ``w`` is not finite; on a call, labels or weights that do not fit the batch.

    Source: Ho & Salimans 2022, eq. 6: ε̃ = (1+w) ε(z,c) − w ε(z).
    """
    return negative(denoiser, w=w, y_negative=NULL)


def negative(denoiser: Denoiser, *, w: Weight, y_negative: int) -> Denoiser:
    """CFG away from a class instead of away from ∅: a "negative prompt".

    Args:
        denoiser: answers for every class.
        w: guidance weight, a number or (b,).
        y_negative: the class c' to move away from; NULL = −1 is plain CFG.

    Raises:
        ValueError: ``w`` is not finite, ``y_negative`` is no class; on a call, a class that does not exist.

    Source: common practice; ε̃ = (1+w) ε(z,c) − w ε(z,c').
    """
    w = weight("w", w)
    if isinstance(y_negative, bool) or not hasattr(y_negative, "__index__"):
        raise ValueError(f"y_negative: got {y_negative!r}, takes a class, or {NULL} for no class")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, other = both(denoiser, z, logsnr, y, y_negative)
        return other.mix(cond, 1 + over(w, z))

    return guided


def auto(good: Denoiser, bad: Denoiser, *, w: Weight) -> Denoiser:
    """Autoguidance: away from a worse version of the same model, asked for the same class.

    Args:
        good: the model to guide.
        bad: the same model, smaller or less trained.
        w: guidance weight, a number or (b,).

    Raises:
        ValueError: ``w`` is not finite, or ``bad`` is not a denoiser.

    Source: Karras et al. 2024, eq. 3: ε̃ = (1+w) ε_good(z,c) − w ε_bad(z,c).
    """
    w, bad = weight("w", w), _checks.function("bad", bad)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        strong, weak = good(z, logsnr, y), bad(z, logsnr, y)
        return Prediction(z, strong.logsnr, weak.as_kind(strong.kind), strong.kind).mix(
            strong, 1 + over(w, z)
        )

    return guided
