r"""Guidance: pure functions from denoisers to a denoiser.

Two conventions hold throughout. ``w`` is the paper's weight, so w = 0 is the plain conditional model and w = −1 the
unconditional one; :func:`w_from_scale` turns the scale s = 1 + w of most image tools into it. And nothing here
switches guidance off behind your back: every formula holds at every w.

A weight may be one number, or a tensor (b,) with one weight a sample.

=========================  ====================================================================================
:func:`classifier_free`    ε̃ = (1+w) ε(z,c) − w ε(z)                       Ho & Salimans 2022, eq. 6
:func:`classifier`         ε̃ = ε(z,c) − w σ ∇ log p(c|z)                   Dhariwal & Nichol 2021; ibid. §3.1
:func:`negative`           ε̃ = (1+w) ε(z,c) − w ε(z,c')                    the "negative prompt"
:func:`auto`               ε̃ = (1+w) ε_good − w ε_bad                      Karras et al. 2024
:func:`interval`           guided in [lo, hi] of λ, unguided elsewhere      Kynkäänniemi et al. 2024
:func:`rescale`            the guided x̂ back at the conditional's length    Lin et al. 2023
:func:`apg`                guide across x̂ more than along it                Sadat et al. 2024
:func:`power_law`          weight grows with the size of the difference     Pavasovic et al. 2025
:func:`cfg_plus_plus`      guide the estimate, renoise without guidance     Chung et al. 2024
:func:`cfg_zero_star`      scale ε(z) to fit ε(z,c) before extrapolating    Fan et al. 2025
:func:`dynamic_threshold`  clip and rescale x̂ by its own quantile           Saharia et al. 2022
=========================  ====================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from . import _checks
from .logsnr import as_logsnr, log_alpha_sigma, per_sample
from .prediction import NULL, Denoiser, Prediction

__all__ = [
    "Classifier",
    "apg",
    "auto",
    "cfg_plus_plus",
    "cfg_zero_star",
    "classifier",
    "classifier_free",
    "classifier_grad",
    "dynamic_threshold",
    "implicit_classifier_grad",
    "interval",
    "negative",
    "pair",
    "power_law",
    "rescale",
    "scale_from_w",
    "unconditional",
    "w_from_scale",
]

Weight = float | Tensor
Classifier = Callable[[Tensor, Tensor], Tensor]
"""``(z, logsnr) -> log p(c | z_λ)``, (b, C)."""


# -- the weight ----------------------------------------------------------------------------------------------------


def w_from_scale(s: float) -> float:
    """The paper's w for a guidance scale s, ε̃ = ε(z) + s (ε(z,c) − ε(z)): w = s − 1.

    Raises:
        ValueError: ``s`` is not a finite number.
    """
    return _checks.number("s", s) - 1.0


def scale_from_w(w: float) -> float:
    """The guidance scale s = 1 + w.

    Raises:
        ValueError: ``w`` is not a finite number.
    """
    return _checks.number("w", w) + 1.0


def _weight(name: str, w: Weight) -> Weight:
    if not isinstance(w, Tensor):
        return _checks.number(name, w)
    if _checks.finite(name, w).ndim > 1:
        raise ValueError(f"{name}: got shape {tuple(w.shape)}, takes one number or one a sample, (b,)")
    return w


def _over(w: Weight, z: Tensor) -> Weight:
    """A weight in the shape that multiplies ``z`` sample by sample."""
    if not isinstance(w, Tensor):
        return w
    if w.ndim == 1 and len(w) not in (1, len(z)):
        raise ValueError(f"w: got shape {tuple(w.shape)}, takes one weight a sample, ({len(z)},)")
    return per_sample(w.to(z), z)


# -- evaluating both branches ----------------------------------------------------------------------------------------


def _classes(y: Tensor | int | None, z: Tensor) -> Tensor:
    if z.ndim == 0:
        raise ValueError("z: got shape (), takes (b, *d)")
    if y is None:
        return torch.full((len(z),), NULL, device=z.device)
    y = y if isinstance(y, Tensor) else torch.tensor(y)
    if y.is_floating_point() or y.ndim > 1 or (y.ndim == 1 and len(y) not in (1, len(z))):
        raise ValueError(
            f"y: got {y.dtype} of shape {tuple(y.shape)}, takes one integer class a sample, ({len(z)},)"
        )
    return y.to(z.device, torch.int64).expand(len(z))


def _both(
    denoiser: Denoiser, z: Tensor, logsnr: Tensor, y: Tensor | int | None, y_other: Tensor | int | None
) -> tuple[Prediction, Prediction]:
    """The predictions for ``y`` and for ``y_other``, from one call on a doubled batch."""
    lam = as_logsnr("logsnr", logsnr, _checks.tensor("z", z), check=False)
    lams = lam if lam.ndim == 0 else torch.cat([lam, lam])
    classes = torch.cat([_classes(y, z), _classes(y_other, z)])
    both = denoiser(torch.cat([z, z]), lams, classes)
    first, second = both.estimate.split(len(z))
    return Prediction(z, lam, first, both.kind), Prediction(z, lam, second, both.kind)


def unconditional(denoiser: Denoiser) -> Denoiser:
    """``denoiser`` with its class withheld: whatever ``y`` it is asked for, it answers for ∅."""

    def without_class(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        return denoiser(z, logsnr, None)

    return without_class


def pair(conditional: Denoiser, unconditional: Denoiser) -> Denoiser:
    """One denoiser from two: ``conditional`` answers where there is a class, ``unconditional`` where y is NULL.

    Both are asked for every sample, and both must hold estimates of one kind or convert to it.
    """

    def either(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        if y is None:
            return unconditional(z, logsnr, None)
        rows = _classes(y, z)
        null = per_sample(rows == NULL, z)
        cond = conditional(z, logsnr, rows.clamp(min=0))
        return Prediction(
            z,
            cond.logsnr,
            torch.where(null, unconditional(z, logsnr, None).as_kind(cond.kind), cond.estimate),
            cond.kind,
        )

    return either


# -- the two of the paper --------------------------------------------------------------------------------------------


def classifier_free(denoiser: Denoiser, *, w: Weight) -> Denoiser:
    """Classifier-free guidance: ε̃ = (1+w) ε(z, c) − w ε(z, ∅), from one call on a doubled batch.

    The mean is taken in whatever the denoiser estimates (x, ε or v): all are affine in each other at a given z, and the
    weights sum to one, so the result is the same. Where y is NULL the result is the unconditional prediction.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight; 0 conditional, −1 unconditional; a number or (b,).

    Raises:
        ValueError: ``w`` is not finite; on a call, labels or weights that do not fit the batch.

    Source: Ho & Salimans 2022, eq. 6.
    """
    w = _weight("w", w)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = _both(denoiser, z, logsnr, y, NULL)
        return uncond.mix(cond, 1 + _over(w, z))

    return guided


def classifier_grad(classifier: Classifier, z: Tensor, lam: Tensor | float, y: Tensor | int | None) -> Tensor:
    r"""∇_z log p(y | z_λ), (b, \*d): by the classifier's own ``grad`` where it has one, else by autograd.

    Args:
        classifier: ``(z, logsnr) -> log p(c | z)`` (b, C); an unnormalised logit will not do. If it has a method
            ``grad(z, logsnr, y)``, that is used.
        z: (b, \\*d).
        lam: log-SNR, () or (b,).
        y: classes (b,); where it is NULL the gradient is zero.

    Raises:
        ValueError: a class the classifier does not know, or shapes that do not fit.
    """
    logsnr = as_logsnr("lam", lam, _checks.tensor("z", z), check=False)
    rows = _classes(y, z)
    own = getattr(classifier, "grad", None)
    if callable(own):
        grad = own(z, logsnr, rows.clamp(min=0))
    else:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            log_probs = classifier(leaf, logsnr)
            if log_probs.ndim != 2 or len(log_probs) != len(z):
                raise ValueError(
                    f"classifier: got log-probabilities of shape {tuple(log_probs.shape)}, takes ({len(z)}, C)"
                )
            _checks.labels("y", rows, log_probs.shape[1], null=NULL)
            picked = log_probs.gather(1, rows.clamp(min=0)[:, None])
            (grad,) = torch.autograd.grad(picked.sum(), leaf)
    return torch.where(per_sample(rows == NULL, z), torch.zeros_like(grad), grad)


def classifier(denoiser: Denoiser, classifier: Classifier, *, w: Weight) -> Denoiser:
    """Classifier guidance: ε̃ = ε(z, c) − w σ ∇_z log p(c | z_λ).

    To guide an unconditional model, hand in ``unconditional(denoiser)`` and the weight w + 1.

    Args:
        denoiser: the model to guide.
        classifier: log p(c | z_λ), (b, C); must know noisy samples. See :func:`classifier_grad`.
        w: guidance weight, a number or (b,).

    Raises:
        ValueError: ``w`` is not finite; on a call, labels that do not fit.

    Source: Dhariwal & Nichol 2021, §4; Ho & Salimans 2022, §3.1.
    """
    w = _weight("w", w)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        pred = denoiser(z, logsnr, y)
        return _shift_score(pred, _over(w, z) * classifier_grad(classifier, z, logsnr, y))

    return guided


def _shift_score(pred: Prediction, shift: Tensor) -> Prediction:
    """``pred`` with ``shift`` added to its score, held in the same kind: an affine map with a known slope."""
    log_alpha, log_sigma = log_alpha_sigma(torch.as_tensor(pred.logsnr).to(pred.z))
    log_slope, sign = {
        "score": (torch.zeros_like(log_alpha), 1),
        "eps": (log_sigma, -1),
        "x": (2 * log_sigma - log_alpha, 1),
        "v": (log_sigma - log_alpha, -1),
    }[pred.kind]
    return Prediction(
        pred.z, pred.logsnr, pred.estimate + sign * per_sample(log_slope.exp(), shift) * shift, pred.kind
    )


def implicit_classifier_grad(denoiser: Denoiser, z: Tensor, lam: Tensor | float, y: Tensor | int) -> Tensor:
    r"""∇_z log p^i(c | z) = −(1/σ) [ε(z, c) − ε(z)], (b, \*d): the classifier hidden in a conditional model.

    Exact scores make it the true classifier's gradient; a learned one need be no gradient at all.

    Args:
        denoiser: answers for a class and for NULL.
        z: (b, \\*d).
        lam: log-SNR, () or (b,).
        y: classes, (b,) or one int.

    Raises:
        ValueError: labels or log-SNRs that do not fit.

    Source: Ho & Salimans 2022, §3.2.
    """
    cond, uncond = _both(denoiser, z, as_logsnr("lam", lam, _checks.tensor("z", z)), y, NULL)
    return cond.score - uncond.score


# -- relatives -------------------------------------------------------------------------------------------------------


def negative(denoiser: Denoiser, *, w: Weight, y_negative: int) -> Denoiser:
    """CFG away from a class instead of away from ∅: ε̃ = (1+w) ε(z, c) − w ε(z, c'). A "negative prompt".

    Raises:
        ValueError: ``w`` is not finite; on a call, a class that does not exist.
    """
    w = _weight("w", w)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, other = _both(denoiser, z, logsnr, y, y_negative)
        return other.mix(cond, 1 + _over(w, z))

    return guided


def auto(good: Denoiser, bad: Denoiser, *, w: Weight) -> Denoiser:
    """Autoguidance: ε̃ = (1+w) ε_good(z, c) − w ε_bad(z, c), with ``bad`` a worse version of ``good``.

    Raises:
        ValueError: ``w`` is not finite.

    Source: Karras et al. 2024, eq. 3.
    """
    w = _weight("w", w)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        strong = good(z, logsnr, y)
        weak = bad(z, logsnr, y)
        return Prediction(z, strong.logsnr, weak.as_kind(strong.kind), strong.kind).mix(
            strong, 1 + _over(w, z)
        )

    return guided


def interval(guided: Denoiser, unguided: Denoiser, *, lo: float, hi: float) -> Denoiser:
    """``guided`` where lo ≤ λ ≤ hi, ``unguided`` elsewhere. One λ for all means one call.

    Args:
        guided, unguided: the two denoisers.
        lo, hi: ends of the interval in log-SNR; ±inf leaves a side open.

    Raises:
        ValueError: NaN, or ``lo`` > ``hi``.

    Source: Kynkäänniemi et al. 2024.
    """
    if not (isinstance(lo, int | float) and isinstance(hi, int | float) and lo <= hi):  # NaN compares false
        raise ValueError(f"lo: got {lo!r} with hi = {hi!r}, takes lo ≤ hi in log-SNR")

    def switched(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        lam = as_logsnr("logsnr", logsnr, z)
        inside = (lam >= lo) & (lam <= hi)
        if bool(inside.all()):
            return guided(z, lam, y)
        if not bool(inside.any()):
            return unguided(z, lam, y)
        on, off = guided(z, lam, y), unguided(z, lam, y)
        return Prediction(
            z, lam, torch.where(per_sample(inside, z), on.estimate, off.as_kind(on.kind)), on.kind
        )

    return switched


def _sum_sq(a: Tensor, b: Tensor) -> Tensor:
    """Inner product over all axes but the first, kept as axes of size one."""
    return (a * b).flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))


def _norm(a: Tensor) -> Tensor:
    return _sum_sq(a, a).sqrt()


def rescale(guided: Denoiser, conditional: Denoiser, *, phi: float = 0.7) -> Denoiser:
    """CFG-rescale: give the guided x̂ the conditional x̂'s length, by the share ``phi``.

    The source matches standard deviations over pixels; this matches root mean squares, which for images of mean near
    zero is the same and has a meaning in two dimensions too.

    Args:
        guided, conditional: the denoiser to repair and the one whose length counts.
        phi: 0 leaves ``guided`` alone, 1 rescales fully.

    Raises:
        ValueError: ``phi`` outside [0, 1].

    Source: Lin et al. 2023, eqs. 14–16.
    """
    phi = _checks.unit_interval("phi", phi)

    def rescaled(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        pred = guided(z, logsnr, y)
        x, target = pred.x, conditional(z, logsnr, y).x
        ratio = _norm(target) / _norm(x).clamp(min=torch.finfo(x.dtype).tiny)
        return Prediction.from_x(z, pred.logsnr, x * (1 - phi + phi * ratio))

    return rescaled


def apg(denoiser: Denoiser, *, w: Weight, eta: float = 0.0, threshold: float = math.inf) -> Denoiser:
    """Adaptive projected guidance: x̃ = x_c + w (Δ⊥ + eta Δ∥), Δ = x_c − x_∅ split across and along x_c.

    The source adds a momentum over steps; that would make a denoiser remember, so it is left out here.

    Args:
        denoiser: answers for a class and for NULL.
        w: guidance weight, a number or (b,).
        eta: share of the part along x_c that is kept; 1 with no threshold is plain CFG.
        threshold: longest Δ allowed, in units of x.

    Raises:
        ValueError: ``w`` or ``eta`` is not finite, or ``threshold`` is not positive.

    Source: Sadat et al. 2024.
    """
    w, eta = _weight("w", w), _checks.number("eta", eta)
    if not threshold > 0:
        raise ValueError(f"threshold: got {threshold!r}, takes a positive length")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = _both(denoiser, z, logsnr, y, NULL)
        x = cond.x
        delta = x - uncond.x
        tiny = torch.finfo(x.dtype).tiny
        delta = delta * (threshold / _norm(delta).clamp(min=tiny)).clamp(max=1.0)
        along = _sum_sq(delta, x) / _sum_sq(x, x).clamp(min=tiny) * x
        return Prediction.from_x(z, cond.logsnr, x + _over(w, z) * (delta - along + eta * along))

    return guided


def power_law(denoiser: Denoiser, *, w: Weight, power: float) -> Denoiser:
    """Power-law guidance: ε̃ = ε(z,c) + w ‖Δ‖^power Δ with Δ = ε(z,c) − ε(z). ``power`` = 0 is plain CFG.

    Raises:
        ValueError: ``w`` is not finite or ``power`` ≤ −1.

    Source: Pavasovic et al. 2025.
    """
    w, power = _weight("w", w), _checks.number("power", power)
    if power <= -1:
        raise ValueError(f"power: got {power!r}, takes a number above −1")

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = _both(denoiser, z, logsnr, y, NULL)
        delta = cond.eps - uncond.eps
        size = _norm(delta).clamp(min=torch.finfo(delta.dtype).tiny) ** power
        return Prediction.from_eps(z, cond.logsnr, cond.eps + _over(w, z) * size * delta)

    return guided


def cfg_plus_plus(denoiser: Denoiser, *, scale: float, grid: Tensor) -> Denoiser:
    """CFG++ as what it is: CFG whose weight depends on λ and on the step to come.

    CFG++ takes a DDIM step with a guided x̂ but an unguided ε̂. Collecting terms, that is a DDIM step of plain CFG at the
    scale s(λ) = scale / (1 − e^{(λ−λ')/2}) with λ' the next level of ``grid``; so it is exact for
    :func:`cfgtoy.samplers.ddim` on the same grid, and grows without bound as steps shrink.

    Args:
        denoiser: answers for a class and for NULL.
        scale: interpolation between the unconditional (0) and the conditional (1) estimate.
        grid: the rising levels of the sampler, (T,).

    Raises:
        ValueError: ``scale`` is not finite, ``grid`` does not rise; on a call, a λ that is not on the grid.

    Source: Chung et al. 2024, eq. 12 and §3.
    """
    scale = _checks.number("scale", scale)
    grid = _checks.rising("grid", grid)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        lam = as_logsnr("logsnr", logsnr, z)
        levels = grid.to(lam)
        at = (lam[..., None] - levels).abs().argmin(-1)  # the nearest level, () or (b,)
        if not bool(torch.isclose(levels[at], lam, rtol=1e-5, atol=1e-5).all()):
            raise ValueError("logsnr: got a level that is not on the grid, takes the grid's own levels")
        step = torch.cat([levels.diff(), levels.new_full((1,), math.inf)])[at]
        s = scale / -torch.expm1(-step / 2)  # the last level returns x̂ itself
        cond, uncond = _both(denoiser, z, lam, y, NULL)
        return uncond.mix(cond, per_sample(s, z))

    return guided


def cfg_zero_star(denoiser: Denoiser, *, w: Weight) -> Denoiser:
    """CFG-Zero*'s scaled guidance: ε̃ = (1+w) ε(z,c) − w s* ε(z), with s* = ⟨ε(z,c), ε(z)⟩ / ‖ε(z)‖² per sample.

    The source guides flow velocities; here the same projection is made on ε. Its second part, no motion in the first
    steps, belongs to the sampler's grid and is left out.

    Raises:
        ValueError: ``w`` is not finite.

    Source: Fan et al. 2025.
    """
    w = _weight("w", w)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = _both(denoiser, z, logsnr, y, NULL)
        base = uncond.eps
        fit = _sum_sq(cond.eps, base) / _sum_sq(base, base).clamp(min=torch.finfo(base.dtype).tiny)
        weight = _over(w, z)
        return Prediction.from_eps(z, cond.logsnr, (1 + weight) * cond.eps - weight * fit * base)

    return guided


def dynamic_threshold(denoiser: Denoiser, *, quantile: float = 0.995, floor: float = 1.0) -> Denoiser:
    """Dynamic thresholding: clip x̂ to [−s, s] and divide by s/floor, s the larger of ``floor`` and a quantile of |x̂|.

    Args:
        denoiser: the (guided) denoiser to tame.
        quantile: of |x̂| over a sample's entries, in [0, 1].
        floor: the range of the data; samples inside it are left alone.

    Raises:
        ValueError: ``quantile`` outside [0, 1] or ``floor`` not positive.

    Source: Saharia et al. 2022, §2.3.
    """
    quantile = _checks.unit_interval("quantile", quantile)
    if not _checks.number("floor", floor) > 0:
        raise ValueError(f"floor: got {floor!r}, takes a positive number")

    def thresholded(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        pred = denoiser(z, logsnr, y)
        x = pred.x
        s = (
            torch.quantile(x.abs().flatten(1), quantile, dim=1)
            .clamp(min=floor)
            .reshape(-1, *[1] * (x.ndim - 1))
        )
        return Prediction.from_x(z, pred.logsnr, x.clamp(-s, s) * (floor / s))

    return thresholded
