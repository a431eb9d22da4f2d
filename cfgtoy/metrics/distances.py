"""How far apart samples are, or their features: Fréchet and energy distance, precision and recall, Inception Score.

Nothing here holds an n-by-n matrix: distances come in slabs of ``_CHUNK`` rows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .. import _checks
from .moments import Moments, samples

_CHUNK = 4096  # rows of a distance matrix held at once


def _same_length(a: int, b: int) -> None:
    _checks.require(a == b, "b", f"{b} dimensions", f"those of a, {a}")


def _probabilities(class_probs: Tensor) -> Tensor:
    off = (samples("class_probs", class_probs).sum(1) - 1).abs()
    proper = bool((class_probs >= 0).all()) and bool((off <= 1e-3).all())
    _checks.require(proper, "class_probs", "rows that are not probabilities", "(n, C) that sum to 1")
    return class_probs.double()


def inception_score(class_probs: Tensor) -> float:
    """exp E_x KL(p(y|x) ‖ p(y)) with p(y) the mean over x: between 1 and the number of classes C.

    ``class_probs`` is p(y | x) of each sample, (n, C): ``ValueError`` unless its rows sum to one.

    Source: Salimans et al. 2016, §4 (on all samples at once, not the mean over splits).
    """
    p = _probabilities(class_probs)
    marginal = p.mean(0)
    own = (p * p.clamp(min=1e-300).log()).sum(1).mean()
    return (own - torch.special.xlogy(marginal, marginal).sum()).exp().item()


def class_entropy(class_probs: Tensor) -> float:
    """E_x H(p(y | x)) in nats: 0 where every sample's class is certain, log C where nothing is known.

    Argument and errors as in :func:`inception_score`.
    """
    p = _probabilities(class_probs)
    return -torch.special.xlogy(p, p).sum(1).mean().item()


def frechet_from_moments(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^{1/2}): the squared 2-Wasserstein distance of two Gaussians.

    Means (d,), covariances (d, d), symmetric positive semi-definite. ``ValueError`` for NaN, or shapes that do not fit.

    Source: Dowson & Landau 1982; Heusel et al. 2017.
    """
    arguments = {"mean_a": mean_a, "cov_a": cov_a, "mean_b": mean_b, "cov_b": cov_b}
    # eigenproblems of d x d matrices: as fast on the CPU, and in float64 everywhere
    mean_a, cov_a, mean_b, cov_b = (_checks.finite(k, a).double().cpu() for k, a in arguments.items())
    d = mean_a.shape[-1] if mean_a.ndim else 0
    for name, value in arguments.items():
        takes = (d,) if name.startswith("mean") else (d, d)
        _checks.require(value.shape == takes, name, value, f"{takes}")
    values, basis = torch.linalg.eigh(cov_a)
    root = basis * values.clamp(min=0).sqrt() @ basis.mT
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return ((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross).clamp(min=0).item()


def frechet_distance(a: Tensor | Moments, b: Tensor | Moments) -> float:
    """Fréchet distance of Gaussians fitted to two sets of samples (or features), (n, d) and (m, d), or their moments.

    On Inception features this is FID. It is biased upwards when n or m is small. Raises ``ValueError`` for NaN, fewer
    than two samples, or dimensions that differ.

    Source: Heusel et al. 2017, eq. 6.
    """
    a = a if isinstance(a, Moments) else Moments.of(samples("a", a, least=2))
    b = b if isinstance(b, Moments) else Moments.of(samples("b", b, least=2))
    _same_length(len(a.mean), len(b.mean))
    return frechet_from_moments(a.mean, a.cov, b.mean, b.cov)


class PrecisionRecall(NamedTuple):
    """Precision: share of samples inside the reference's support. Recall: share of the reference inside theirs."""

    precision: float
    recall: float


def _squared(points: Tensor, centres: Tensor, origin: Tensor, dtype: torch.dtype | None) -> Tensor:
    """‖p − c‖², (m, n), of points (m, d) and centres (n, d).

    As ‖p‖² − 2 p·c + ‖c‖² in ``dtype``, which is quick and rounds to some eps of ‖c‖², the less the nearer the centres
    lie to the origin (d,). Without a ``dtype`` by differences: right for points as near as they come, ten times slower.
    """
    if dtype is None:
        mode = "donot_use_mm_for_euclid_dist"
        return torch.cdist(points.to(centres), centres, compute_mode=mode).square_()
    p, c = (x.to(dtype) - origin.to(dtype) for x in (points, centres))
    return torch.addmm(c.square().sum(1), p, c.T, alpha=-2).add_(p.square().sum(1, keepdim=True))


class Manifold:
    """The union of balls around samples or features that each reach their k-th nearest neighbour.

    Distances of features are products of matrices. Balls so small that rounding would show in them, as in tight
    clusters far apart, are measured again in float64, and by differences where that is not enough.

    Args:
        features, k: (n, d), and the neighbour that balls reach, below n.
        chunk: rows a slab; memory is chunk × n floats.

    Attributes:
        radii2: squared radius of each ball, (n,).

    Raises:
        ValueError: for k < 1, too few vectors, a wrong shape, or NaN.

    Source: Kynkäänniemi et al. 2019, §3 (k = 3).
    """

    def __init__(self, features: Tensor, k: int = 3, *, chunk: int = _CHUNK) -> None:
        _checks.positive_int("k", k)
        _checks.positive_int("chunk", chunk)
        fits = _checks.finite("features", features).ndim == 2 and len(features) > k
        _checks.require(fits, "features", features, f"(n, d) with n > k = {k}")
        f = features if features.dtype == torch.float64 else features.float()
        self.features, self.k, self.chunk = f, k, chunk
        self.origin = f.mean(0)  # (d,)
        self.radii2 = f.new_empty(len(f), dtype=torch.float64)
        self._parts: list[tuple[torch.dtype | None, Tensor]] = []  # how balls were measured, and which ones
        norms = (f - self.origin).square().sum(1)  # (n,)
        left = torch.arange(len(f), device=f.device)
        # for short vectors differences are as quick
        products = dict.fromkeys((f.dtype, torch.float64)) if f.shape[1] > 16 else ()
        for dtype in (*products, None):
            slabs = (_squared(rows, f, self.origin, dtype) for rows in f[left].split(chunk))
            # the nearest of the k + 1 is the vector itself
            nearest = [slab.topk(k + 1, largest=False).values[:, -1] for slab in slabs]
            self.radii2[left] = torch.cat(nearest).double()
            # kept where rounding is at most a few 1e-4 of the squared radius
            least = 1e4 * torch.finfo(dtype).eps * norms[left] if dtype else -1.0
            good = self.radii2[left] > least
            self._parts.append((dtype, left[good]))
            left = left[~good]
            if len(left) == 0:
                break

    def covers(self, others: Tensor) -> Tensor:
        """Whether each of ``others`` (m, d) lies in some ball: (m,) bool."""
        d = self.features.shape[1]
        _checks.require(others.ndim == 2 and others.shape[1] == d, "others", others, f"(m, {d})")
        covered = torch.zeros(len(others), dtype=torch.bool, device=others.device)
        for dtype, balls in self._parts:
            centres, radii2 = self.features[balls], self.radii2[balls]
            for rows in (~covered).nonzero()[:, 0].split(self.chunk):
                d2 = _squared(others[rows], centres, self.origin, dtype)
                covered[rows] = (d2 <= radii2.to(d2)).any(1)
        return covered

    def __len__(self) -> int:
        return len(self.features)


def precision_recall(a: Tensor | Manifold, b: Tensor, k: int = 3) -> PrecisionRecall:
    """Precision and recall of samples ``b`` against the reference ``a``, by balls to the k-th nearest neighbour.

    Args:
        a: reference samples or features, (n, d); or their manifold with the same ``k``, where they are used again.
        b, k: generated samples or features, (m, d), and the neighbour; ``ValueError`` unless it is below n and m.

    Source: Kynkäänniemi et al. 2019, eqs. 1–2.
    """
    _checks.positive_int("k", k)
    real = a.features if isinstance(a, Manifold) else samples("a", a)
    samples("b", b)
    _same_length(real.shape[1], b.shape[1])
    got = f"{k} with {len(real)} and {len(b)} samples"
    _checks.require(k < min(len(real), len(b)), "k", got, "less than either")
    reference = a if isinstance(a, Manifold) else Manifold(a, k)
    _checks.require(reference.k == k, "k", f"{k} with a manifold of k = {reference.k}", "the same")
    generated = Manifold(b, k, chunk=reference.chunk)
    precision, recall = reference.covers(b), generated.covers(real)
    return PrecisionRecall(precision.double().mean().item(), recall.double().mean().item())


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ ≥ 0, over all pairs of the samples (n, d) and (m, d).

    Zero exactly where the two sets are the same. In the units of the samples, not squared. Raises ``ValueError`` for
    NaN, or dimensions that differ. Source: Székely & Rizzo 2013, eq. 6.1.
    """
    a, b = samples("a", a).double(), samples("b", b).double()
    _same_length(a.shape[1], b.shape[1])
    a, b = a - a.mean(0), b - a.mean(0)  # for the product form, which long vectors get
    mode = f"{'donot_' if a.shape[1] <= 64 else ''}use_mm_for_euclid_dist"

    def mean_gap(s: Tensor, t: Tensor) -> Tensor:
        total = torch.stack([torch.cdist(p, t, compute_mode=mode).sum() for p in s.split(_CHUNK)]).sum()
        return total / (len(s) * len(t))

    return max(0.0, (2 * mean_gap(a, b) - mean_gap(a, a) - mean_gap(b, b)).item())
