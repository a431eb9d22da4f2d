"""A sampler that reaches the tilted density: weighted particles on the guided SDE."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from .. import _checks
from ..guidance._branches import both
from ..logsnr import per_sample
from ..prediction import NULL, Denoiser, Prediction
from .moves import moves
from .state import begin, checked_shape, initial_noise


@torch.no_grad()
def feynman_kac(
    denoiser: Denoiser,
    y: Tensor | int,
    *,
    w: float,
    shape: Sequence[int],
    grid: Tensor,
    generator: Generator | None = None,
    resample: float = 0.5,
) -> tuple[Tensor, Tensor]:
    r"""Samples of p(x | c) p(c | x)^w, which guidance alone does not draw, by weighting the guided SDE's paths.

    With γ = 1 + w, p for the class's density and q for the one of all, the target at each level is
    π ∝ p^γ q^{1−γ} = p (p/q)^w, and its score is the guided one, s̃ = γ s_p + (1−γ) s_q. Still the SDE
    dz = (½σ² z + σ² s̃) dλ + σ dW does not keep to π: of ∂_λ log p = −½σ² (d + z·s_p + ∇·s_p + ‖s_p‖²) and its like for
    q, all is linear in the score but the squares. A particle that collects their rest as its log-weight stands for π:

    .. math:: \mathrm{d} \log W = \tfrac12 γ(γ-1)\, σ^2 \|s_p - s_q\|^2\, \mathrm{d}λ
        = \tfrac12 γ(γ-1)\, \|ε_p - ε_q\|^2\, \mathrm{d}λ.

    Where the weights of a class's particles become too unequal, they are drawn anew in proportion (systematic
    resampling). Langevin steps on π change no weight, and particles that stay near π need less of it. So a step puts
    more fresh noise for old than the SDE does: z' = α' x̂ + σ' (e^{−τ/2} ε̂ + √(1 − e^{−τ}) ξ), where the SDE has
    τ = Δλ and this τ = Δλ + σ² min(16 Δλ, 1). The x̂ is the mean of both ends', with one ξ for both: 2T − 1
    evaluations with and without the class. The weights take the mean of both ends too. The error is of order Δλ².

    On an exact model this reaches the target as steps shrink and particles grow in number. A network has to answer for
    the class and for none; the weights are as good as the difference of its answers, and the target is what its two
    estimates imply. The share of particles that matter, (ΣW)²/ΣW² of their number, falls exponentially with
    dimension: look at the weights that come back.

    Args:
        denoiser, y: the model itself, not guided, which also takes no class; and classes, (b,), or one int for all.
            All particles of one class are one population.
        w: guidance weight; 0 draws p(x | c).
        shape, grid: of the result, (b, \*d): b particles; rising levels, (T,), about even in λ, whose dtype and device
            are the result's.
        generator: source of randomness; the same seed gives the same particles.
        resample: the share of a population, in [0, 1], below which its effective number makes it be drawn anew;
            0 never, 1 at every level.

    Returns:
        The clean estimates x̂ at the last level, (b, \*d), and their log-weights since they were last drawn anew, (b,),
        with mean weight one in each class: means under the target are weighted means.

    Raises:
        ValueError: an argument out of range; or a population all of whose particles left the range of numbers.

    Source: Skreta et al. 2025 (Feynman–Kac correctors), whose weights for classifier-free guidance these are.
    """
    w, resample = _checks.number("w", w), _checks.unit_interval("resample", resample)
    shape = checked_shape(shape, y)
    grid = _checks.rising("grid", grid)
    z = initial_noise(shape, generator, grid.device, grid.dtype)
    levels, classes = begin(z, grid, y)
    if classes is None:
        raise ValueError("y: got None, takes one integer class a particle, or one for all")
    crowd = _Crowd(classes, w)
    length = levels.diff()
    extra = torch.sigmoid(-levels[:-1]) * (16 * length).clamp(max=1)
    keep, fill, spread = moves(levels[:-1], levels[1:], length + extra)
    # What a step adds to log W at its two ends. Out of pure noise, e^λ‖x̂_p − x̂_q‖² runs up to ‖ε_p − ε_q‖².
    before, after = 0.5 * length, 0.5 * length
    if levels[0].item() == -math.inf and len(length):
        before[0], after[0] = 0.0, 1.0
    rate = 0.5 * w * (1 + w)

    def guided(cond: Prediction, uncond: Prediction) -> Prediction:
        return uncond.mix(cond, 1 + w)

    answers = both(denoiser, z, levels[0], classes, NULL)
    pred, push = guided(*answers), _push(*answers)
    for step, ahead in enumerate(levels[1:]):
        crowd.weigh(rate * before[step] * push)
        noise = spread[step] * torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
        x = pred.x
        first = crowd.bury(keep[step] * z + fill[step] * x + noise)
        there = guided(*both(denoiser, first, ahead, classes, NULL))
        z = crowd.bury(keep[step] * z + fill[step] * (x + there.x) / 2 + noise)
        answers = both(denoiser, z, ahead, classes, NULL)
        pred, push = guided(*answers), _push(*answers)
        crowd.weigh(rate * after[step] * push)
        chosen = crowd.draw(resample, generator, ahead)
        if chosen is not None:
            z, push = z[chosen], push[chosen]
            pred = Prediction(z, ahead, pred.estimate[chosen], pred.kind)
    return pred.x, crowd.log_weights.to(z)


def _push(cond: Prediction, uncond: Prediction) -> Tensor:
    """‖ε_p − ε_q‖², (b,)."""
    return (cond.eps - uncond.eps).flatten(1).square().sum(1)


class _Crowd:
    """The particles' weights, a population a class: on the CPU and in float64, where sums repeat exactly."""

    def __init__(self, y: Tensor, w: float) -> None:
        self.w = w
        self.classes, self.home, self.sizes = y.cpu().unique(return_inverse=True, return_counts=True)
        self.log_weights = torch.zeros(len(y), dtype=torch.float64)

    def weigh(self, log_growth: Tensor) -> None:
        """Add to the log-weights; who gains what is no number is dead."""
        grown = self.log_weights + log_growth.double().cpu()
        self.log_weights = grown.where(grown.isfinite(), -math.inf)

    def bury(self, z: Tensor) -> Tensor:
        """z with 0 for particles that left the range of numbers, which are dead: they weigh nothing."""
        alive = z.flatten(1).isfinite().all(1)
        if bool(alive.all()):
            return z
        self.log_weights = self.log_weights.where(alive.cpu(), -math.inf)
        return z.where(per_sample(alive, z), 0.0)

    def draw(self, resample: float, generator: Generator | None, lam: Tensor) -> Tensor | None:
        """Set each population's mean weight to one, and draw the too unequal ones anew: the rows of those chosen."""
        none = self.log_weights.new_zeros(len(self.classes))
        top = (none - math.inf).scatter_reduce(0, self.home, self.log_weights, "amax")
        if bool(top.isinf().any()):
            dead = self.classes[top.isinf()][0].item()
            raise ValueError(
                f"w: got {self.w:g}, with which all particles of class {dead} left the range of numbers before log-SNR "
                f"{lam.item():g}, takes a weight that a finer grid or more particles can follow"
            )
        share = (self.log_weights - top[self.home]).exp()
        total = none.index_add(0, self.home, share)
        effective = total.square() / none.index_add(0, self.home, share.square())
        self.log_weights = self.log_weights - (top + (total / self.sizes).log())[self.home]
        poor = (effective < resample * self.sizes).nonzero().flatten().tolist()
        if not poor:
            return None
        device = "cpu" if generator is None else generator.device
        starts = torch.rand(len(poor), generator=generator, device=device).cpu()
        chosen = torch.arange(len(share))
        for c, start in zip(poor, starts, strict=True):
            rows = (self.home == c).nonzero().flatten()
            upto = share[rows].cumsum(0) / total[c]
            marks = (torch.arange(len(rows), dtype=torch.float64) + start) / len(rows)
            chosen[rows] = rows[torch.searchsorted(upto, marks).clamp(max=len(rows) - 1)]
            self.log_weights[rows] = 0.0
        return chosen
