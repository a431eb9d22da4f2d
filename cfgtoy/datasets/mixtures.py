"""A gallery of Gaussian mixtures whose every score is exact.

Each is a function, so that its parameters can be played with, and :data:`GALLERY` names the ones that explorers and
tests run through. The spreads are chosen so that a sample of p(x) has about unit scale, as diffusion models like it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .. import _checks
from ..guidance import pair
from ..mixture import GaussianMixture
from ..prediction import Denoiser

__all__ = ["GALLERY", "gaussian_pair", "overlapping", "ring", "three_gaussians", "tree"]


def _on_circle(k: int, radius: float, start: float) -> Tensor:
    angle = start + 2 * math.pi * torch.arange(k, dtype=torch.float64) / k
    return radius * torch.stack([angle.cos(), angle.sin()], 1)


def three_gaussians(
    radius: float = 1.0, std: float = 0.5, dtype: torch.dtype = torch.float32
) -> GaussianMixture:
    """Three classes, one isotropic Gaussian each, on a triangle: the picture in which guidance was introduced.

    Args:
        radius: distance of each mean from the origin.
        std: standard deviation of each Gaussian.
        dtype: of the mixture.

    Raises:
        ValueError: ``radius`` is not finite or ``std`` not positive.

    Source: Ho & Salimans 2022, fig. 2 (which gives no numbers; these are ours).
    """
    radius, variance = _checks.number("radius", radius), _checks.number("std", std) ** 2
    return GaussianMixture(_on_circle(3, radius, math.pi / 2).to(dtype), variance)


def ring(
    k: int = 8, radius: float = 1.4, std: float = 0.15, dtype: torch.dtype = torch.float32
) -> GaussianMixture:
    """``k`` classes, one small Gaussian each, evenly on a circle.

    Raises:
        ValueError: ``k`` is not a positive integer, or as in :func:`three_gaussians`.
    """
    _checks.positive_int("k", k)
    radius, variance = _checks.number("radius", radius), _checks.number("std", std) ** 2
    return GaussianMixture(_on_circle(k, radius, 0.0).to(dtype), variance)


def overlapping(dtype: torch.dtype = torch.float32) -> GaussianMixture:
    """Two classes of four modes each, of several shapes and weights, that share part of the plane.

    Guidance has something to destroy here: a mode of class 0 that lies among class 1's is the first to empty.
    """
    centres = [
        [-1.6, 0.9], [-1.1, -0.9], [-0.2, 0.2], [0.9, 1.3], [1.6, -0.9], [1.1, 0.6], [0.25, -0.45], [-0.8, -1.6],
    ]  # fmt: skip
    # two axes, an angle
    spreads = [(0.35, 0.18, 0.5), (0.25, 0.25, 0.0), (0.40, 0.15, -0.7), (0.20, 0.30, 0.3)] * 2
    weights = [0.3, 0.3, 0.25, 0.15, 0.35, 0.3, 0.2, 0.15]
    covs = []
    for long, short, angle in spreads:
        turn = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
        )
        covs.append(turn * torch.tensor([long, short], dtype=torch.float64) ** 2 @ turn.mT)
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    means = torch.tensor(centres, dtype=torch.float64)
    return GaussianMixture(
        means.to(dtype), torch.stack(covs).to(dtype), torch.tensor(weights, dtype=dtype), labels
    )


def tree(depth: int = 5, dtype: torch.dtype = torch.float32) -> GaussianMixture:
    """Two classes that grow out of one trunk: a fractal of thin Gaussians, 2^(depth+1) − 2 of them at two trees.

    Every branch is one elongated Gaussian and splits into two shorter, thinner ones. The two trees start back to back
    and their outer twigs reach past each other, so mass that matters lies in thin places.

    Args:
        depth: how often a branch splits, at least 1.
        dtype: of the mixture.

    Raises:
        ValueError: ``depth`` is not a positive integer.

    Source: the idea of a fractal toy is Karras et al. 2024, fig. 1; the shape is ours.
    """
    _checks.positive_int("depth", depth)
    means, covs, weights, labels = [], [], [], []
    for label, heading in ((0, 0.35 * math.pi), (1, 1.35 * math.pi)):
        tips = [(0.0, 0.0, heading, 0.95)]
        for level in range(depth):
            next_tips = []
            for x, y, angle, length in tips:
                along = (math.cos(angle), math.sin(angle))
                basis = torch.tensor([[along[0], -along[1]], [along[1], along[0]]], dtype=torch.float64)
                spread = torch.tensor([length / math.sqrt(12), 0.05 * length + 0.01], dtype=torch.float64)
                means.append([x + along[0] * length / 2, y + along[1] * length / 2])
                covs.append(basis * spread**2 @ basis.mT)
                weights.append(0.5**level)
                labels.append(label)
                end = (x + along[0] * length, y + along[1] * length)
                next_tips += [(*end, angle + turn, 0.68 * length) for turn in (0.55, -0.4)]
            tips = next_tips
    return GaussianMixture(
        torch.tensor(means, dtype=dtype),
        torch.stack(covs).to(dtype),
        torch.tensor(weights, dtype=dtype),
        torch.tensor(labels),
    )


def gaussian_pair(
    var_cond: float = 1.0, var_uncond: float = 2.0, dim: int = 1, dtype: torch.dtype = torch.float32
) -> Denoiser:
    """p(x | c) = N(0, var_cond I) and p(x) = N(0, var_uncond I): the pair on which guidance solves in closed form.

    The two need no common mixture, so this is a denoiser and not a :class:`~cfgtoy.GaussianMixture`: any class asks the
    first, NULL the second. Guided with γ = 1 + w its samples have, for variances 1 and 2, variance 2^{1−γ} under the
    probability-flow ODE and (2 − 2^{2−2γ})/(2γ − 1) under the SDE, while the tilted density has 2/(γ + 1).

    Args:
        var_cond, var_uncond: the two variances, positive.
        dim: dimension of a sample.
        dtype: of the computation.

    Raises:
        ValueError: a variance that is not positive, or a dimension below 1.

    Source: Bradley & Nakkiran 2024, §3.
    """
    zero = torch.zeros(1, _checks.positive_int("dim", dim), dtype=dtype)
    for name, var in (("var_cond", var_cond), ("var_uncond", var_uncond)):
        if not _checks.number(name, var) > 0:
            raise ValueError(f"{name}: got {var!r}, takes a positive variance")
    cond, uncond = GaussianMixture(zero, var_cond), GaussianMixture(zero, var_uncond)
    return pair(lambda z, logsnr, y=None: cond(z, logsnr), uncond)


GALLERY: dict[str, Callable[[], GaussianMixture]] = {
    "three Gaussians": three_gaussians,
    "ring of eight": ring,
    "two overlapping classes": overlapping,
    "tree": tree,
}
"""The labelled two-dimensional mixtures, by the name readers see."""
