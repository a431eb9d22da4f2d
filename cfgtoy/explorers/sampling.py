"""Sampling: particles from noise to data under guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _checks
from ._exact import JS, Sampled, _check_class, guided
from ._traits import checked, integer, number, one_of, words

__all__ = ["SamplingExplorer"]


def _check_interval(name: str, value: Any) -> list[float] | None:
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise ValueError(f"{name}: got {value!r}, takes None or two log-SNRs (lo, hi)")
    lo, hi = (_checks.number(name, end) for end in value)
    if lo > hi:
        raise ValueError(f"{name}: got {value!r}, takes lo ≤ hi")
    return [lo, hi]


class SamplingExplorer(Sampled):
    """Thousands of particles on their way from noise to data, against the class densities and the tilted target.

    ``samples`` (n, 2) and ``classes`` (n,) hold the end of the run; both can be observed.
    """

    module = JS / "sampling.mjs"

    w = number(2.0, doc="Guidance weight, 0 for plain conditional sampling.")
    n = integer(4000, 10, 20000, "Particles, 10 … 20000.")
    y = checked(None, _check_class, "One class, or None for all.", "int | None")
    interval = checked(
        None,
        _check_interval,
        "Guide only where lo ≤ λ ≤ hi; None guides everywhere.",
        "tuple[float, float] | None",
    )
    density = one_of(
        "tilted",
        ["tilted", "true"],
        'What the bands show: ``"tilted"`` p(z|c) p(c|z)^w or ``"true"`` p(z|c). The other is dashed.',
    )
    alt = words(
        "Guided samples of each class over the tilted density, with play, w, v and the steps under sliders."
    )

    def _draw(self, axes: list[Any]) -> None:
        x, classes = guided(self.mixture, self.w, y=self.y, steps=self.steps, method=self.sampler, v=self.v)
        self._show(
            axes[0],
            x,
            classes,
            lambda z, c: self.mixture.tilted_log_prob(z, 20.0, c, self.w),
            f"w = {self.w:g}",
        )
