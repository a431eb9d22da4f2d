"""What the tests share: random mixtures, seeds, and settings that make a run repeat itself."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from hypothesis import settings
from torch import Generator, Tensor

from cfgtoy import GaussianMixture

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)

settings.register_profile("cfgtoy", deadline=None, max_examples=25, derandomize=True, database=None)
settings.load_profile("cfgtoy")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def generator() -> Generator:
    """A fresh generator of one seed."""
    return Generator().manual_seed(1)


def _random_mixture(
    k: int = 6,
    dim: int = 2,
    classes: int = 3,
    covariance: str = "full",
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    spread: float = 1.0,
) -> GaussianMixture:
    g = Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    means = spread * torch.randn(k, dim, generator=g, dtype=torch.float64)
    if covariance == "full":
        factor = 0.4 * torch.randn(k, dim, dim, generator=g, dtype=torch.float64)
        covs = factor @ factor.mT + 0.05 * torch.eye(dim, dtype=torch.float64)
    elif covariance == "diag":
        covs = 0.05 + rand(k, dim)
    else:
        covs = 0.05 + rand(k)
    labels = torch.arange(k) % classes
    return GaussianMixture(means.to(dtype), covs.to(dtype), (0.2 + rand(k)).to(dtype), labels)


@pytest.fixture
def random_mixture() -> Callable[..., GaussianMixture]:
    """Make a random labelled mixture: ``(k, dim, classes, covariance, dtype, seed, spread)``."""
    return _random_mixture
