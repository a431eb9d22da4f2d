"""Statistics of samples: Inception Score, Fréchet distance, precision and recall, energy distance."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .. import _checks

__all__ = [
    "PrecisionRecall",
    "class_entropy",
    "energy_distance",
    "frechet_distance",
    "frechet_from_moments",
    "inception_score",
    "moments",
    "precision_recall",
]

_CHUNK = 4096  # rows of a distance matrix held at once
_SHORT = 64  # dimensions up to which distances are formed from differences
_DIFFERENCES, _PRODUCTS = "donot_use_mm_for_euclid_dist", "use_mm_for_euclid_dist_if_necessary"


def _samples(name: str, a: Tensor, least: int = 1) -> Tensor:
    _checks.finite(name, a)
    if a.ndim != 2 or len(a) < least:
        raise ValueError(f"{name}: got shape {tuple(a.shape)}, takes (n, d) with n of at least {least}")
    return a


def _two_samples(a: Tensor, b: Tensor, names: tuple[str, str], least: int = 1) -> None:
    _samples(names[0], a, least)
    _samples(names[1], b, least)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{names[1]}: got {b.shape[1]} dimensions, takes those of {names[0]}, {a.shape[1]}")


def _probabilities(class_probs: Tensor) -> Tensor:
    _samples("class_probs", class_probs)
    if bool((class_probs < 0).any()) or not torch.allclose(
        class_probs.sum(1), class_probs.new_ones(()), rtol=0, atol=1e-3
    ):
        raise ValueError("class_probs: got rows that are not probabilities, takes (n, C) that sum to 1")
    return class_probs.double()


def inception_score(class_probs: Tensor) -> float:
    """exp E_x KL(p(y|x) ‖ p(y)) with p(y) the mean over x: between 1 and the number of classes C.

    Args:
        class_probs: p(y | x) of each sample, (n, C), rows that sum to one.

    Raises:
        ValueError: rows that are not probabilities.

    Source: Salimans et al. 2016, §4 (on all samples at once, not the mean over splits).
    """
    p = _probabilities(class_probs)
    marginal = p.mean(0)
    return (
        ((p * p.clamp(min=1e-300).log()).sum(1).mean() - torch.special.xlogy(marginal, marginal).sum())
        .exp()
        .item()
    )


def class_entropy(class_probs: Tensor) -> float:
    """E_x H(p(y | x)) in nats: 0 where every sample's class is certain, log C where nothing is known.

    Raises:
        ValueError: rows that are not probabilities.
    """
    p = _probabilities(class_probs)
    return -torch.special.xlogy(p, p).sum(1).mean().item()


def moments(a: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and unbiased covariance (d, d) of samples (n, d), in float64.

    Raises:
        ValueError: fewer than two samples, or NaN.
    """
    a = _samples("a", a, least=2).double()
    mean = a.mean(0)
    centred = a - mean
    return mean, centred.mT @ centred / (len(a) - 1)


def frechet_from_moments(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^{1/2}): the squared 2-Wasserstein distance of two Gaussians.

    Args:
        mean_a, mean_b: (d,).
        cov_a, cov_b: (d, d), symmetric positive semi-definite.

    Raises:
        ValueError: NaN, or shapes that do not fit.

    Source: Dowson & Landau 1982; Heusel et al. 2017.
    """
    arguments = {"mean_a": mean_a, "cov_a": cov_a, "mean_b": mean_b, "cov_b": cov_b}
    mean_a, cov_a, mean_b, cov_b = (_checks.finite(k, a).double() for k, a in arguments.items())
    d = mean_a.shape[-1] if mean_a.ndim else 0
    for name, value in arguments.items():
        takes = (d,) if name.startswith("mean") else (d, d)
        if tuple(value.shape) != takes:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, takes {takes}")
    values, basis = torch.linalg.eigh(cov_a)
    root = basis * values.clamp(min=0).sqrt() @ basis.mT
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return ((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross).clamp(min=0).item()


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of Gaussians fitted to two sets of samples (or features), (n, d) and (m, d).

    On Inception features this is FID. It is biased upwards when n or m is small.

    Raises:
        ValueError: NaN, fewer than two samples, or dimensions that differ.

    Source: Heusel et al. 2017, eq. 6.
    """
    _two_samples(a, b, ("a", "b"), least=2)
    return frechet_from_moments(*moments(a), *moments(b))


class PrecisionRecall(NamedTuple):
    """Precision: share of samples inside the reference's support. Recall: share of the reference inside theirs."""

    precision: float
    recall: float


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_i − b_j‖, (n, m). The quicker product form cancels for near points, so only long features get it."""
    return torch.cdist(a, b, compute_mode=_DIFFERENCES if a.shape[1] <= _SHORT else _PRODUCTS)


def _radii(a: Tensor, k: int) -> Tensor:
    """Distance of each row to its k-th nearest other row, (n,)."""
    nearest = [
        _distances(part, a).topk(k + 1, largest=False).values for part in a.split(_CHUNK)
    ]  # itself first
    return torch.cat(nearest)[:, k]


def _covered(points: Tensor, centres: Tensor, radii: Tensor) -> float:
    """Share of ``points`` that lie in at least one ball."""
    inside = [(_distances(part, centres) <= radii).any(1) for part in points.split(_CHUNK)]
    return torch.cat(inside).double().mean().item()


def precision_recall(a: Tensor, b: Tensor, k: int = 3) -> PrecisionRecall:
    """Precision and recall of samples ``b`` against the reference ``a``, by balls to the k-th nearest neighbour.

    Args:
        a: reference samples or features, (n, d).
        b: generated samples or features, (m, d).
        k: neighbour that sets each ball's radius, below n and m.

    Raises:
        ValueError: NaN, dimensions that differ, or ``k`` too large.

    Source: Kynkäänniemi et al. 2019, eqs. 1–2.
    """
    _checks.positive_int("k", k)
    _two_samples(a, b, ("a", "b"))
    if k >= min(len(a), len(b)):
        raise ValueError(f"k: got {k} with {len(a)} and {len(b)} samples, takes less than either")
    return PrecisionRecall(_covered(b, a, _radii(a, k)), _covered(a, b, _radii(b, k)))


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ ≥ 0, over all pairs of the samples (n, d) and (m, d).

    Zero exactly where the two sets are the same. In the units of the samples, not squared.

    Raises:
        ValueError: NaN, or dimensions that differ.

    Source: Székely & Rizzo 2013, eq. 6.1.
    """
    _two_samples(a, b, ("a", "b"))
    a, b = a.double(), b.double()

    def mean_gap(s: Tensor, t: Tensor) -> Tensor:
        total = torch.stack([_distances(part, t).sum() for part in s.split(_CHUNK)]).sum()
        return total / (len(s) * len(t))

    return max(0.0, (2 * mean_gap(a, b) - mean_gap(a, a) - mean_gap(b, b)).item())
