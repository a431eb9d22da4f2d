"""MAMBO-G: a weight that shrinks where the difference is large beside the unconditional estimate."""

from __future__ import annotations

from torch import Tensor

from .. import _checks
from ..prediction import Denoiser, Prediction
from ._branches import both
from ._vectors import norm
from ._weights import Weight, over, weight

__all__ = ["mambo_g"]


def mambo_g(denoiser: Denoiser, *, w: Weight, alpha: float = 8.0) -> Denoiser:
    """Magnitude-aware guidance, on the flow velocity u = ε − x as in the source, whatever the denoiser estimates.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight, a number or (b,).
        alpha: how fast the weight falls with r = ‖u_c − u_∅‖/‖u_∅‖; 0 is plain CFG.

    Raises:
        ValueError: ``w`` is not finite, or ``alpha`` is negative.

    Source: Zhu et al. 2025 (MAMBO-G): ũ = u_c + w exp(−alpha r) (u_c − u_∅).
    """
    w, alpha = weight("w", w), _checks.number("alpha", alpha)
    if alpha < 0:
        raise ValueError(f"alpha: got {alpha!r}, takes a number that is not negative")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        delta = cond.estimate - uncond.estimate
        ratio = norm(cond.slope("flow") * delta) / norm(uncond.flow)
        push = over(w, z) * (-alpha * ratio).exp() * delta
        return Prediction(z, cond.logsnr, cond.estimate + push, cond.kind)

    return guided
