"""Densities in the plane by quadrature, and divergences to a density that is known exactly."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import _checks
from .distances import Manifold

LogDensity = Callable[[Tensor], Tensor]
"""``(b, d) -> (b,)``, up to a constant where the docstring allows it."""


@dataclass(frozen=True, eq=False)
class Grid2d:
    """Midpoints (n², 2) of a square's cells, x running fastest; area of one cell, cells a side, ends of both axes."""

    points: Tensor
    cell: float
    n: int
    lo: float
    hi: float

    def image(self, values: Tensor) -> Tensor:
        """Values (n²,) as an image (n, n), rows y from low to high: matplotlib's ``origin="lower"``."""
        return values.reshape(self.n, self.n)


def grid_2d(lo: float = -4.0, hi: float = 4.0, n: int = 200, dtype: torch.dtype = torch.float32) -> Grid2d:
    """The midpoints of n × n cells over [lo, hi]². Raises ``ValueError`` unless lo < hi and n is a positive integer."""
    lo, hi = _checks.number("lo", lo), _checks.number("hi", hi)
    _checks.positive_int("n", n)
    _checks.require(lo < hi, "lo", f"{lo:g} with hi = {hi:g}", "less than hi")
    side = (hi - lo) / n
    axis = lo + side * (torch.arange(n, dtype=torch.float64) + 0.5)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return Grid2d(torch.stack([x.flatten(), y.flatten()], 1).to(dtype), side**2, n, lo, hi)


def log_normalizer(log_density: LogDensity, grid: Grid2d) -> float:
    """log ∫ exp(log_density) over the grid's square, by the midpoint rule in log space.

    Raises ``ValueError`` where the density is nowhere finite on the grid, or NaN.
    """
    value = log_density(grid.points).double().logsumexp(0).item() + math.log(grid.cell)
    got = f"a log integral of {value}"
    _checks.require(math.isfinite(value), "log_density", got, "a density with mass on the grid")
    return value


def kl_quadrature(log_p: LogDensity, log_q: LogDensity, grid: Grid2d) -> float:
    """KL(p ‖ q) in nats by quadrature; both densities may be unnormalised. Infinite where p has mass and q has none.

    Raises ``ValueError`` for a density with no mass on the grid.
    """
    p = log_p(grid.points).double() - log_normalizer(log_p, grid)
    q = log_q(grid.points).double() - log_normalizer(log_q, grid)
    terms = torch.where(p > -math.inf, p.exp() * (p - q), 0.0)
    return max(0.0, terms.sum().item() * grid.cell)


def kl_to_density(samples: Tensor, log_density: LogDensity, k: int = 5) -> float:
    """KL(samples' law ‖ density) in nats from samples alone: −Ĥ − E log density, Ĥ by the k-nearest-neighbour estimate.

    The estimate can fall slightly below zero. Raises ``ValueError`` for NaN, or ``k`` not below n.

    Args:
        samples, k: (n, d), and the neighbour; a higher k means less variance and more bias.
        log_density: *normalised* log density, (n, d) -> (n,). For a tilted density subtract :func:`log_normalizer`.

    Source: Kozachenko & Leonenko 1987.
    """
    _checks.positive_int("k", k)
    fits = _checks.finite("samples", samples).ndim == 2 and len(samples) > k
    _checks.require(fits, "samples", samples, f"(n, d) with n > k = {k}")
    n, d = samples.shape
    radii = Manifold(samples.double(), k).radii2.sqrt().clamp(min=1e-300)
    log_ball = d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1)
    psi_n, psi_k = torch.special.digamma(torch.tensor([n, k], dtype=torch.float64)).tolist()
    entropy = d * radii.log().mean().item() + log_ball + psi_n - psi_k
    return -entropy - log_density(samples).double().mean().item()
