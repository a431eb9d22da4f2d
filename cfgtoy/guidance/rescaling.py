"""The guided estimate back at a size: the conditional one's (CFG-rescale), or the data's (dynamic thresholding)."""

from typing import Literal

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import per_sample
from ..prediction import Denoiser, Prediction
from ._branches import Weight, inner, norm
from .table import Rule, rule, wrapped


def rescale(
    guided: Denoiser,
    conditional: Denoiser | None = None,
    *,
    w: Weight | None = None,
    of: Rule | str = "classifier-free",
    phi: float = 0.7,
    on: Literal["output", "x"] = "output",
) -> Denoiser:
    """CFG-rescale: give the guided estimate the conditional one's size, by the share ``phi``.

    As in the source, size is the standard deviation over a sample's entries of the model's own output, be it ε, v or
    any other kind. That is a statistic of images: of two entries it is half their difference, and of one it is zero
    (such a sample is left alone). On points take ``on="x"``, the length of x̂.

    Args:
        guided, conditional: the denoiser to repair and the one whose size counts; or the denoiser alone, with ``w``:
            guided by ``of`` at that weight.
        of: the rule whose result is rescaled.
        phi: 0 leaves the guided one alone, 1 rescales fully.
        on: ``"output"``, what the conditional model estimates, by its standard deviation; ``"x"``, x̂ by its length.

    Raises ``ValueError``: ``phi`` outside [0, 1], an unknown ``on``, both or neither of ``conditional`` and ``w``.
    Source: Lin et al. 2023, eqs. 14–16: ẽ = e (1 − phi + phi std(e_c)/std(e)).
    """
    phi = _checks.unit_interval("phi", phi)
    _checks.one_of("on", on, ("output", "x"))
    raw, reference = wrapped(guided, conditional, of, w, "conditional")

    def rescaled(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        pred, target = raw(z, logsnr, y), reference(z, logsnr, y)
        e, e_c = pred.as_kind(target.kind), target.estimate
        if on == "output":
            ratio = norm(_centred(e_c)) / norm(_centred(e))
            return Prediction(z, target.logsnr, e * (1 - phi + phi * ratio), target.kind)
        # (‖x_c‖/‖x‖ − 1) x, from the difference of the estimates: the lengths themselves would cancel.
        x, x_c = pred.x, target.x
        share = inner(e_c - e, x_c + x) / (norm(x) * (norm(x) + norm(x_c)))
        return Prediction(z, target.logsnr, e + phi * share * x, target.kind)

    return rescaled


def _centred(e: Tensor) -> Tensor:
    """``e`` less the mean of each sample's entries: its length is √n standard deviations."""
    return e - per_sample(e.flatten(1).mean(1), e)


def dynamic_threshold(
    denoiser: Denoiser,
    *,
    w: Weight | None = None,
    of: Rule | str = "classifier-free",
    quantile: float = 0.995,
    floor: float = 1.0,
) -> Denoiser:
    """Dynamic thresholding: clip x̂ to [−s, s] and divide by s/floor, s the larger of ``floor`` and a quantile of |x̂|.

    Args:
        denoiser: the (guided) denoiser to tame; or, with ``w``, the one to guide first.
        of: the rule whose result is tamed, where ``w`` is given.
        quantile: of |x̂| over a sample's entries, in [0, 1].
        floor: the range of the data, > 0; samples inside it are left alone, bit for bit.

    Source: Saharia et al. 2022, §2.3: x̃ = clip(x̂, −s, s) floor/s.
    """
    quantile = _checks.unit_interval("quantile", quantile)
    floor = _checks.number("floor", floor, lo=0.0, open=True)
    raw = denoiser if w is None else rule(of)(denoiser, w=w)

    def thresholded(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        pred = raw(z, logsnr, y)
        # In float64: where σ is small, a rounding of x̂ or s would be a large step of the estimate itself.
        wide = Prediction(z.double(), pred.logsnr, pred.estimate.double(), pred.kind)
        x = wide.x
        s = per_sample(torch.quantile(x.abs().flatten(1), quantile, dim=1).clamp(min=floor), x)
        moved = wide.plus(x.clamp(-s, s) * (floor / s) - x, "x")
        return Prediction(z, pred.logsnr, moved.estimate.to(pred.estimate), pred.kind)

    return thresholded
