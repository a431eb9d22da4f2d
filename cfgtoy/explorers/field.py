"""Guidance field: which way guidance pushes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .. import guidance
from ._exact import JS, MixtureExplorer, integer_class
from ._traits import checked, number, one_of, words

__all__ = ["FieldExplorer"]

_LAYERS = ("conditional", "unconditional", "difference", "guided")


def _check_layers(name: str, value: Any) -> list[str]:
    if (
        isinstance(value, str)
        or not isinstance(value, Sequence)
        or any(layer not in _LAYERS for layer in value)
    ):
        raise ValueError(f"{name}: got {value!r}, takes any of {', '.join(map(repr, _LAYERS))}")
    return list(value)


class FieldExplorer(MixtureExplorer):
    """Exact scores and the guided field as arrows; classes can be dragged and widened."""

    module = JS / "field.mjs"

    w = number(2.0, doc="Guidance weight, 0 for the plain conditional field.")
    lam = number(0.0, -20, 20, "log-SNR λ in [−20, 20].")
    y = checked(0, integer_class, "The class c that guidance is for.", "int")
    layers = checked(
        ("guided",),
        _check_layers,
        'Arrows to draw: any of ``"conditional"`` ∇log p(z|c), ``"unconditional"`` ∇log p(z), ``"difference"`` '
        '(of the two: the implicit classifier\'s gradient) and ``"guided"``.',
        "Sequence[str]",
    )
    density = one_of(
        "conditional",
        ["conditional", "marginal", "tilted"],
        'What the bands show: ``"conditional"`` p(z|c), ``"marginal"`` p(z) or ``"tilted"`` p(z|c) p(c|z)^w.',
    )
    alt = words(
        "Arrows of the guided score over the class densities; sliders set the weight w and the log-SNR."
    )

    def _draw(self, axes: list[Any]) -> None:
        from .. import plotting

        mix, lam, extent = self.mixture.to(dtype=torch.float32), torch.tensor(self.lam), self._extent()
        color = plotting.class_colors[self.y % len(plotting.class_colors)]
        plotting.density(
            axes[0], lambda z: mix.log_prob(z, self.lam, self.y), extent=extent, n=80, color=color
        )
        guided = guidance.classifier_free(mix, w=self.w)
        plotting.field(axes[0], lambda z: -guided(z, lam, torch.full((len(z),), self.y)).eps, extent=extent)
        plotting.label(axes[0], x="z₁", y="z₂", title=f"guided, w = {self.w:g}, λ = {self.lam:g}")
