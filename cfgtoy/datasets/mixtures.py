"""A gallery of Gaussian mixtures, of about unit scale as diffusion models like it, whose every score is exact."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .. import _checks
from ..guidance import pair
from ..mixture import GaussianMixture
from ..prediction import Denoiser


def _on_circle(k: int, radius: float, std: float, start: float, dtype: torch.dtype) -> GaussianMixture:
    angle = start + 2 * math.pi * torch.arange(k, dtype=torch.float64) / k
    means = _checks.number("radius", radius) * torch.stack([angle.cos(), angle.sin()], 1)
    return GaussianMixture(means.to(dtype), _checks.number("std", std) ** 2)


def _ellipse(along: Sequence[float], spread: Sequence[float]) -> Tensor:
    """The covariance with standard deviations ``spread`` along the unit vector ``along`` and across it, (2, 2)."""
    axes = torch.tensor([[along[0], -along[1]], [along[1], along[0]]], dtype=torch.float64)
    return axes * torch.tensor(spread, dtype=torch.float64) ** 2 @ axes.mT


def three_gaussians(
    radius: float = 1.0, std: float = 0.5, dtype: torch.dtype = torch.float32
) -> GaussianMixture:
    """Three classes, one isotropic Gaussian each, on a triangle: the picture in which guidance was introduced.

    ``radius`` is the distance of each mean from the origin, finite, and ``std`` the standard deviation, positive; else
    a ``ValueError``.

    Source: Ho & Salimans 2022, fig. 2 (which gives no numbers; these are ours).
    """
    return _on_circle(3, radius, std, math.pi / 2, dtype)


def ring(
    k: int = 8, radius: float = 1.4, std: float = 0.15, dtype: torch.dtype = torch.float32
) -> GaussianMixture:
    """``k`` classes, at least one, each a small Gaussian, evenly on a circle; errors as :func:`three_gaussians`."""
    return _on_circle(_checks.positive_int("k", k), radius, std, 0.0, dtype)


def overlapping(dtype: torch.dtype = torch.float32) -> GaussianMixture:
    """Two classes of four modes each, of several shapes: a mode of class 0 among class 1's is the first to empty."""
    centres = [
        [-1.6, 0.9], [-1.1, -0.9], [-0.2, 0.2], [0.9, 1.3], [1.6, -0.9], [1.1, 0.6], [0.25, -0.45], [-0.8, -1.6],
    ]  # fmt: skip
    # two axes, an angle
    spreads = [(0.35, 0.18, 0.5), (0.25, 0.25, 0.0), (0.40, 0.15, -0.7), (0.20, 0.30, 0.3)] * 2
    weights = [0.3, 0.3, 0.25, 0.15, 0.35, 0.3, 0.2, 0.15]
    covs = torch.stack([_ellipse((math.cos(a), math.sin(a)), axes) for *axes, a in spreads])
    means, shares = torch.tensor(centres, dtype=dtype), torch.tensor(weights, dtype=dtype)
    return GaussianMixture(means, covs.to(dtype), shares, torch.arange(8) // 4)


def tree(depth: int = 5, dtype: torch.dtype = torch.float32) -> GaussianMixture:
    """Two classes that grow out of one trunk: a fractal of thin Gaussians, 2^(depth+1) − 2 of them at two trees.

    Every branch splits into two shorter, thinner ones. The trees start back to back and their outer twigs reach past
    each other, so mass that matters lies in thin places.

    ``depth`` is how often a branch splits, at least 1; else a ``ValueError``.

    Source: the idea of a fractal toy is Karras et al. 2024, fig. 1; the shape is ours.
    """
    _checks.positive_int("depth", depth)
    means, covs, weights, labels = [], [], [], []
    for label, heading in enumerate((0.35 * math.pi, 1.35 * math.pi)):
        tips = [(0.0, 0.0, heading, 0.95)]
        for level in range(depth):
            next_tips = []
            for x, y, angle, length in tips:
                dx, dy = math.cos(angle), math.sin(angle)
                means.append([x + dx * length / 2, y + dy * length / 2])
                covs.append(_ellipse((dx, dy), (length / math.sqrt(12), 0.05 * length + 0.01)))
                weights.append(0.5**level)
                labels.append(label)
                end = (x + dx * length, y + dy * length)
                next_tips += [(*end, angle + turn, 0.68 * length) for turn in (0.55, -0.4)]
            tips = next_tips
    mean, weight = (torch.tensor(numbers, dtype=dtype) for numbers in (means, weights))
    return GaussianMixture(mean, torch.stack(covs).to(dtype), weight, torch.tensor(labels))


def gaussian_pair(
    var_cond: float = 1.0, var_uncond: float = 2.0, dim: int = 1, dtype: torch.dtype = torch.float32
) -> Denoiser:
    """p(x | c) = N(0, var_cond I) and p(x) = N(0, var_uncond I): the pair on which guidance solves in closed form.

    They are no common mixture, so this is a denoiser: any class asks the first, NULL the second. Guided with γ = 1+w
    its samples have, for variances 1 and 2, variance 2^{1−γ} under the probability-flow ODE and (2 − 2^{2−2γ})/(2γ − 1)
    under the SDE, while the tilted density has 2/(γ + 1).

    A ``ValueError`` for a variance that is not positive, or a dimension ``dim`` below 1.

    Source: Bradley & Nakkiran 2024, §3.
    """
    zero = torch.zeros(1, _checks.positive_int("dim", dim), dtype=dtype)
    cond = GaussianMixture(zero, _checks.number("var_cond", var_cond, lo=0.0, open=True))
    uncond = GaussianMixture(zero, _checks.number("var_uncond", var_uncond, lo=0.0, open=True))
    return pair(lambda z, logsnr, y=None: cond(z, logsnr), uncond)


GALLERY: dict[str, Callable[[], GaussianMixture]] = {
    "three Gaussians": three_gaussians,
    "ring of eight": ring,
    "two overlapping classes": overlapping,
    "tree": tree,
}
"""The labelled two-dimensional mixtures, by the name readers see."""
