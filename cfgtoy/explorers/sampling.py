"""Sampling: particles from noise to data under guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _checks
from ..mixture import GaussianMixture
from ._exact import JS, Sampled, _check_class, checked, integer, number, one_of

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

    Args:
        mixture: The data, in two dimensions; by default the three Gaussians of `cfgtoy.datasets`.
        w: Guidance weight, 0 for plain conditional sampling.
        v: Of the ancestral sampler, in [0, 1]: its variance between the lower and the upper bound, in log space.
        steps: T, 2 … 512 noise levels, evenly spaced in λ from −20 to 20.
        sampler: ``"ancestral"``, ``"ddim"`` or ``"heun"``.
        seed: Of all random numbers; the same seed meets every other setting.
        n: Particles, 10 … 20000.
        y: One class, or None for all.
        interval: Guide only where lo ≤ λ ≤ hi; None guides everywhere.
        density: What the bands show: ``"tilted"`` p(z|c) p(c|z)^w or ``"true"`` p(z|c). The other is dashed.
        alt: What the reader sees, in a sentence.

    All are synced traits. ``samples`` (n, 2) and ``classes`` (n,) hold the end of the run; both can be observed.

    Raises:
        ValueError: for a value outside of these, also when a trait is set later.
    """

    module = JS / "sampling.mjs"

    w = number(2.0)
    v = number(0.3, 0, 1)
    steps = integer(64, 2, 512)
    sampler = one_of("ancestral", ["ancestral", "ddim", "heun"])
    seed = integer(0, 0, 2**31 - 1)
    n = integer(4000, 10, 20000)
    y = checked(None, _check_class)
    interval = checked(None, _check_interval)
    density = one_of("tilted", ["tilted", "true"])

    def __init__(
        self,
        *,
        mixture: GaussianMixture | None = None,
        w: float = 2.0,
        v: float = 0.3,
        steps: int = 64,
        sampler: str = "ancestral",
        seed: int = 0,
        n: int = 4000,
        y: int | None = None,
        interval: tuple[float, float] | None = None,
        density: str = "tilted",
        alt: str = "Guided samples of each class over the tilted density, with play, w, v and the steps under sliders.",
    ) -> None:
        super().__init__(
            mixture=mixture, w=w, v=v, steps=steps, sampler=sampler, seed=seed, n=n, y=y,
            interval=interval, density=density, alt=alt,
        )  # fmt: skip

    def _draw(self, axes: list[Any]) -> None:
        x, classes = self._guided(self.w, y=self.y, steps=self.steps, method=self.sampler, v=self.v)
        self._show(
            axes[0],
            x,
            classes,
            lambda z, c: self.mixture.tilted_log_prob(z, 20.0, c, self.w),
            f"w = {self.w:g}",
        )
