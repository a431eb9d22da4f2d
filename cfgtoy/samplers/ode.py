"""Samplers of the probability-flow ODE: noise at the start, none on the way.

With σ/α for time, the ODE is d(z/α)/d(σ/α) = ε̂ (Song et al. 2021; Karras et al. 2022), and in z itself
dz = x̂ dα + ε̂ dσ.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..logsnr import log_alpha_sigma
from ..prediction import Denoiser, Prediction
from .state import State, begin, states


def ddim(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | int | None = None) -> Iterator[State]:
    """DDIM: z' = α' x̂ + σ' ε̂, the exact Euler step of the probability-flow ODE in σ/α. First order.

    Arguments, states and errors as in :func:`ancestral`. Source: Song, Meng & Ermon 2021, eq. 12 with η = 0.
    """
    levels, classes = begin(z, grid, y)
    log_alpha, log_sigma = log_alpha_sigma(levels)

    def step(k: int, z: Tensor, pred: Prediction) -> Tensor:
        return log_alpha[k].exp() * pred.x + log_sigma[k].exp() * pred.eps

    return states(denoiser, z, levels, classes, step)


def heun(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | int | None = None) -> Iterator[State]:
    """Heun's method on dz = x̂ dα + ε̂ dσ: both estimates are the means of a step's two ends. Second order.

    Two evaluations a step: z' = z + (α' − α)(x̂ + x̂')/2 + (σ' − σ)(ε̂ + ε̂')/2, with x̂', ε̂' at DDIM's z'.

    Karras et al. take the mean of ε̂ alone, on z/α. There the correction is α'/α times as large, which is ten thousand
    where one step leads out of pure noise, as with few levels of the cosine schedule; this one stays of the size of z
    on any grid, and on even ones it is no less accurate.

    Arguments, states and errors as in :func:`ancestral`. Source: Karras et al. 2022, Algorithm 1, on z instead of z/α.
    """
    levels, classes = begin(z, grid, y)
    alpha, sigma = (log.exp() for log in log_alpha_sigma(levels))

    def step(k: int, z: Tensor, pred: Prediction) -> Tensor:
        eps = pred.eps
        euler = alpha[k] * pred.x + sigma[k] * eps
        ahead = denoiser(euler, levels[k], classes)
        # x̂' − x̂ = −(σ'/α')(ε̂' − ε̂) at one z': what the means change is (ασ'/α' − σ)(ε̂' − ε̂)/2.
        slope = sigma[k - 1] * torch.expm1((levels[k - 1] - levels[k]) / 2)
        return euler + 0.5 * slope * (ahead.eps - eps)

    return states(denoiser, z, levels, classes, step)


def dpmpp_2m(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | int | None = None) -> Iterator[State]:
    """DPM-Solver++(2M): exponential integrator in x̂, extrapolated from two levels. Second order, one evaluation a step.

    A step more than twice as long as the one before, such as the last of the cosine grid, extrapolates as if it were as
    long as that one: further, x̂ overshoots.

    Arguments, states and errors as in :func:`ancestral`. Source: Lu et al. 2022b, Algorithm 2. Their λ is half of ours.
    """
    levels, classes = begin(z, grid, y)
    log_alpha, log_sigma = log_alpha_sigma(levels)
    length = levels.diff()
    ratio = length[1:] / length[:-1]
    ratio = ratio.where(ratio <= 2, 1.0)
    x_before: Tensor | None = None

    def step(k: int, z: Tensor, pred: Prediction) -> Tensor:
        nonlocal x_before
        x = pred.x
        target = x if x_before is None else x + 0.5 * ratio[k - 2] * (x - x_before)
        x_before = x
        keep = (log_sigma[k] - log_sigma[k - 1]).exp()
        fill = log_alpha[k].exp() * -torch.expm1((levels[k - 1] - levels[k]) / 2)
        return keep * z + fill * target

    return states(denoiser, z, levels, classes, step)
