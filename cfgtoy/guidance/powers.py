"""Power-law guidance: a weight that grows with the size of the difference."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _checks
from ..prediction import Denoiser, Prediction
from ._branches import both
from ._vectors import norm
from ._weights import Weight, over, weight

__all__ = ["power_law"]


def power_law(denoiser: Denoiser, *, w: Weight, power: float = 0.9) -> Denoiser:
    """Power-law guidance, with Δ the difference of the scores, s(z,c) − s(z). ``power`` = 0 is plain CFG.

    The length of Δ depends on the dimension and on the scale of the data, so w does not compare with that of CFG.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight, a number or (b,).
        power: the exponent, above −1; by default 0.9, as in most of the source.

    Raises:
        ValueError: ``w`` is not finite or ``power`` ≤ −1.

    Source: Pavasovic et al. 2025, §5: s̃ = s(z,c) + w ‖Δ‖^power Δ.
    """
    w, power = weight("w", w), _checks.number("power", power)
    if power <= -1:
        raise ValueError(f"power: got {power!r}, takes a number above −1")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        delta = cond.estimate - uncond.estimate
        length = norm(cond.slope("score") * delta)
        # Where the branches agree there is no push, at a negative power too.
        push = over(w, z) * length.clamp(min=torch.finfo(z.dtype).tiny) ** power * delta
        return Prediction(z, cond.logsnr, cond.estimate + push, cond.kind)

    return guided
