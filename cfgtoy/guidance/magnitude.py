"""Weights that follow the size of the difference: growing with it (power law), or shrinking (MAMBO-G)."""

import torch
from torch import Tensor

from .. import _checks
from ..prediction import Denoiser, Prediction
from ._branches import Weight, norm, pushed


def power_law(denoiser: Denoiser, *, w: Weight, power: float = 0.9) -> Denoiser:
    """Power-law guidance, with Δ the difference of the scores, s(z,c) − s(z). ``power`` = 0 is plain CFG.

    The length of Δ depends on the dimension and on the scale of the data, so w does not compare with that of CFG.

    Args:
        power: the exponent, above −1; by default 0.9, as in most of the source.

    Raises ``ValueError``: ``power`` ≤ −1.
    Source: Pavasovic et al. 2025, §5: s̃ = s(z,c) + w ‖Δ‖^power Δ.
    """
    power = _checks.number("power", power, lo=-1.0, open=True)

    def push(w: Weight, delta: Tensor, cond: Prediction, uncond: Prediction) -> Tensor:
        length = norm(cond.slope("score") * delta)
        # Where the branches agree there is no push, at a negative power too.
        return w * length.clamp(min=torch.finfo(delta.dtype).tiny) ** power * delta

    return pushed(denoiser, w, push)


def mambo_g(denoiser: Denoiser, *, w: Weight, alpha: float = 8.0) -> Denoiser:
    """Magnitude-aware guidance, on the flow velocity u = ε − x as in the source, whatever the denoiser estimates.

    Args:
        alpha: how fast the weight falls with r = ‖u_c − u_∅‖/‖u_∅‖; 0 is plain CFG.

    Raises ``ValueError``: ``alpha`` is negative.
    Source: Zhu et al. 2025 (MAMBO-G): ũ = u_c + w exp(−alpha r) (u_c − u_∅).
    """
    alpha = _checks.number("alpha", alpha, lo=0.0)

    def push(w: Weight, delta: Tensor, cond: Prediction, uncond: Prediction) -> Tensor:
        ratio = norm(cond.slope("flow") * delta) / norm(uncond.flow)
        return w * (-alpha * ratio).exp() * delta

    return pushed(denoiser, w, push)
