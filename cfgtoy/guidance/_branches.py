"""What rules share: two answers for one sample, with its class and without, and their lengths and angles; and the
weight w between them, the paper's, or the scale s = 1 + w that most image tools mean."""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import as_logsnr, per_sample
from ..prediction import NULL, Denoiser, Prediction

Weight = float | Tensor
"""One number, or a tensor (b,) with one weight a sample."""


def w_from_scale(s: float) -> float:
    """The paper's w = s − 1 for a guidance scale s, ε̃ = ε(z) + s (ε(z,c) − ε(z)). ``ValueError``: s is not finite."""
    return _checks.number("s", s) - 1.0


def scale_from_w(w: float) -> float:
    """The guidance scale s = 1 + w. Raises ``ValueError`` where ``w`` is not a finite number."""
    return _checks.number("w", w) + 1.0


def weight(name: str, w: Weight | None) -> Weight:
    """``w`` if it is one finite number or one a sample."""
    if not isinstance(w, Tensor):
        return _checks.number(name, w)
    _checks.require(_checks.finite(name, w).ndim <= 1, name, w, "one number or one a sample, (b,)")
    return w


def over(w: Weight, z: Tensor) -> Weight:
    """A weight in the shape that multiplies ``z`` sample by sample."""
    if not isinstance(w, Tensor):
        return w
    _checks.require(w.ndim == 0 or len(w) in (1, len(z)), "w", w, f"one weight a sample, ({len(z)},)")
    return per_sample(w.to(z), z)


def classes(y: Tensor | int | None, z: Tensor) -> Tensor:
    """``y`` as one int64 class a sample, (b,)."""
    _checks.require(z.ndim, "z", z, "(b, *d)")
    y = y if isinstance(y, Tensor) else torch.tensor(NULL if y is None else y)
    if y.is_floating_point() or y.ndim > 1 or (y.ndim == 1 and len(y) not in (1, len(z))):
        got = f"{y.dtype} of shape {tuple(y.shape)}"
        raise ValueError(f"y: got {got}, takes one integer class a sample, ({len(z)},)")
    return y.to(z.device, torch.int64).expand(len(z))


def both(
    denoiser: Denoiser, z: Tensor, logsnr: Tensor, y: Tensor | int | None, y_other: Tensor | int | None = NULL
) -> tuple[Prediction, Prediction]:
    """The predictions for ``y`` and for ``y_other``, of one kind, from one call on a doubled batch."""
    lam = as_logsnr("logsnr", logsnr, _checks.tensor("z", z), check=False)
    lams = lam if lam.ndim == 0 else torch.cat([lam, lam])
    rows = torch.cat([classes(y, z), classes(y_other, z)])
    doubled = denoiser(torch.cat([z, z]), lams, rows)
    first, second = doubled.estimate.split(len(z))
    return Prediction(z, lam, first, doubled.kind), Prediction(z, lam, second, doubled.kind)


def pushed(
    denoiser: Denoiser, w: Weight, push: Callable[[Weight, Tensor, Prediction, Prediction], Tensor]
) -> Denoiser:
    """What most rules are: ``push(w, cond − uncond, cond, uncond)``, (b, *d), is added to the conditional estimate."""
    w = weight("w", w)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        move = push(over(w, z), cond.estimate - uncond.estimate, cond, uncond)
        return Prediction(z, cond.logsnr, cond.estimate + move, cond.kind)

    return guided


def unconditional(denoiser: Denoiser) -> Denoiser:
    """``denoiser`` with its class withheld: whatever ``y`` it is asked for, it answers for ∅."""
    return lambda z, logsnr, y=None: denoiser(z, logsnr, None)


def pair(conditional: Denoiser, unconditional: Denoiser) -> Denoiser:
    """One denoiser from two: ``conditional`` answers where there is a class, ``unconditional`` where y is NULL.

    Both are asked for every sample, and both must hold estimates of one kind or convert to it.
    """

    def either(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        other = unconditional(z, logsnr, None)
        if y is None:
            return other
        rows = classes(y, z)
        cond = conditional(z, logsnr, rows.clamp(min=0))
        estimate = torch.where(per_sample(rows == NULL, z), other.as_kind(cond.kind), cond.estimate)
        return Prediction(z, cond.logsnr, estimate, cond.kind)

    return either


def inner(a: Tensor, b: Tensor) -> Tensor:
    """⟨a, b⟩ over all axes but the first, (b, 1, …)."""
    return (a * b).flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))


def norm(a: Tensor) -> Tensor:
    """‖a‖, (b, 1, …); never zero, so that one can divide by it."""
    return inner(a, a).sqrt().clamp(min=torch.finfo(a.dtype).tiny)


def across(a: Tensor, b: Tensor, eta: float = 0.0) -> Tensor:
    """``a`` with its part along ``b`` kept by the share ``eta``; of any length that ``b`` may have."""
    unit = b / norm(b)
    return a - (1 - eta) * inner(a, unit) * unit
