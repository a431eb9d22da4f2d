"""CFG-rescale: the guided estimate back at the conditional one's size."""

from __future__ import annotations

from torch import Tensor

from .. import _checks
from ..prediction import Denoiser, Prediction
from ._branches import norm
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
) -> Denoiser:
    """CFG-rescale: give the guided x̂ the conditional x̂'s length, by the share ``phi``.

    The source matches standard deviations over pixels; this matches root mean squares, which for images of mean near
    zero is the same and has a meaning in two dimensions too.

    Args:
        guided, conditional: the denoiser to repair and the one whose length counts; or the denoiser alone, with ``w``:
            guided by ``of`` at that weight.
        w: guidance weight, a number or (b,).
        of: the rule whose result is rescaled.
        phi: 0 leaves the guided one alone, 1 rescales fully.

    Raises:
        ValueError: ``phi`` outside [0, 1]; both or neither of ``conditional`` and ``w``.

    Source: Lin et al. 2023, eqs. 14–16.
    """
    phi = _checks.unit_interval("phi", phi)
    raw, reference = wrapped(guided, conditional, of, w, "conditional")

    def rescaled(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        pred = raw(z, logsnr, y)
        x, target = pred.x, reference(z, logsnr, y).x
        return Prediction.from_x(z, pred.logsnr, x * (1 - phi + phi * norm(target) / norm(x)))

    return rescaled
