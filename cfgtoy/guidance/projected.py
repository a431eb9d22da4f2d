"""Adaptive projected guidance: guide across the estimate more than along it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import as_logsnr
from ..prediction import Denoiser, Prediction
from ._branches import both
from ._vectors import across, norm
from ._weights import Weight, over, weight

__all__ = ["apg"]


def apg(
    denoiser: Denoiser, *, w: Weight, eta: float = 0.0, threshold: float = math.inf, momentum: float = 0.0
) -> Denoiser:
    """Adaptive projected guidance, with Δ = x_c − x_∅ split across and along x_c.

    With a ``momentum`` this denoiser remembers, for one batch that is drawn from noise to data: at a lower level than
    the last one, or with a batch of another size, it starts afresh. A level that is asked at twice, as Heun's method
    does, counts once: its Δ is added to the sum of the levels before.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight, a number or (b,).
        eta: share of the part along x_c that is kept; 1 with no threshold is plain CFG.
        threshold: longest Δ allowed, in units of x; inf allows all.
        momentum: β in Δ_i ← Δ_i + β Δ_{i−1} over the levels, −1 < β < 1; the source takes β < 0, and 0 remembers
            nothing.

    Raises:
        ValueError: ``w`` or ``eta`` is not finite, ``threshold`` is not positive, or ``momentum`` outside (−1, 1).

    Source: Sadat et al. 2024, Algorithm 1: x̃ = x_c + w (Δ⊥ + eta Δ∥), Δ_i ← Δ_i + momentum Δ_{i−1}, then
    Δ ← Δ min(1, threshold/‖Δ‖).
    """
    w, eta, momentum = weight("w", w), _checks.number("eta", eta), _checks.number("momentum", momentum)
    if threshold != math.inf and not _checks.number("threshold", threshold) > 0:
        raise ValueError(f"threshold: got {threshold!r}, takes a positive length")
    if not -1 < momentum < 1:
        raise ValueError(f"momentum: got {momentum!r}, takes a number between −1 and 1")
    memory = _Memory(momentum)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        delta = cond.estimate - uncond.estimate
        if momentum:
            slope = cond.slope("x")
            delta = memory.add(slope * delta, as_logsnr("logsnr", logsnr, z, noise=True)) / slope
        if threshold != math.inf:
            length = norm(cond.slope("x") * delta)
            delta = delta * (threshold / length).clamp(max=1.0)
        push = over(w, z) * across(delta, cond.x, eta)
        return Prediction(z, cond.logsnr, cond.estimate + push, cond.kind)

    return guided


class _Memory:
    """The sum Σ β^k Δ_{i−k} over the levels that a batch has been through, in units of x."""

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self.level: Tensor | None = None
        self.before: Tensor | None = None  # the sum when this level was entered, (b, *d)
        self.now: Tensor | None = None

    def add(self, delta: Tensor, level: Tensor) -> Tensor:
        """The sum with this level's Δ in it."""
        if (
            self.level is None
            or self.now is None
            or self.now.shape != delta.shape
            or self.level.shape != level.shape
            or bool((level < self.level).any())
        ):
            self.before = None
        elif not torch.equal(level, self.level):
            self.before = self.now
        self.level = level.detach().clone()
        total = delta if self.before is None else delta + self.momentum * self.before
        self.now = total.detach()
        return total
