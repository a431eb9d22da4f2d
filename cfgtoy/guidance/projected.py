"""Guidance across one of the two answers rather than along it: APG, tangential damping and CFG-Zero*."""

import math

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import as_logsnr
from ..prediction import Denoiser, Prediction
from ._branches import Weight, across, inner, norm, pushed


def apg(
    denoiser: Denoiser, *, w: Weight, eta: float = 0.0, threshold: float = math.inf, momentum: float = 0.0
) -> Denoiser:
    """Adaptive projected guidance, with Δ = x_c − x_∅ split across and along x_c.

    With a ``momentum`` this denoiser remembers, for one batch that is drawn from noise to data: at a lower level than
    the last one, or with a batch of another size, it starts afresh. A level that is asked at twice, as Heun's method
    does, counts once: its Δ is added to the sum of the levels before.

    Args:
        eta: share of the part along x_c that is kept; 1 with no threshold is plain CFG.
        threshold: longest Δ allowed, > 0, in units of x; inf allows all.
        momentum: β in Δ_i ← Δ_i + β Δ_{i−1} over the levels, −1 < β < 1; the source takes β < 0, and 0 remembers
            nothing.

    Source: Sadat et al. 2024, Algorithm 1: x̃ = x_c + w (Δ⊥ + eta Δ∥), Δ_i ← Δ_i + momentum Δ_{i−1}, then
    Δ ← Δ min(1, threshold/‖Δ‖).
    """
    eta, memory = _checks.number("eta", eta), _Memory(momentum)
    if threshold != math.inf:
        threshold = _checks.number("threshold", threshold, lo=0.0, open=True)

    def push(w: Weight, delta: Tensor, cond: Prediction, uncond: Prediction) -> Tensor:
        if memory.momentum:
            slope = cond.slope("x")
            level = as_logsnr("logsnr", cond.logsnr, cond.z, noise=True)
            delta = memory.add(slope * delta, level) / slope
        if threshold != math.inf:
            delta = delta * (threshold / norm(cond.slope("x") * delta)).clamp(max=1.0)
        return w * across(delta, cond.x, eta)

    return pushed(denoiser, w, push)


class _Memory:
    """The sum Σ β^k Δ_{i−k} over the levels that a batch has been through, in units of x."""

    def __init__(self, momentum: float) -> None:
        self.momentum = _checks.number("momentum", momentum, lo=-1.0, hi=1.0, open=True)
        self.level = self.now = torch.empty(0)
        # The sum when this level was entered, (b, *d).
        self.before: Tensor | None = None

    def add(self, delta: Tensor, level: Tensor) -> Tensor:
        """The sum with this level's Δ in it."""
        same = self.now.shape == delta.shape and self.level.shape == level.shape
        if not same or bool((level < self.level).any()):
            self.before = None
        elif not torch.equal(level, self.level):
            self.before = self.now
        self.level = level.detach().clone()
        total = delta if self.before is None else delta + self.momentum * self.before
        self.now = total.detach()
        return total


def tcfg(denoiser: Denoiser, *, w: Weight) -> Denoiser:
    """Tangential damping, on the noise ε as in the source: ε_∅ is projected on d, the leading right singular vector of
    the two rows ε_c and ε_∅, and guidance extrapolates from there.

    With θ = ½ atan2(2⟨ε_c, ε_∅⟩, ‖ε_c‖² − ‖ε_∅‖²), d lies along cos θ ε_c + sin θ ε_∅. Nothing of that lies across d,
    so the dropped part of ε_∅ is −share times the part of Δ = ε_c − ε_∅ across d, share = cos θ/(cos θ + sin θ). That
    is linear in Δ, so it is formed on the model's own estimate, and nothing large cancels.

    Source: Kwon et al. 2025 (TCFG): ε̃ = ε_c + w (ε_c − ⟨ε_∅, d⟩ d).
    """

    def push(w: Weight, delta: Tensor, cond: Prediction, uncond: Prediction) -> Tensor:
        c, u, slope = cond.eps, uncond.eps, cond.slope("eps")
        overlap = inner(c, u)
        theta = 0.5 * torch.atan2(2 * overlap, inner(slope * delta, c + u))
        cos, sin = theta.cos(), theta.sin()
        d = cos * c + sin * u
        # Where the branches point apart the share may be infinite; but there nothing cancels in ε_∅ itself.
        dropped = torch.where(overlap < 0, across(u, d) / slope, -cos / (cos + sin) * across(delta, d))
        return w * (delta + dropped)

    return pushed(denoiser, w, push)


def cfg_zero_star(denoiser: Denoiser, *, w: Weight) -> Denoiser:
    """CFG-Zero*'s scaled guidance, on the flow velocity u = ε − x as in the source, whatever the denoiser estimates.

    The scale s* = ⟨u_c, u_∅⟩ / ‖u_∅‖² is the least-squares fit of u_c by u_∅, so u_c − s* u_∅ is the part of
    u_c − u_∅ across u_∅: that is what is formed here, and nothing large cancels. The source's second part, no motion
    in the first steps, is :func:`~cfgtoy.guidance.zero_init`, around this or any other rule.

    Source: Fan et al. 2025, Algorithm 1: ũ = (1+w) u_c − w s* u_∅.
    """
    return pushed(denoiser, w, lambda w, delta, cond, uncond: w * across(delta, uncond.flow))
