"""Power-law guidance: a weight that grows with the size of the difference."""

from __future__ import annotations

from torch import Tensor

from .. import _checks
from ..prediction import Denoiser, Prediction
from ._branches import both, norm
from ._weights import Weight, over, weight

__all__ = ["power_law"]


def power_law(denoiser: Denoiser, *, w: Weight, power: float) -> Denoiser:
    """Power-law guidance, with Δ = ε(z,c) − ε(z). ``power`` = 0 is plain CFG.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight, a number or (b,).
        power: the exponent, above −1.

    Raises:
        ValueError: ``w`` is not finite or ``power`` ≤ −1.

    Source: Pavasovic et al. 2025: ε̃ = ε(z,c) + w ‖Δ‖^power Δ.
    """
    w, power = weight("w", w), _checks.number("power", power)
    if power <= -1:
        raise ValueError(f"power: got {power!r}, takes a number above −1")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        delta = cond.eps - uncond.eps
        return Prediction.from_eps(z, cond.logsnr, cond.eps + over(w, z) * norm(delta) ** power * delta)

    return guided
