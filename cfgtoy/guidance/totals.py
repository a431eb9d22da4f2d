"""Several pushes at once: away from no class and from a degraded copy, or towards several conditions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .. import _checks
from ..prediction import Denoiser, Prediction
from ._branches import both
from ._weights import Weight, over, weight

__all__ = ["several", "total"]


def total(denoiser: Denoiser, bad: Denoiser, *, w: Weight, share: float = 0.5) -> Denoiser:
    """CFG and a push away from a worse copy of the model, in one sum; three evaluations.

    The copy decides what it is: attention to oneself alone is perturbed-attention guidance, blurred queries are
    smoothed energy guidance, a block left out is skip-layer guidance (:func:`cfgtoy.nets.degraded`), and less training
    is autoguidance. diffusers' ``guidance_scale`` is 1 + (1 − share) w, its second scale is share · w.

    Args:
        denoiser: answers for a class and for NULL.
        bad: the worse copy, asked for the class.
        w: weight of both pushes together, a number or (b,).
        share: of the push away from ``bad``, in [0, 1]; 0 is CFG, 1 is :func:`~cfgtoy.guidance.auto`.

    Raises:
        ValueError: ``w`` is not finite, ``share`` outside [0, 1], or ``bad`` is not a denoiser.

    Source: Ahn et al. 2024 (PAG); Hong 2024 (SEG); Hyung et al. 2024 (skip-layer):
    ε̃ = ε_c + w ((1 − share)(ε_c − ε_∅) + share (ε_c − ε_bad)).
    """
    w, share, bad = weight("w", w), _checks.unit_interval("share", share), _checks.function("bad", bad)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        worse = bad(z, logsnr, y).as_kind(cond.kind)
        push = (1 - share) * (cond.estimate - uncond.estimate) + share * (cond.estimate - worse)
        return Prediction(z, cond.logsnr, cond.estimate + over(w, z) * push, cond.kind)

    return guided


def several(unconditional: Denoiser, conditional: Sequence[Denoiser], *, w: Sequence[float]) -> Denoiser:
    """Several conditions at once: a push towards each of them from the unconditional model.

    With all w = 0 it is the model of all conditions where those are independent given the noisy sample. Given the clean
    sample alone is not enough: noise ties them together.

    Args:
        unconditional: the model without conditions.
        conditional: a model a condition; each is asked as it is, without a class.
        w: guidance weight of each condition.

    Raises:
        ValueError: a ``w`` that is not finite, or not one a condition.

    Source: Liu et al. 2022 (composable diffusion): ε̃ = ε_∅ + Σ (1 + w_i) (ε_i − ε_∅).
    """
    weights = [_checks.number("w", each) for each in w]
    if len(weights) != len(conditional) or not weights:
        raise ValueError(f"w: got {len(weights)} weights, takes one a condition: {len(conditional)}")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        base = unconditional(z, logsnr, None)
        estimate = base.estimate
        for each, model in zip(weights, conditional, strict=True):
            estimate = estimate + (1 + each) * (model(z, logsnr, None).as_kind(base.kind) - base.estimate)
        return Prediction(z, base.logsnr, estimate, base.kind)

    return guided
