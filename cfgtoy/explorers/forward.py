"""Forward process: how noise takes the data apart."""

from __future__ import annotations

from typing import Any

import torch

from .. import process
from ._exact import JS, MixtureExplorer
from ._traits import number, one_of, words

__all__ = ["ForwardExplorer"]


class ForwardExplorer(MixtureExplorer):
    """The noisy data at any log-SNR, and where a schedule spends its noise levels."""

    module = JS / "forward.mjs"

    lam = number(1.0, -20, 20, "log-SNR λ in [−20, 20].")
    schedule = one_of(
        "cosine",
        ["cosine", "uniform", "linear", "lognormal"],
        '``"cosine"``, ``"uniform"``, ``"linear"`` (DDPM\'s linear β) or ``"lognormal"`` (EDM\'s training law).',
    )
    shift = number(0.0, -10, 10, "Added to every λ of the schedule, in [−10, 10].")
    alt = words(
        "Noisy samples of a mixture at a log-SNR set by a slider, with the schedule's curves beside them."
    )

    def _draw(self, axes: list[Any]) -> None:
        from .. import plotting

        generator = torch.Generator().manual_seed(0)
        x, classes = self.mixture.to(dtype=torch.float32).sample_labeled(1500, generator)
        z = process.diffuse(x, self.lam, generator=generator)
        plotting.density(
            axes[0],
            lambda p: self.mixture.log_prob(p, self.lam),
            extent=self._extent(),
            n=80,
            color=plotting.INK,
        )
        plotting.scatter(axes[0], z, classes, size=3)
        plotting.label(axes[0], x="z₁", y="z₂", title=f"λ = {self.lam:g}")
