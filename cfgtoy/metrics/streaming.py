"""Statistics of image features that arrive in batches, on one device or on several.

Moments are summed in float64 and merge exactly, so 50,000 images need no more memory than one batch; the k-nearest-
neighbour manifolds of precision and recall work in slabs, so that no n-by-n matrix is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .. import _checks
from .statistics import PrecisionRecall, frechet_from_moments

__all__ = ["Manifold", "Moments", "frechet", "precision_recall"]


class Moments:
    """Count, mean and covariance of feature vectors, gathered a batch at a time in float64.

    Args:
        dim: d, the length of a feature vector.
        device: where the sums are kept.

    Attributes:
        n: vectors so far.
        mean: (d,) float64.
        scatter: (d, d) float64, the sum of (f - mean)(f - mean)^T.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self.n = 0
        self.mean = torch.zeros(dim, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of features (n, d)."""
        return cls(features.shape[1], features.device).update(features)

    def update(self, features: Tensor) -> Moments:
        """Take in features (b, d), any floating type; returns self.

        Raises:
            ValueError: for another shape, or NaN.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"features: got shape {tuple(features.shape)}, takes (b, {len(self.mean)})")
        if len(features) == 0:
            return self
        f = features.to(self.mean)
        mean = f.mean(0)
        centred = f - mean  # (b, d)
        return self._merge(len(f), _checks.finite("features", mean), centred.T @ centred)

    def merge(self, other: Moments) -> Moments:
        """Take in what another one gathered; returns self."""
        if other.n == 0:
            return self
        return self._merge(other.n, other.mean.to(self.mean), other.scatter.to(self.scatter))

    def _merge(self, n: int, mean: Tensor, scatter: Tensor) -> Moments:
        # Chan, Golub & LeVeque 1983: the pairwise update, which cancels nothing
        total = self.n + n
        delta = mean - self.mean
        self.scatter += scatter + torch.outer(delta, delta) * (self.n * n / total)
        self.mean += delta * (n / total)
        self.n = total
        return self

    @property
    def cov(self) -> Tensor:
        """The unbiased covariance, (d, d) float64.

        Raises:
            ValueError: with fewer than two vectors.
        """
        if self.n < 2:
            raise ValueError(f"features: got {self.n} vectors, takes at least 2 for a covariance")
        return self.scatter / (self.n - 1)


def frechet(a: Moments, b: Moments) -> float:
    """Fréchet distance of the two Gaussians with these moments; see ``metrics.frechet_from_moments``.

    Raises:
        ValueError: when the lengths differ or one has fewer than two vectors.
    """
    # eigenproblems of d x d matrices: as fast on the CPU, and in float64 everywhere
    return frechet_from_moments(a.mean.cpu(), a.cov.cpu(), b.mean.cpu(), b.cov.cpu())


class Manifold:
    """The union of balls around feature vectors that each reach their k-th nearest neighbour.

    Args:
        features: (n, d), n > k.
        k: neighbours.
        chunk: rows a slab; memory is chunk × n floats.

    Raises:
        ValueError: for k < 1, too few vectors or a wrong shape.

    Source: Kynkäänniemi et al. 2019, §3 (k = 3).
    """

    def __init__(self, features: Tensor, k: int = 3, *, chunk: int = 4096) -> None:
        _checks.positive_int("k", k)
        _checks.positive_int("chunk", chunk)
        if features.ndim != 2 or len(features) <= k:
            raise ValueError(f"features: got shape {tuple(features.shape)}, takes (n, d) with n > k = {k}")
        self.chunk = chunk
        # distances need no origin, and with the mean there the expanded squares lose least
        self.origin = features.float().mean(0)
        self.features = features.float() - self.origin  # (n, d)
        # the nearest of the k + 1 is the vector itself
        self.radii2 = torch.cat(
            [d2.topk(k + 1, dim=1, largest=False).values[:, -1] for d2 in self._distances2(self.features)]
        )

    def _distances2(self, others: Tensor) -> Iterator[Tensor]:
        """Squared distances (chunk, n) from each slab of ``others`` (m, d) to every vector here, in float32."""
        norms = self.features.square().sum(1)  # (n,)
        for rows in others.split(self.chunk):
            yield torch.addmm(norms[None], rows, self.features.T, alpha=-2) + rows.square().sum(
                1, keepdim=True
            )

    def covers(self, others: Tensor) -> Tensor:
        """Whether each of ``others`` (m, d) lies in some ball: (m,) bool."""
        if others.ndim != 2 or others.shape[1] != self.features.shape[1]:
            raise ValueError(f"others: got shape {tuple(others.shape)}, takes (m, {self.features.shape[1]})")
        centred = others.float() - self.origin
        return torch.cat([(d2 <= self.radii2).any(1) for d2 in self._distances2(centred)])

    def __len__(self) -> int:
        return len(self.features)


def precision_recall(real: Manifold, generated: Tensor, *, k: int = 3) -> PrecisionRecall:
    """``metrics.precision_recall`` for a reference that is used again: its manifold is made once.

    Args:
        real: of the reference's features, with the same ``k``.
        generated: features (n, d).

    Source: Kynkäänniemi et al. 2019, eqs. 1-2.
    """
    ours = Manifold(generated, k, chunk=real.chunk)
    precision = real.covers(generated).double().mean().item()
    recall = ours.covers(real.features + real.origin).double().mean().item()
    return PrecisionRecall(precision, recall)
