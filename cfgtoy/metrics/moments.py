"""Mean and covariance of samples or features, gathered a batch at a time, on one device or on several."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _checks


class Moments:
    """Count, mean and covariance of vectors, gathered a batch at a time in float64.

    Batches merge exactly, so 50,000 images need no more memory than one batch, and several devices give one answer.

    Args:
        dim, device: d, the length of a vector, and where the sums are kept.

    Attributes:
        n, mean, scatter: vectors so far; (d,) float64; (d, d) float64, the sum of (f − mean)(f − mean)ᵀ.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self.n = 0
        self.mean = torch.zeros(dim, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of features (n, d)."""
        return cls(features.shape[-1], features.device).update(features)

    @classmethod
    def from_parts(cls, n: int, mean: Tensor, scatter: Tensor) -> Moments:
        """Moments that were written to a file or sent by another process; they stay on the device of ``mean``.

        Raises ``ValueError`` for n < 0, NaN, or shapes other than (d,) and (d, d).
        """
        _checks.require(_checks.finite("mean", mean).ndim == 1, "mean", mean, "(d,)")
        fits = _checks.finite("scatter", scatter).shape == 2 * mean.shape
        _checks.require(fits, "scatter", scatter, f"{2 * tuple(mean.shape)}")
        made = cls(0, mean.device)
        made.n, made.mean = _checks.positive_int("n", n, least=0), mean.to(torch.float64, copy=True)
        made.scatter = scatter.to(made.mean, copy=True)
        return made

    def update(self, features: Tensor) -> Moments:
        """Take in features (b, d), any floating type; returns self. ``ValueError`` for another shape, or NaN."""
        fits = features.ndim == 2 and features.shape[1] == len(self.mean)
        _checks.require(fits, "features", features, f"(b, {len(self.mean)})")
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
        """The unbiased covariance, (d, d) float64. Raises ``ValueError`` with fewer than two vectors."""
        _checks.require(self.n >= 2, "features", f"{self.n} vectors", "at least 2 for a covariance")
        return self.scatter / (self.n - 1)


def moments(a: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and unbiased covariance (d, d) of samples (n, d), float64. ``ValueError`` for NaN or n < 2."""
    found = Moments.of(samples("a", a, least=2))
    return found.mean, found.cov


def samples(name: str, a: Tensor, least: int = 1) -> Tensor:
    """Return ``a`` if it is (n, d) with n of at least ``least``, and finite."""
    fits = _checks.finite(name, a).ndim == 2 and len(a) >= least
    _checks.require(fits, name, a, f"(n, d) with n of at least {least}")
    return a
