"""What a rule did to the samples, as numbers, beside a truth that is known."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from .. import metrics
from ..mixture import GaussianMixture
from ..prediction import Denoiser, Prediction
from ..process import diffuse
from .problems import Problem
from .truth import CLEAN, ImageTruth, Truth

MEASURES = {
    "kl_class": "KL(samples ‖ p(x | c)), nats",
    "kl_tilted": "KL(samples ‖ tilted density), nats",
    "outside": "share outside the class's 99 % region",
    "class_probability": "mean p(c | x)",
    "modes": "share of the class's modes that are found",
    "covariance_ratio": "trace of the samples' covariance, over the true one",
    "precision": "share of samples among true ones",
    "recall": "share of true samples among these",
    "frechet": "Fréchet distance of features to real images",
    "curl": "antisymmetric part of the guided field's Jacobian, rms",
    "evaluations": "samples put through the model, or a worse one beside it, per sample drawn",
}
"""Every measure, with what it says. What a problem cannot tell is None."""


class Counted:
    """A denoiser that counts the samples it is asked about, for ``also`` where given; a doubled batch counts twice."""

    def __init__(self, denoiser: Denoiser, also: Counted | None = None) -> None:
        self.denoiser, self.also, self.count = denoiser, also, 0

    def __getattr__(self, name: str) -> object:
        if name in ("denoiser", "also"):
            raise AttributeError(name)
        return getattr(self.denoiser, name)

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        (self.also or self).count += len(z)
        return self.denoiser(z, logsnr, y)


def measure(problem: Problem, x: Tensor, y: Tensor, w: float) -> dict[str, float | None]:
    """The measures that samples alone can tell, each the mean over the classes in ``y``.

    The two divergences are estimated by distances to the fifth neighbour (``metrics.kl_to_density``). That has a
    floor: at w = 0 on exact models the board read 0.01 to 0.05 nats, and 0.08 on the thin shapes of the tree.
    In many dimensions the divergence is that in the plane where the classes differ: it bounds the whole one from below.

    Args:
        x, y: samples, (n, \\*d), finite, and their classes, (n,).
        w: the weight, for the tilted density.
    """
    if isinstance(problem.truth, ImageTruth):
        return _of_images(problem.truth, x, y)
    each = [_of_class(problem.truth, x[y == c], int(c), w) for c in y.unique()]
    columns: dict[str, list[Any]] = {name: [one[name] for one in each] for name in each[0]}
    return {name: None if None in values else fmean(values) for name, values in columns.items()}


def _of_class(truth: Truth, x: Tensor, c: int, w: float) -> dict[str, float | None]:
    seen = truth.seen(x)
    probability, manifold = truth.class_prob(seen, c), truth.manifold(c)
    # One estimate of the samples' entropy serves both divergences.
    kl = metrics.kl_to_density(seen, lambda at: truth.log_prob(at, c))
    apart = (truth.log_prob(seen, c) - truth.tilted_log_prob(seen, c, w)).double().mean().item()
    precision, recall = metrics.precision_recall(manifold, seen[: len(manifold)])
    return {
        "kl_class": kl,
        "kl_tilted": kl + apart,
        "outside": truth.outside(x, c).double().mean().item(),
        "class_probability": None if probability is None else probability.double().mean().item(),
        "modes": _modes(truth, seen, c),
        "covariance_ratio": x.double().var(0).mean().item() / truth.variance(c),
        "precision": precision,
        "recall": recall,
    }


def _modes(truth: Truth, seen: Tensor, c: int) -> float:
    """The share of the class's components that get at least a tenth of the samples due to them."""
    mixture, own = truth.mixture, truth.mixture.labels == c
    parts = GaussianMixture(mixture.means[own], mixture.covs[own], mixture.weights[own])
    counts = parts.class_log_prob(seen, CLEAN).argmax(1).bincount(minlength=parts.num_components)
    return (counts >= 0.1 * parts.weights * len(seen)).double().mean().item()


def _of_images(truth: ImageTruth, x: Tensor, y: Tensor) -> dict[str, float | None]:
    found = zip(*(truth.extractor(part) for part in x.clamp(-1, 1).split(500)), strict=True)
    features, probabilities = (torch.cat(parts).cpu() for parts in found)
    real = truth.features[torch.isin(truth.labels, y.cpu())]
    precision, recall = metrics.precision_recall(real[:: max(1, len(real) // 2000)], features)
    own = probabilities.gather(1, y.cpu()[:, None])[:, 0]
    trace = [metrics.moments(one)[1].trace().item() for one in (features, real)]
    return {
        "class_probability": own.double().mean().item(),
        "covariance_ratio": trace[0] / trace[1],
        "precision": precision,
        "recall": recall,
        "frechet": metrics.frechet_distance(features, real),
    }


def curl_of(problem: Problem, guided: Denoiser, grid: Tensor, points: int = 64) -> float | None:
    """Root mean square of ‖½(J − Jᵀ)‖ of the guided ε̃ at noisy samples of the class, at the level nearest to λ = 0.

    From all entries up to eight dimensions, from random probes above. Zero, up to rounding, for a field that has a
    potential. None for images, and where autograd cannot pass through the rule.
    """
    if isinstance(problem.truth, ImageTruth):
        return None
    level = grid[grid.abs().argmin()]
    generator, c = torch.Generator().manual_seed(4), problem.classes[0]
    z = diffuse(problem.truth.sample(points, c, generator), level, generator=generator)
    y = torch.full((points,), c)
    try:
        if z.shape[1] > 8:
            norms = metrics.curl_norm(guided, z, level, y, probes=2, generator=generator)[0]
        else:
            norms = metrics.curl(guided, z, level, y).flatten(1).norm(dim=1)
    except RuntimeError:
        return None
    value = norms.square().mean().sqrt().item()
    return value if value == value else None
