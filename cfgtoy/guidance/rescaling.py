"""CFG-rescale: the guided estimate back at the conditional one's size."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from .. import _checks
from ..logsnr import per_sample
from ..prediction import Denoiser, Prediction
from ._vectors import inner, norm
from ._weights import Weight
from .table import Rule, wrapped

__all__ = ["rescale"]


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
        w: guidance weight, a number or (b,).
        of: the rule whose result is rescaled.
        phi: 0 leaves the guided one alone, 1 rescales fully.
        on: ``"output"``, what the conditional model estimates, by its standard deviation; ``"x"``, x̂ by its length.

    Raises:
        ValueError: ``phi`` outside [0, 1], an unknown ``on``, both or neither of ``conditional`` and ``w``.

    Source: Lin et al. 2023, eqs. 14–16: ẽ = e (1 − phi + phi std(e_c)/std(e)).
    """
    phi = _checks.unit_interval("phi", phi)
    if on not in ("output", "x"):
        raise ValueError(f"on: got {on!r}, takes output or x")
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
