"""Trade-off: the curve between Inception Score and Fréchet distance that w traces."""

from __future__ import annotations

from ..mixture import GaussianMixture
from ._exact import JS, Sampled, integer, number, one_of

__all__ = ["TradeoffExplorer"]


class TradeoffExplorer(Sampled):
    """The trade-off curve over w, with the samples at one w beside it.

    Args:
        mixture: The data, in two dimensions; by default the three Gaussians of `cfgtoy.datasets`.
        w: Guidance weight of the mark on the curve.
        blur: By how much too wide (standard deviation, 0 … 10) the model believes every component to be; 0 is exact.
        v: Of the ancestral sampler, in [0, 1].
        steps: T, 2 … 512.
        sampler: ``"ancestral"``, ``"ddim"`` or ``"heun"``.
        seed: Of all random numbers.
        distance: Fréchet distance of each class to its own truth, averaged (``"class"``), or of all samples to all data
            (``"pooled"``, as FID does).
        alt: What the reader sees, in a sentence.

    All are synced traits. ``samples`` (n, 2) and ``classes`` (n,) hold what the right panel shows.

    Raises:
        ValueError: for a value outside of these, also when a trait is set later.
    """

    module = JS / "tradeoff.mjs"

    w = number(1.0)
    blur = number(0.0, 0, 10)
    v = number(0.3, 0, 1)
    steps = integer(64, 2, 512)
    sampler = one_of("ancestral", ["ancestral", "ddim", "heun"])
    seed = integer(0, 0, 2**31 - 1)
    distance = one_of("class", ["class", "pooled"])

    def __init__(
        self,
        *,
        mixture: GaussianMixture | None = None,
        w: float = 1.0,
        blur: float = 0.0,
        v: float = 0.3,
        steps: int = 64,
        sampler: str = "ancestral",
        seed: int = 0,
        distance: str = "class",
        alt: str = "The curve of Inception Score against Fréchet distance as w grows, beside the samples at one w.",
    ) -> None:
        super().__init__(
            mixture=mixture, w=w, blur=blur, v=v, steps=steps, sampler=sampler, seed=seed, distance=distance, alt=alt
        )  # fmt: skip
