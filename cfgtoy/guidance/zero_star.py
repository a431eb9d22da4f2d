"""CFG-Zero*: scale the unconditional estimate to fit the conditional one before extrapolating."""

from __future__ import annotations

from torch import Tensor

from ..prediction import Denoiser, Prediction
from ._branches import both
from ._vectors import across
from ._weights import Weight, over, weight

__all__ = ["cfg_zero_star"]


def cfg_zero_star(denoiser: Denoiser, *, w: Weight) -> Denoiser:
    """CFG-Zero*'s scaled guidance, on the flow velocity u = ε − x as in the source, whatever the denoiser estimates.

    The scale s* = ⟨u_c, u_∅⟩ / ‖u_∅‖² is the least-squares fit of u_c by u_∅, so u_c − s* u_∅ is the part of
    u_c − u_∅ across u_∅: that is what is formed here, and nothing large cancels. The source's second part, no motion
    in the first steps, is :func:`~cfgtoy.guidance.zero_init`, around this or any other rule.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight, a number or (b,).

    Raises:
        ValueError: ``w`` is not finite.

    Source: Fan et al. 2025, Algorithm 1: ũ = (1+w) u_c − w s* u_∅.
    """
    w = weight("w", w)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        push = over(w, z) * across(cond.estimate - uncond.estimate, uncond.flow)
        return Prediction(z, cond.logsnr, cond.estimate + push, cond.kind)

    return guided
