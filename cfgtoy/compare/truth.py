"""What is known of a problem's data: densities, exact samples, regions, modes. Of images, real ones alone."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

from ..metrics import Manifold
from ..metrics.extractors import Extractor
from ..mixture import GaussianMixture

CLEAN = 30.0  # a log-SNR so high that no noise is left, and a mixture's density is that of the data
DRAWS = 50_000  # exact samples behind a region or an integral
REAL = 1000  # exact samples behind precision and recall


@dataclass(eq=False)
class Truth:
    """Densities of data that is known exactly: a mixture, alone or in a plane of a space of many dimensions.

    Args:
        mixture: p(x | c) for each class.
        marginal: p(x), where it is not the mixture's own: so for the Gaussian pair, whose two densities have no common
            mixture, and then nothing has a class probability.
        plane: orthonormal directions (d, k) in which the mixture lies; the whole space when absent.
        std: standard deviation across that plane.
    """

    mixture: GaussianMixture
    marginal: GaussianMixture | None = None
    plane: Tensor | None = None
    std: float = 1.0

    def __post_init__(self) -> None:
        self.dim = self.mixture.dim if self.plane is None else len(self.plane)
        # One value a class is asked for again and again.
        self.threshold = lru_cache(None)(self._threshold)
        self.log_normalizer = lru_cache(None)(self._log_normalizer)
        self.manifold = lru_cache(None)(self._manifold)

    def seen(self, x: Tensor) -> Tensor:
        """The coordinates that the classes differ in, (b, k): those of the plane, or x itself."""
        return x if self.plane is None else x @ self.plane

    def log_prob(self, seen: Tensor, y: int | None) -> Tensor:
        """log p(x | y) of coordinates that are :meth:`seen`, or log p(x) where y is None, (b,)."""
        mixture = self.marginal if y is None and self.marginal is not None else self.mixture
        return mixture.log_prob(seen, CLEAN, y)

    def log_tilt(self, seen: Tensor, y: int) -> Tensor:
        """log p(x | y) − log p(x), (b,): log p(y | x) up to a constant."""
        return self.log_prob(seen, y) - self.log_prob(seen, None)

    def tilted_log_prob(self, seen: Tensor, y: int, w: float) -> Tensor:
        """log of the tilted density p(x | y) (p(x | y) / p(x))^w / Z, normalised, (b,).

        Z is the mean of (p(x | y) / p(x))^w over 50,000 exact samples of the class. For w ≥ 0 the terms are bounded,
        and log Z is right to about 0.01 nats.

        Source: Ho & Salimans 2022, §3.1.
        """
        return self.log_prob(seen, y) + w * self.log_tilt(seen, y) - self.log_normalizer(y, w)

    def class_prob(self, seen: Tensor, y: int) -> Tensor | None:
        """p(y | x), (b,)."""
        return None if self.marginal is not None else self.mixture.class_log_prob(seen, CLEAN)[:, y].exp()

    def outside(self, x: Tensor, y: int) -> Tensor:
        """Whether a sample lies outside the region of highest density that holds 99 % of the class, (b,) bool."""
        return self._full_log_prob(x, y) < self.threshold(y)

    def sample(self, n: int, y: int, generator: Generator | None = None) -> Tensor:
        """Exact samples of the class, (n, d)."""
        seen = self.mixture.sample(n, y, generator)
        if self.plane is None:
            return seen
        rest = self.std * torch.randn(n, self.dim, generator=generator, dtype=seen.dtype)
        return rest + (seen - rest @ self.plane) @ self.plane.mT

    def variance(self, y: int) -> float:
        """The trace of the covariance of p(x | y), over d."""
        across = self.std**2 * (self.dim - self.mixture.dim)
        return (self.mixture.mean_cov(y)[1].trace().item() + across) / self.dim

    def _full_log_prob(self, x: Tensor, y: int) -> Tensor:
        """log p(x | y) up to a constant, (b,), what lies off the plane included."""
        seen = self.seen(x)
        inside = self.log_prob(seen, y)
        if self.plane is None:
            return inside
        return inside - 0.5 * (x - seen @ self.plane.mT).square().sum(1) / self.std**2

    def _threshold(self, y: int) -> float:
        # A tenth is enough where samples are long.
        n = DRAWS if self.plane is None else DRAWS // 10
        x = self.sample(n, y, torch.Generator().manual_seed(1))
        return torch.quantile(self._full_log_prob(x, y), 0.01).item()

    def _log_normalizer(self, y: int, w: float) -> float:
        x = self.mixture.sample(DRAWS, y, torch.Generator().manual_seed(2))
        return (w * self.log_tilt(x, y).double()).logsumexp(0).item() - math.log(DRAWS)

    def _manifold(self, y: int) -> Manifold:
        return Manifold(self.mixture.sample(REAL, y, torch.Generator().manual_seed(3)))


@dataclass(frozen=True)
class ImageTruth:
    """Real images in the features of a classifier, where no density is known."""

    extractor: Extractor
    features: Tensor  # of real images, (n, f)
    labels: Tensor  # their classes, (n,)
