"""Forward process: how noise takes the data apart."""

from __future__ import annotations

from typing import Any

import torch

from .. import process
from ..mixture import GaussianMixture
from ._exact import JS, MixtureExplorer, number, one_of

__all__ = ["ForwardExplorer"]


class ForwardExplorer(MixtureExplorer):
    """The noisy data at any log-SNR, and where a schedule spends its noise levels.

    Args:
        mixture: The data, in two dimensions; by default the three Gaussians of `cfgtoy.datasets`.
        lam: log-SNR λ in [−20, 20].
        schedule: ``"cosine"``, ``"uniform"``, ``"linear"`` (DDPM's linear β) or ``"lognormal"`` (EDM's training law).
        shift: Added to every λ of the schedule, in [−10, 10].
        alt: What the reader sees, in a sentence.

    All are synced traits.

    Raises:
        ValueError: for a value outside of these, also when a trait is set later.
    """

    module = JS / "forward.mjs"

    lam = number(1.0, -20, 20)
    schedule = one_of("cosine", ["cosine", "uniform", "linear", "lognormal"])
    shift = number(0.0, -10, 10)

    def __init__(
        self,
        *,
        mixture: GaussianMixture | None = None,
        lam: float = 1.0,
        schedule: str = "cosine",
        shift: float = 0.0,
        alt: str = "Noisy samples of a mixture at a log-SNR set by a slider, with the schedule's curves beside them.",
    ) -> None:
        super().__init__(mixture=mixture, lam=lam, schedule=schedule, shift=shift, alt=alt)

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
