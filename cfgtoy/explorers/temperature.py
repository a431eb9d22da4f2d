"""Temperature: a low temperature beside guidance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..mixture import GaussianMixture
from ._exact import JS, MixtureExplorer, guided
from ._traits import integer, number, one_of, words

__all__ = ["TemperatureExplorer"]


class TemperatureExplorer(MixtureExplorer):
    """Samples at temperature T beside samples guided with w, on the same classes.

    Source: Dhariwal & Nichol 2021, app. G, for the two routes that fail.
    """

    _panels = 2
    module = JS / "temperature.mjs"

    temperature = number(0.5, 0.05, 20, "T in [0.05, 20]; below 1 is sharper.")
    w = number(2.0, doc="Guidance weight of the guided panel.")
    route = one_of(
        "exact",
        ["exact", "score", "noise"],
        'How the samples at a temperature are made: ``"exact"`` draws from p(x|c)^(1/T); ``"score"`` samples with the '
        'score divided by T; ``"noise"`` with the sampling noise times √T. The last two do not lead there.',
    )
    seed = integer(0, 0, 2**31 - 1, "Of all random numbers.")
    alt = words("Two panels of samples: a temperature T set by one slider, a guidance weight w by the other.")

    def _draw(self, axes: list[Any]) -> None:
        classes = torch.arange(900) * self.mixture.num_classes // 900
        mix, generator = self.mixture.to(dtype=torch.float32), torch.Generator().manual_seed(0)
        logs = [
            lambda z, c: mix.log_prob(z, 20.0, c) / self.temperature,
            lambda z, c: mix.tilted_log_prob(z, 20.0, c, self.w),
        ]
        self._show(
            axes[0],
            _resampled(mix, logs[0], classes, generator),
            classes,
            logs[0],
            f"T = {self.temperature:g}",
        )
        self._show(axes[1], guided(self.mixture, self.w)[0], classes, logs[1], f"w = {self.w:g}")


def _resampled(mix: GaussianMixture, log_density: Any, classes: Tensor, generator: torch.Generator) -> Tensor:
    """Points of each class from a density known up to a constant, by weighting wide draws: (n, 2)."""
    x = mix.means.new_empty(len(classes), 2)
    for c in classes.unique().tolist():
        mean, cov = mix.mean_cov(c)
        wide = torch.distributions.MultivariateNormal(mean, 4 * cov)
        noise = torch.randn(40_000, 2, generator=generator, dtype=mean.dtype)
        draws = mean + noise @ torch.linalg.cholesky(4 * cov).mT
        weights = (log_density(draws, c) - wide.log_prob(draws)).softmax(0)
        rows = classes == c
        x[rows] = draws[torch.multinomial(weights, int(rows.sum()), replacement=True, generator=generator)]
    return x
