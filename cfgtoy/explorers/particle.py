"""Particle: one particle on its way from noise to data, with the arrows that move it."""

from __future__ import annotations

from typing import Any

import torch

from .. import guidance
from ._exact import JS, MixtureExplorer, integer_class
from ._traits import checked, flag, integer, number, words

__all__ = ["ParticleExplorer"]


class ParticleExplorer(MixtureExplorer):
    """One particle under guidance: the scores at it, its estimate of the data, and its way as λ rises."""

    module = JS / "particle.mjs"

    w = number(2.0, doc="Guidance weight, 0 for plain conditional sampling.")
    lam = number(0.0, -6, 8, "log-SNR λ in [−6, 8].")
    y = checked(0, integer_class, "The class c that guidance is for.", "int")
    z1 = number(-1.0, -20, 20, "Where the particle was put, first coordinate.")
    z2 = number(-0.5, -20, 20, "Where the particle was put, second coordinate.")
    at = number(0.0, -6, 8, "The log-SNR at which it was put there; with twins always −6.")
    seed = integer(0, 0, 2**31 - 1, "Of the noise of the SDE.")
    twins = flag(False, "Whether a twin follows the SDE from the same start.")
    alt = words("One particle with its class, unconditional and guided arrows, its estimate, and its way.")

    def _draw(self, axes: list[Any]) -> None:
        from .. import plotting

        mix, extent = self.mixture.to(dtype=torch.float32), self._extent()
        color = plotting.class_colors[self.y % len(plotting.class_colors)]
        level = -6.0 if self.twins else self.at
        plotting.density(axes[0], lambda z: mix.log_prob(z, level, self.y), extent=extent, n=80, color=color)
        z = torch.tensor([[self.z1, self.z2]])
        for w, shade in (
            (0.0, plotting.class_colors[5]),
            (-1.0, plotting.class_colors[6]),
            (self.w, plotting.INK),
        ):
            guided = guidance.classifier_free(mix, w=w)(z, torch.tensor(level), torch.tensor([self.y]))
            dx, dy = (-guided.eps[0]).tolist()
            axes[0].annotate("", (self.z1 + dx, self.z2 + dy), (self.z1, self.z2),
                             arrowprops={"arrowstyle": "->", "color": shade, "lw": 2})  # fmt: skip
        plotting.scatter(axes[0], z, size=30)
        plotting.label(axes[0], x="z₁", y="z₂", title=f"w = {self.w:g}, λ = {level:g}")
