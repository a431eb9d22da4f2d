"""What the explorers of exact mixtures share: the mixture, guided samples, and the samples that come back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import traitlets
from torch import Tensor

from .. import _checks, datasets, guidance, samplers, schedules
from ..mixture import GaussianMixture
from ._traits import Explorer, checked, integer, number, one_of, whole

__all__ = ["JS", "MixtureExplorer", "Sampled", "guided", "integer_class"]

JS = Path(__file__).with_name("js")
_MOST = 64  # components that the browser draws


def _check_mixture(name: str, value: Any) -> GaussianMixture:
    if not isinstance(value, GaussianMixture) or value.dim != 2 or len(value.means) > _MOST:
        raise ValueError(
            f"{name}: got {value!r}, takes a GaussianMixture in two dimensions, {_MOST} components at most"
        )
    return value


def _mixture_to_json(value: GaussianMixture, _: Any) -> dict[str, Any]:
    """Lists of its numbers, and whether it is the one that an explorer has where none is given."""
    return {**_lists(value), "usual": _lists(value) == _lists(datasets.three_gaussians())}


def _lists(value: GaussianMixture) -> dict[str, Any]:
    lists = {name: getattr(value, name).detach().cpu().double() for name in ("means", "covs", "weights")}
    # Seven digits: what float32 holds, without the tail that a change to float64 makes visible.
    rounded = {name: _rounded(tensor.tolist()) for name, tensor in lists.items()}
    return {**rounded, "labels": value.labels.tolist()}


def _rounded(x: Any) -> Any:
    return [_rounded(item) for item in x] if isinstance(x, list) else float(f"{x:.7g}")


def _mixture_from_json(value: dict[str, Any], _: Any) -> GaussianMixture:
    means, covs, weights = (
        torch.tensor(value[name], dtype=torch.float32) for name in ("means", "covs", "weights")
    )
    return GaussianMixture(means, covs, weights, torch.tensor(value["labels"]))


def _check_class(name: str, value: Any) -> int | None:
    return None if value is None else integer_class(name, value)


def integer_class(name: str, value: Any) -> int:
    """A class: an integer from 0; whether the mixture has it is checked beside the mixture."""
    return _checks.positive_int(name, whole(value), least=0)


def guided(
    mixture: GaussianMixture, w: float, n: int = 900, y: int | None = None, steps: int = 32, **settings: Any
) -> tuple[Tensor, Tensor]:
    """Guided samples (n, 2) and their classes (n,), by the package's own sampler."""
    classes = torch.arange(n) * mixture.num_classes // n if y is None else torch.full((n,), y)
    denoiser = guidance.classifier_free(mixture.to(dtype=torch.float32), w=w)
    x = samplers.sample(
        denoiser,
        classes,
        shape=(n, 2),
        grid=schedules.Uniform().grid(steps),
        generator=torch.Generator().manual_seed(0),
        **settings,
    )
    return x.nan_to_num(1e6, 1e6, -1e6), classes


class MixtureExplorer(Explorer):
    """An explorer of an exact two-dimensional mixture.

    Attributes:
        mixture: The `GaussianMixture` on show, also as the reader left it.
    """

    styles = (JS / "explorers.css",)

    mixture = checked(
        None,
        _check_mixture,
        "The data, in two dimensions; by default the three Gaussians of `cfgtoy.datasets`.",
        "GaussianMixture | None",
        to_json=_mixture_to_json,
        from_json=_mixture_from_json,
    )

    _panels = 1  # of the still image

    def __init__(self, **traits: Any) -> None:
        if traits.get("mixture") is None:
            traits["mixture"] = datasets.three_gaussians()
        super().__init__(**traits)

    def _fit(self, name: str, value: Any) -> Any:
        """Refuse a class that the mixture does not have, whichever of the two is set."""
        # not by attribute, which would ask for a default's check here again
        now = {**self._trait_values, name: value}
        classes, y = now["mixture"].num_classes, now.get("y")
        if y is None or y < classes:
            return value
        if name == "y":
            raise ValueError(f"y: got class {y}, takes 0 … {classes - 1}")
        raise ValueError(f"mixture: got {classes} classes with y = {y}, takes more than y")

    def still(self) -> tuple[bytes, int]:
        """The explorer as it starts, for viewers that run no script."""
        from .. import plotting  # matplotlib, wanted here alone

        width = 3.6 * self._panels
        with plotting.mpl.rc_context():
            plotting.use_style()
            fig, axes = plotting.subplots(self._panels, size=(width, 3.4), squeeze=False)
            self._draw(list(axes[0]))
            return plotting.to_png(fig, colors=64), round(100 * width)

    def _draw(self, axes: list[Any]) -> None:
        """Draw the still image on ``_panels`` axes."""
        raise NotImplementedError

    def _extent(self) -> float:
        """Half the side of a square that holds data and noise: the view of the browser."""
        spreads = self.mixture.covs.diagonal(dim1=1, dim2=2).amax(1).sqrt()
        return 1.15 * max(3.0, (self.mixture.means.abs().amax(1) + 2.6 * spreads).max().item())

    def _show(
        self, ax: Any, x: Tensor, classes: Tensor, log_density: Callable[..., Tensor], title: str
    ) -> None:
        """Bands of a density ``log_density(z, c=c)`` a class, and points."""
        from .. import plotting

        for c in classes.unique().tolist():
            color = plotting.class_colors[c % len(plotting.class_colors)]
            plotting.density(ax, partial(log_density, c=c), extent=self._extent(), n=80, color=color)
        plotting.scatter(ax, x, classes, size=3)
        ax.set_xlim(-self._extent(), self._extent())
        ax.set_ylim(-self._extent(), self._extent())
        plotting.label(ax, x="z₁", y="z₂", title=title)


class Sampled(MixtureExplorer):
    """An explorer whose samples come back to Python.

    Attributes:
        samples: Points (n, 2), float32, as the reader sees them at the end of the run; None before a browser drew them.
        classes: The class of each point, (n,) int64; None as long as ``samples`` is.
    """

    samples = traitlets.Instance(Tensor, allow_none=True)
    classes = traitlets.Instance(Tensor, allow_none=True)
    v = number(
        0.3, 0, 1, "Of the ancestral sampler, in [0, 1]: from its lower to its upper variance, in log space."
    )
    steps = integer(64, 2, 512, "T, 2 … 512 noise levels, evenly spaced in λ from −20 to 20.")
    sampler = one_of("ancestral", ["ancestral", "ddim", "heun"], '``"ancestral"``, ``"ddim"`` or ``"heun"``.')
    seed = integer(0, 0, 2**31 - 1, "Of all random numbers; the same seed meets every other setting.")
    _particles = traitlets.Any(None, allow_none=True).tag(sync=True)  # float32 rows (x, y, class), as bytes

    @traitlets.observe("_particles")
    def _receive(self, change: Any) -> None:
        if not change["new"]:
            return
        rows = torch.frombuffer(bytearray(change["new"]), dtype=torch.float32).reshape(-1, 3)
        with self.hold_trait_notifications():
            self.samples, self.classes = rows[:, :2].clone(), rows[:, 2].long()
