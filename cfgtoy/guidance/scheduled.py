"""Guidance that changes on the way: a weight with a shape, CFG++, an interval, no motion at first, no ∅ at last."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import as_logsnr, per_sample
from ..prediction import NULL, Denoiser, Prediction
from ._branches import Weight, both, classes, inner, norm, over, pushed, weight
from .table import Rule, wrapped

# Each has mean 1 over u in [0, 1], from noise to data.
SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "constant": torch.ones_like,
    "linear": lambda u: 2 * u,
    "cosine": lambda u: 1 - torch.cos(math.pi * u),
    "falling": lambda u: 2 - 2 * u,
    "beta": lambda u: 6 * u * (1 - u),
}


def weight_schedule(
    denoiser: Denoiser,
    *,
    w: Weight,
    shape: Literal["constant", "linear", "cosine", "falling", "beta"] = "linear",
    lo: float = -20.0,
    hi: float = 20.0,
) -> Denoiser:
    """CFG with the weight w · shape(u), u = (λ − lo)/(hi − lo), kept at its end values outside [lo, hi].

    The sources count u in steps or in time; here it counts in log-SNR, which no sampler or schedule changes. Each
    shape has mean 1 over the range, so w is the mean weight.

    Args:
        shape: ``"constant"``, 1; ``"linear"``, 2u; ``"cosine"``, 1 − cos πu; ``"falling"``, 2 − 2u; ``"beta"``,
            6u(1 − u), the density of Beta(2, 2).
        lo, hi: ends of the range in log-SNR, lo < hi.

    Source: Wang et al. 2024 (linear, cosine, falling); Malarz et al. 2025 (beta).
    """
    lo, hi = _checks.number("lo", lo), _checks.number("hi", hi)
    _checks.require(lo < hi, "lo", f"{lo!r} with hi = {hi!r}", "lo < hi in log-SNR")
    _checks.one_of("shape", shape, SHAPES)

    def push(w: Weight, delta: Tensor, cond: Prediction, uncond: Prediction) -> Tensor:
        lam = as_logsnr("logsnr", cond.logsnr, cond.z, noise=True)
        share = SHAPES[shape]((lam.clamp(lo, hi) - lo) / (hi - lo))
        return w * per_sample(share, delta) * delta

    return pushed(denoiser, w, push)


def cfg_plus_plus(
    denoiser: Denoiser, scale: float | None = None, *, w: float | None = None, grid: Tensor
) -> Denoiser:
    """CFG++: guide the estimate, renoise without guidance.

    CFG++ takes a DDIM step with a guided x̂ but an unguided ε̂. Collecting terms, that is a DDIM step of plain CFG at the
    scale s(λ) below with λ' the next level of ``grid``; so it is exact for :func:`cfgtoy.samplers.ddim` on the same
    grid, and grows without bound as steps shrink.

    Args:
        scale: interpolation between the unconditional (0) and the conditional (1) estimate.
        w: ``scale`` − 1, the weight of that estimate: −1 to 0 interpolates, as the source does. Give one of the two.
        grid: the rising levels of the sampler, (T,); the first may be −∞.

    Raises ``ValueError``: ``scale`` or ``w`` is not finite, both or neither are given, ``grid`` does not rise; on a
    call, a λ that is not on the grid.
    Source: Chung et al. 2024, eq. 12 and §3: s(λ) = scale / (1 − e^{(λ−λ')/2}).
    """
    one = scale is None or w is None
    _checks.require(one, "w", f"{w!r} with scale = {scale!r}", "one of the two, w = scale − 1")
    share = _checks.number("scale", scale) if w is None else 1 + _checks.number("w", w)
    grid = _checks.rising("grid", grid)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        lam = as_logsnr("logsnr", logsnr, z, noise=True)
        levels = grid.to(lam)
        at = (lam[..., None] - levels).abs().argmin(-1)  # the nearest level, () or (b,)
        if not bool(torch.isclose(levels[at], lam, rtol=1e-5, atol=1e-5).all()):
            raise ValueError("logsnr: got a level that is not on the grid, takes the grid's own levels")
        # The last level returns x̂ itself.
        step = torch.cat([levels.diff(), levels.new_full((1,), math.inf)])[at]
        cond, uncond = both(denoiser, z, lam, y)
        return uncond.mix(cond, per_sample(share / -torch.expm1(-step / 2), z))

    return guided


def interval(
    guided: Denoiser,
    unguided: Denoiser | None = None,
    *,
    w: Weight | None = None,
    of: Rule | str = "classifier-free",
    lo: float = -math.inf,
    hi: float = math.inf,
) -> Denoiser:
    """A guided denoiser where lo ≤ λ ≤ hi, an unguided one elsewhere. One λ for all means one call.

    The level that counts is the one the denoiser is asked at. A sampler that looks ahead asks at the end of a step too
    (Heun's corrector, at the next level), so the last step before the interval is then guided by half, and the last
    one in it too.

    Args:
        guided, unguided: the two denoisers; or the denoiser alone, with ``w``: guided by ``of`` at that weight.
        of: the rule that guides inside.
        lo, hi: ends of the interval in log-SNR; by default ±inf, which leaves a side open.

    Raises ``ValueError``: NaN, or ``lo`` > ``hi``; both or neither of ``unguided`` and ``w``.
    Source: Kynkäänniemi et al. 2024, eq. 4: ε̃ = ε(z,c) + 1[lo ≤ λ ≤ hi] w (ε(z,c) − ε(z)).
    """
    # NaN compares false.
    ordered = isinstance(lo, int | float) and isinstance(hi, int | float) and lo <= hi
    _checks.require(ordered, "lo", f"{lo!r} with hi = {hi!r}", "lo ≤ hi in log-SNR")
    inside_rule, outside_rule = wrapped(guided, unguided, of, w, "unguided")

    def switched(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        lam = as_logsnr("logsnr", logsnr, z, noise=True)
        inside = (lam >= lo) & (lam <= hi)
        if bool(inside.all()):
            return inside_rule(z, lam, y)
        if not bool(inside.any()):
            return outside_rule(z, lam, y)
        on, off = inside_rule(z, lam, y), outside_rule(z, lam, y)
        estimate = torch.where(per_sample(inside, z), on.estimate, off.as_kind(on.kind))
        return Prediction(z, lam, estimate, on.kind)

    return switched


def zero_init(denoiser: Denoiser, *, until: float) -> Denoiser:
    """A denoiser, guided or not, that stands still where λ ≤ ``until``.

    Still means that the flow velocity u = ε − x is zero: an Euler step in t leaves z_t where it is, and so does DDIM.
    A zero of ε or of x would be a motion. So this goes around a rule whatever its kind, as in
    ``zero_init(cfg_zero_star(model, w=2.0), until=grid[0].item())`` for one step of a sampler with that ``grid``.

    Args:
        denoiser: whatever moves above ``until``; it is asked there alone, where one λ holds for all samples.
        until: the last level without motion, in log-SNR; −inf moves at all levels above pure noise.

    Raises ``ValueError``: ``until`` is NaN or +inf.
    Source: Fan et al. 2025 (CFG-Zero*), §3.3 and Algorithm 1: ũ = 0 in the first steps.
    """
    until = until if until == -math.inf else _checks.number("until", until)
    return interval(
        lambda z, logsnr, y=None: Prediction.from_flow(z, logsnr, torch.zeros_like(z)), denoiser, hi=until
    )


def adaptive(
    denoiser: Denoiser, *, w: Weight, threshold: float = 0.991, on: Literal["x", "eps"] = "x"
) -> Denoiser:
    """CFG until the two answers for a sample agree; from the next level on, the conditional model alone.

    The second evaluation is then not made. So this denoiser remembers, for one batch that is drawn from noise to data:
    at a level that is not above the last one, or with a batch of another size, it starts afresh.

    The source compares what the network puts out, ε. Where all is noise both ε are z, so they agree before guidance has
    begun, on any grid that starts deep enough; so x̂ is compared here unless ``on`` says otherwise. In one dimension a
    cosine is 1 or −1.

    Args:
        threshold: the cosine between the two answers from which they agree, in [−1, 1]; 1 is plain CFG, up to rounding.
        on: ``"x"``, x̂, or ``"eps"``, ε̂.

    Source: Castillo et al. 2023 (Adaptive Guidance): from cos(ε(z,c), ε(z)) > threshold on, ε(z,c) alone. That their
    threshold is 0.991 is second-hand: another implementation calls it the paper's, for its own models, where guidance
    ends after about half of 20 steps. Of the paper only the abstract could be looked up. Try your own for your model.
    """
    w, threshold = weight("w", w), _checks.number("threshold", threshold, lo=-1.0, hi=1.0)
    _checks.one_of("on", on, ("x", "eps"))
    # The last level, and the samples (b,) that had agreed before it.
    seen: dict[str, Tensor] = {}

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        lam, y = as_logsnr("logsnr", logsnr, z, noise=True), classes(y, z)
        done = seen.get("done")
        if done is None or len(done) != len(z) or bool(lam.amin() <= seen["level"]):
            done = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        # One call: those that agreed once, the others twice.
        rows = (~done).nonzero()[:, 0]
        lams = lam if lam.ndim == 0 else torch.cat([lam, lam[rows]])
        asked = denoiser(torch.cat([z, z[rows]]), lams, torch.cat([y, torch.full_like(y[rows], NULL)]))
        cond = Prediction(z, lam, asked.estimate[: len(z)], asked.kind)
        estimate = cond.estimate.index_copy(0, rows, asked.estimate[len(z) :])
        a, b = cond.as_kind(on), Prediction(z, lam, estimate, asked.kind).as_kind(on)
        cosine = (inner(a, b) / (norm(a) * norm(b))).flatten(1)[:, 0]
        seen["level"], seen["done"] = lam.amax().detach(), done | (cosine > threshold)
        return Prediction(z, lam, cond.estimate + over(w, z) * (cond.estimate - estimate), cond.kind)

    return guided
