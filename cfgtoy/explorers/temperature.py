"""Temperature: a low temperature beside guidance."""

from __future__ import annotations

from ..mixture import GaussianMixture
from ._exact import JS, MixtureExplorer, integer, number, one_of

__all__ = ["TemperatureExplorer"]


class TemperatureExplorer(MixtureExplorer):
    """Samples at temperature T beside samples guided with w, on the same classes.

    Args:
        mixture: The data, in two dimensions; by default the three Gaussians of `cfgtoy.datasets`.
        temperature: T in [0.05, 20]; below 1 is sharper.
        w: Guidance weight of the right panel.
        route: How the left panel's samples are made: ``"exact"`` draws from p(x|c)^(1/T); ``"score"`` samples with the
            score divided by T; ``"noise"`` with the sampling noise times √T. The last two do not lead there.
        seed: Of all random numbers.
        alt: What the reader sees, in a sentence.

    All are synced traits.

    Raises:
        ValueError: for a value outside of these, also when a trait is set later.

    Source: Dhariwal & Nichol 2021, app. G, for the two routes that fail.
    """

    module = JS / "temperature.mjs"

    temperature = number(0.5, 0.05, 20)
    w = number(2.0)
    route = one_of("exact", ["exact", "score", "noise"])
    seed = integer(0, 0, 2**31 - 1)

    def __init__(
        self,
        *,
        mixture: GaussianMixture | None = None,
        temperature: float = 0.5,
        w: float = 2.0,
        route: str = "exact",
        seed: int = 0,
        alt: str = "Two panels of samples: a temperature T set by one slider, a guidance weight w by the other.",
    ) -> None:
        super().__init__(mixture=mixture, temperature=temperature, w=w, route=route, seed=seed, alt=alt)
