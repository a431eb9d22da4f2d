"""Sums of predictions with weights that add up to one: away from no class, from another class, from a worse model."""

from collections.abc import Sequence

from torch import Tensor

from .. import _checks
from ..prediction import NULL, Denoiser, Prediction
from ._branches import Weight, both, over, weight


def classifier_free(denoiser: Denoiser, *, w: Weight) -> Denoiser:
    """Classifier-free guidance, from one call on a doubled batch. Where y is NULL it is the unconditional prediction.

    The mean is taken in whatever the denoiser estimates (x, ε, v or u): all are affine in each other at a given z, and
    the weights sum to one, so the result is the same.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight; 0 conditional, −1 unconditional; a number or (b,).

    Raises ``ValueError``: ``w`` is not finite; on a call, labels or weights that do not fit the batch.
    Source: Ho & Salimans 2022, eq. 6: ε̃ = (1+w) ε(z,c) − w ε(z).
    """
    return negative(denoiser, w=w, y_negative=NULL)


def negative(denoiser: Denoiser, *, w: Weight, y_negative: int) -> Denoiser:
    """CFG away from a class instead of away from ∅: a "negative prompt".

    Args:
        y_negative: the class c' to move away from; NULL = −1 is plain CFG.

    Raises ``ValueError``: ``y_negative`` is no class; on a call, a class that does not exist.
    Source: common practice; ε̃ = (1+w) ε(z,c) − w ε(z,c').
    """
    w = weight("w", w)
    is_class = hasattr(y_negative, "__index__") and not isinstance(y_negative, bool)
    _checks.require(is_class, "y_negative", repr(y_negative), f"a class, or {NULL} for no class")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, other = both(denoiser, z, logsnr, y, y_negative)
        return other.mix(cond, 1 + over(w, z))

    return guided


def auto(good: Denoiser, bad: Denoiser, *, w: Weight) -> Denoiser:
    """Autoguidance: away from a worse version of the same model, asked for the same class.

    Args:
        good, bad: the model to guide, and the same model, smaller or less trained.

    Source: Karras et al. 2024, eq. 3: ε̃ = (1+w) ε_good(z,c) − w ε_bad(z,c).
    """
    w, bad = weight("w", w), _checks.function("bad", bad)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        strong, weak = good(z, logsnr, y), bad(z, logsnr, y)
        weak = Prediction(z, strong.logsnr, weak.as_kind(strong.kind), strong.kind)
        return weak.mix(strong, 1 + over(w, z))

    return guided


def total(denoiser: Denoiser, bad: Denoiser, *, w: Weight, share: float = 0.5) -> Denoiser:
    """CFG and a push away from a worse copy of the model, in one sum; three evaluations.

    The copy decides what it is: attention to oneself alone is perturbed-attention guidance, blurred queries are
    smoothed energy guidance, a block left out is skip-layer guidance (:func:`cfgtoy.nets.degraded`), and less training
    is autoguidance. diffusers' ``guidance_scale`` is 1 + (1 − share) w, its second scale is share · w.

    Args:
        bad: the worse copy, asked for the class.
        w: weight of both pushes together, a number or (b,).
        share: of the push away from ``bad``, in [0, 1]; 0 is CFG, 1 is :func:`~cfgtoy.guidance.auto`.

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
    ``conditional`` holds a model a condition, ``w`` the weight of each; all are asked without a class.

    Raises ``ValueError``: a ``w`` that is not finite, or not one a condition.
    Source: Liu et al. 2022 (composable diffusion): ε̃ = ε_∅ + Σ (1 + w_i) (ε_i − ε_∅).
    """
    weights = [_checks.number("w", each) for each in w]
    fits = 0 < len(weights) == len(conditional)
    _checks.require(fits, "w", f"{len(weights)} weights", f"one a condition: {len(conditional)}")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        base = unconditional(z, logsnr, None)
        estimate = base.estimate
        for each, model in zip(weights, conditional, strict=True):
            estimate = estimate + (1 + each) * (model(z, logsnr, None).as_kind(base.kind) - base.estimate)
        return Prediction(z, base.logsnr, estimate, base.kind)

    return guided
