"""Trade-off: the curve between Inception Score and Fréchet distance that w traces."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from .. import metrics
from ..mixture import GaussianMixture
from ._exact import JS, Sampled, guided
from ._traits import number, one_of, words

__all__ = ["TradeoffExplorer"]


class TradeoffExplorer(Sampled):
    """The trade-off curve over w, with the samples at one w beside it.

    ``samples`` (n, 2) and ``classes`` (n,) hold what the panel of samples shows.
    """

    _panels = 2
    module = JS / "tradeoff.mjs"

    w = number(1.0, doc="Guidance weight of the mark on the curve.")
    blur = number(
        0.0, 0, 10, "How much wider than it is (standard deviation, 0 … 10) the model believes the data."
    )
    distance = one_of(
        "class",
        ["class", "pooled"],
        'Fréchet distance of each class to its own truth, averaged (``"class"``), or of all samples to all data '
        '(``"pooled"``, as FID does).',
    )
    alt = words(
        "The curve of Inception Score against Fréchet distance as w grows, beside the samples at one w."
    )

    def _draw(self, axes: list[Any]) -> None:
        from .. import plotting

        mix = self.mixture.to(dtype=torch.float32)
        believed = GaussianMixture(mix.means, mix.covs + self.blur**2 * torch.eye(2), mix.weights, mix.labels)
        draw = partial(guided, believed, n=600, steps=min(self.steps, 24), method=self.sampler, v=self.v)
        weights = sorted({0.0, 0.5, 2.0, 4.0, min(max(self.w, -1.0), 8.0)})
        curve = [self._judge(*draw(w)) for w in weights]
        x, classes = draw(self.w)
        axes[0].plot(*zip(*curve, strict=True), marker="o", color=plotting.class_colors[0])
        axes[0].plot(*self._judge(x, classes), marker="o", markersize=9, color=plotting.class_colors[1])
        plotting.label(axes[0], x="Inception Score", y="Fréchet distance", title="w = 0 … 4")
        self._show(axes[1], x, classes, lambda z, c: mix.log_prob(z, 20.0, c), f"w = {self.w:g}")

    def _judge(self, x: torch.Tensor, classes: torch.Tensor) -> tuple[float, float]:
        """Inception Score and Fréchet distance, as the browser has them."""
        score = metrics.inception_score(self.mixture.class_log_prob(x, 20.0).exp())
        parts: list[int | None] = (
            [None] if self.distance == "pooled" else list(range(self.mixture.num_classes))
        )
        distances = [
            metrics.frechet_from_moments(
                *metrics.moments(x if c is None else x[classes == c]), *self.mixture.mean_cov(c)
            )
            for c in parts
        ]
        return score, sum(distances) / len(distances)
