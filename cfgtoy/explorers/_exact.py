"""What the explorers of exact mixtures share: their traits, checked, and the samples that come back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import traitlets
from torch import Tensor

from .. import _checks, datasets, guidance, samplers, schedules
from ..mixture import GaussianMixture
from ._static import StaticWidget

__all__ = ["JS", "MixtureExplorer", "Sampled", "checked", "integer", "number", "one_of"]

JS = Path(__file__).with_name("js")
_MOST = 64  # components that the browser draws


class checked(traitlets.TraitType[Any, Any]):
    """A synced trait whose value goes through ``check(name, value)``, which returns it or raises ``ValueError``."""

    def __init__(self, default: Any, check: Callable[[str, Any], Any], **metadata: Any) -> None:
        self.check = check
        super().__init__(default_value=default, allow_none=True)
        self.tag(sync=True, **metadata)

    def validate(self, obj: Any, value: Any) -> Any:
        return self.check(self.name or "value", value)


def number(default: float, lo: float = -1e6, hi: float = 1e6) -> checked:
    """A finite number in [lo, hi]."""
    return checked(default, lambda name, value: _checks.number(name, value, lo=lo, hi=hi))


def integer(default: int, lo: int, hi: int) -> checked:
    """A whole number in [lo, hi]."""

    def check(name: str, value: Any) -> int:
        if isinstance(value, float) and value.is_integer():  # JSON from a browser knows no integers
            value = int(value)
        if _checks.positive_int(name, value, least=lo) > hi:
            raise ValueError(f"{name}: got {value!r}, takes an integer in [{lo}, {hi}]")
        return value

    return checked(default, check)


def one_of(default: str, names: Sequence[str]) -> checked:
    """One of the strings ``names``."""

    def check(name: str, value: Any) -> str:
        if value not in names:
            raise ValueError(f"{name}: got {value!r}, takes one of {', '.join(map(repr, names))}")
        return value

    return checked(default, check)


def _check_mixture(name: str, value: Any) -> GaussianMixture:
    if value is None:
        return datasets.three_gaussians()
    if not isinstance(value, GaussianMixture) or value.dim != 2 or len(value.means) > _MOST:
        raise ValueError(
            f"{name}: got {value!r}, takes a GaussianMixture in two dimensions, {_MOST} components at most"
        )
    return value


def _mixture_to_json(value: GaussianMixture, _: Any) -> dict[str, Any]:
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
    return _checks.positive_int(
        name, int(value) if isinstance(value, float) and value.is_integer() else value, least=0
    )


class MixtureExplorer(StaticWidget):
    """An explorer of an exact two-dimensional mixture.

    Attributes:
        mixture: The `GaussianMixture` on show, also as the reader left it.
    """

    styles = (JS / "explorers.css",)

    mixture = checked(None, _check_mixture, to_json=_mixture_to_json, from_json=_mixture_from_json)

    _panels = 1  # of the still image
    _drawn: tuple[str, tuple[bytes, int]] = "", (b"", 0)  # the last still image and what it shows

    def __init__(self, **traits: Any) -> None:
        mixture = _check_mixture("mixture", traits.pop("mixture", None))
        y = traits.get("y")
        if y is not None and _check_class("y", y) >= mixture.num_classes:  # type: ignore[operator]
            raise ValueError(f"y: got class {y}, takes 0 … {mixture.num_classes - 1}")
        super().__init__(mixture=mixture, **traits)

    def still(self) -> tuple[bytes, int]:
        """The explorer as it starts, for viewers that run no script."""
        from .. import plotting  # matplotlib, wanted here alone

        state = json.dumps(self.static_state())
        if state == self._drawn[0]:
            return self._drawn[1]
        width = 3.6 * self._panels
        with plotting.mpl.rc_context():
            plotting.use_style()
            fig, axes = plotting.subplots(self._panels, size=(width, 3.4), squeeze=False)
            self._draw(list(axes[0]))
            self._drawn = state, (plotting.to_png(fig, colors=64), round(100 * width))
        return self._drawn[1]

    def _draw(self, axes: list[Any]) -> None:
        """Draw the still image on ``_panels`` axes."""
        raise NotImplementedError

    def _extent(self) -> float:
        """Half the side of a square that holds data and noise: the view of the browser."""
        reach = (
            self.mixture.means.abs().amax(1) + 2.6 * self.mixture.covs.diagonal(dim1=1, dim2=2).amax(1).sqrt()
        )
        return 1.15 * max(3.0, reach.max().item())

    def _guided(self, w: float, n: int = 900, y: int | None = None, **settings: Any) -> tuple[Tensor, Tensor]:
        """Guided samples (n, 2) and their classes (n,), by the package's own sampler."""
        classes = torch.arange(n) * self.mixture.num_classes // n if y is None else torch.full((n,), y)
        generator, settings = torch.Generator().manual_seed(0), {"steps": 32, **settings}
        grid = schedules.Uniform().grid(settings.pop("steps"))
        denoiser = guidance.classifier_free(self.mixture.to(dtype=torch.float32), w=w)
        x = samplers.sample(denoiser, classes, shape=(n, 2), grid=grid, generator=generator, **settings)
        return x.nan_to_num(1e6, 1e6, -1e6), classes

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
    _particles = traitlets.Any(None, allow_none=True).tag(sync=True)  # float32 rows (x, y, class), as bytes

    @traitlets.observe("_particles")
    def _receive(self, change: Any) -> None:
        if not change["new"]:
            return
        rows = torch.frombuffer(bytearray(change["new"]), dtype=torch.float32).reshape(-1, 3)
        with self.hold_trait_notifications():
            self.samples, self.classes = rows[:, :2].clone(), rows[:, 2].long()
