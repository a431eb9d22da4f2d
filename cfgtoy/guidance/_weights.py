"""The weight: the paper's w, and the scale s = 1 + w that most image tools mean."""

from __future__ import annotations

from torch import Tensor

from .. import _checks
from ..logsnr import per_sample

__all__ = ["Weight", "over", "scale_from_w", "w_from_scale", "weight"]

Weight = float | Tensor
"""One number, or a tensor (b,) with one weight a sample."""


def w_from_scale(s: float) -> float:
    """The paper's w for a guidance scale s, ε̃ = ε(z) + s (ε(z,c) − ε(z)): w = s − 1.

    Raises:
        ValueError: ``s`` is not a finite number.
    """
    return _checks.number("s", s) - 1.0


def scale_from_w(w: float) -> float:
    """The guidance scale s = 1 + w.

    Raises:
        ValueError: ``w`` is not a finite number.
    """
    return _checks.number("w", w) + 1.0


def weight(name: str, w: Weight | None) -> Weight:
    """``w`` if it is one finite number or one a sample."""
    if not isinstance(w, Tensor):
        return _checks.number(name, w)
    if _checks.finite(name, w).ndim > 1:
        raise ValueError(f"{name}: got shape {tuple(w.shape)}, takes one number or one a sample, (b,)")
    return w


def over(w: Weight, z: Tensor) -> Weight:
    """A weight in the shape that multiplies ``z`` sample by sample."""
    if not isinstance(w, Tensor):
        return w
    if w.ndim == 1 and len(w) not in (1, len(z)):
        raise ValueError(f"w: got shape {tuple(w.shape)}, takes one weight a sample, ({len(z)},)")
    return per_sample(w.to(z), z)
