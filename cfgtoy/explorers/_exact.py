"""The explorers of exact mixtures: what they share, and each of them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import traitlets
from torch import Tensor

from .. import _checks, datasets, guidance, metrics, plotting, process, samplers, schedules
from ..mixture import GaussianMixture
from ._traits import JS, Explorer, checked, each, flag, integer, number, one_of, that, words

_MOST = 64  # components that the browser draws
_NUMBERS = ("means", "covs", "weights")
_LAYERS = ("conditional", "unconditional", "difference", "guided")
SAMPLERS = ("ancestral", "ddim", "heun")

# what float32 holds
_seven_digits = np.vectorize(lambda x: float(f"{x:.7g}"), otypes=[float])


def _lists(value: GaussianMixture) -> dict[str, Any]:
    lists = {name: _seven_digits(getattr(value, name).detach().cpu()).tolist() for name in _NUMBERS}
    return {**lists, "labels": value.labels.tolist()}


def _to_json(value: GaussianMixture, _: Any) -> dict[str, Any]:
    return {**_lists(value), "usual": _lists(value) == _lists(datasets.three_gaussians())}


def _from_json(value: dict[str, Any], _: Any) -> GaussianMixture:
    numbers = {name: torch.tensor(value[name], dtype=torch.float32) for name in _NUMBERS}
    return GaussianMixture(**numbers, labels=torch.tensor(value["labels"]))


def guided(
    mixture: GaussianMixture, w: float, n: int = 900, y: int | None = None, steps: int = 32, **settings: Any
) -> tuple[Tensor, Tensor]:
    """Guided samples (n, 2) and their classes (n,), by the package's own sampler."""
    classes = torch.arange(n) * mixture.num_classes // n if y is None else torch.full((n,), y)
    denoiser = guidance.classifier_free(mixture.to(dtype=torch.float32), w=w)
    generator, grid = torch.Generator().manual_seed(0), schedules.Uniform().grid(steps)
    x = samplers.sample(denoiser, classes, shape=(n, 2), grid=grid, generator=generator, **settings)
    return x.nan_to_num(1e6, 1e6, -1e6), classes


class MixtureExplorer(Explorer):
    """An explorer of an exact two-dimensional mixture; ``mixture`` is the one on show, also as the reader left it."""

    mixture = that(
        None,
        lambda value: isinstance(value, GaussianMixture) and value.dim == 2 and len(value.means) <= _MOST,
        f"a GaussianMixture in two dimensions, {_MOST} components at most",
        "The data, in two dimensions; by default the three Gaussians of `cfgtoy.datasets`.",
        "GaussianMixture | None",
    ).tag(to_json=_to_json, from_json=_from_json)

    w: Any  # where there is guidance
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
        width, names = 3.6 * self._panels, {"xlabel": "z₁", "ylabel": "z₂"}
        with plotting.mpl.rc_context():
            plotting.use_style()
            fig, axes = plotting.subplots(self._panels, size=(width, 3.4), squeeze=False, subplot_kw=names)
            self._draw(*axes[0])
            return plotting.to_png(fig, colors=64), round(100 * width)

    _draw: Callable[..., None]
    """Draws the still image on ``_panels`` axes."""

    def _extent(self) -> float:
        """Half the side of a square that holds data and noise: the view of the browser."""
        spreads = self.mixture.covs.diagonal(dim1=1, dim2=2).amax(1).sqrt()
        return 1.15 * max(3.0, (self.mixture.means.abs().amax(1) + 2.6 * spreads).max().item())

    def _bands(self, ax: Any, log_density: Callable[[Tensor], Tensor], c: int | None = None) -> None:
        """A density's bands, in the colour of class ``c``."""
        color = plotting.INK if c is None else plotting.class_colors[c % len(plotting.class_colors)]
        plotting.density(ax, log_density, extent=self._extent(), n=80, color=color)

    def _show(self, ax: Any, x: Tensor, classes: Tensor, log_density: Callable[..., Tensor]) -> None:
        """Bands of a density ``log_density(z, c=c)`` a class, and points."""
        for c in classes.unique().tolist():
            self._bands(ax, partial(log_density, c=c), c)
        plotting.scatter(ax, x, classes, size=3)

    def _show_guided(self, ax: Any, x: Tensor, classes: Tensor) -> None:
        """Guided samples over the tilted density that guidance is said to reach."""
        self._show(ax, x, classes, lambda z, c: self.mixture.tilted_log_prob(z, 20.0, c, self.w))
        ax.set_title(f"w = {self.w:g}")


class Sampled(MixtureExplorer):
    """An explorer whose ``samples`` (n, 2), float32, and ``classes`` (n,), int64, come back once a browser drew."""

    y: Any = None  # where there is no choice of a class
    samples = traitlets.Instance(Tensor, allow_none=True)
    classes = traitlets.Instance(Tensor, allow_none=True)
    v = number(0.3, 0, 1, "Of the ancestral sampler, in [0, 1]: its lower to its upper log-variance.")
    steps = integer(64, 2, 512, "T, 2 … 512 noise levels, evenly spaced in λ from −20 to 20.")
    sampler = one_of(SAMPLERS, "the way from noise to data.")
    seed = integer(0, 0, 2**31 - 1, "Of all random numbers; the same seed meets every other setting.")
    _particles = traitlets.Any(None, allow_none=True).tag(sync=True)  # float32 rows (x, y, class), as bytes

    @traitlets.observe("_particles")
    def _receive(self, change: Any) -> None:
        if change["new"]:
            rows = torch.frombuffer(bytearray(change["new"]), dtype=torch.float32).reshape(-1, 3)
            with self.hold_trait_notifications():
                self.samples, self.classes = rows[:, :2].clone(), rows[:, 2].long()

    def _draw(self, *axes: Any) -> None:
        how = {"y": self.y, "steps": self.steps, "method": self.sampler, "v": self.v}
        self._show_guided(axes[0], *guided(self.mixture, self.w, **how))


class ForwardExplorer(MixtureExplorer):
    """The noisy data at any log-SNR, and where a schedule spends its noise levels."""

    module = JS / "forward.mjs"
    lam = number(1.0, -20, 20, "log-SNR λ in [−20, 20].")
    schedule = one_of(
        ["cosine", "uniform", "linear", "lognormal"], "linear is DDPM's β, lognormal EDM's law."
    )
    shift = number(0.0, -10, 10, "Added to every λ of the schedule, in [−10, 10].")
    alt = words(
        "Noisy samples of a mixture at a log-SNR set by a slider, with the schedule's curves beside them."
    )

    def _draw(self, *axes: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        x, classes = self.mixture.to(dtype=torch.float32).sample_labeled(1500, generator)
        self._bands(axes[0], lambda z: self.mixture.log_prob(z, self.lam))
        plotting.scatter(axes[0], process.diffuse(x, self.lam, generator=generator), classes, size=3)
        axes[0].set_title(f"λ = {self.lam:g}")


class FieldExplorer(MixtureExplorer):
    """Exact scores and the guided field as arrows; classes can be dragged and widened."""

    module = JS / "field.mjs"
    w = number(2.0, doc="Guidance weight, 0 for the plain conditional field.")
    lam = number(0.0, -20, 20, "log-SNR λ in [−20, 20].")
    y = integer(0, doc="The class c that guidance is for.")
    layers = that(
        ("guided",),
        each(_LAYERS.__contains__),
        f"any of {', '.join(map(repr, _LAYERS))}",
        f"Arrows: any of {', '.join(_LAYERS)}; of ∇log p(z|c), ∇log p(z), their difference and the guided sum.",
        "Sequence[str]",
        list,
    )
    density = one_of(["conditional", "marginal", "tilted"], "the bands; p(z|c), p(z), or p(z|c) p(c|z)^w.")
    alt = words(
        "Arrows of the guided score over the class densities; sliders set the weight w and the log-SNR."
    )

    def _draw(self, *axes: Any) -> None:
        mix, lam = self.mixture.to(dtype=torch.float32), torch.tensor(self.lam)
        self._bands(axes[0], lambda z: mix.log_prob(z, self.lam, self.y), self.y)
        guided = guidance.classifier_free(mix, w=self.w)
        plotting.field(
            axes[0], lambda z: -guided(z, lam, torch.full((len(z),), self.y)).eps, extent=self._extent()
        )
        axes[0].set_title(f"guided, w = {self.w:g}, λ = {self.lam:g}")


class ParticleExplorer(MixtureExplorer):
    """One particle under guidance: the scores at it, its estimate of the data, and its way as λ rises."""

    module = JS / "particle.mjs"
    w = number(2.0, doc="Guidance weight, 0 for plain conditional sampling.")
    lam = number(0.0, -6, 8, "log-SNR λ in [−6, 8].")
    y = integer(0, doc="The class c that guidance is for.")
    z1 = number(-1.0, -20, 20, "Where the particle was put, first coordinate.")
    z2 = number(-0.5, -20, 20, "Where the particle was put, second coordinate.")
    at = number(0.0, -6, 8, "The log-SNR at which it was put there; with twins always −6.")
    seed = integer(0, 0, 2**31 - 1, "Of the noise of the SDE.")
    twins = flag(False, "Whether a twin follows the SDE from the same start.")
    alt = words("One particle with its class, unconditional and guided arrows, its estimate, and its way.")

    def _draw(self, *axes: Any) -> None:
        mix, level = self.mixture.to(dtype=torch.float32), -6.0 if self.twins else self.at
        self._bands(axes[0], lambda z: mix.log_prob(z, level, self.y), self.y)
        z, (sky, grey) = torch.tensor([[self.z1, self.z2]]), plotting.class_colors[5:7]
        for w, shade in ((0.0, sky), (-1.0, grey), (self.w, plotting.INK)):
            guided = guidance.classifier_free(mix, w=w)(z, torch.tensor(level), torch.tensor([self.y]))
            arrow = {"arrowstyle": "->", "color": shade, "lw": 2}
            axes[0].annotate("", (z - guided.eps)[0].tolist(), (self.z1, self.z2), arrowprops=arrow)
        plotting.scatter(axes[0], z, size=30)
        axes[0].set_title(f"w = {self.w:g}, λ = {level:g}")


def _interval(name: str, value: Any) -> list[float] | None:
    if value is None:
        return None
    pair = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    _checks.require(pair, name, repr(value), "None or two log-SNRs (lo, hi)")
    lo, hi = (_checks.number(name, end) for end in value)
    _checks.require(lo <= hi, name, repr(value), "lo ≤ hi")
    return [lo, hi]


class SamplingExplorer(Sampled):
    """Thousands of particles on their way from noise to data, against the class densities and the tilted target.

    ``samples`` (n, 2) and ``classes`` (n,) hold the end of the run; both can be observed.
    """

    module = JS / "sampling.mjs"
    w = number(2.0, doc="Guidance weight, 0 for plain conditional sampling.")
    n = integer(4000, 10, 20000, "Particles, 10 … 20000.")
    y = integer(None, doc="One class, or None for all.")
    interval = checked(None, _interval, "Guide where lo ≤ λ ≤ hi; None: all.", "tuple[float, float] | None")
    density = one_of(["tilted", "true"], "the bands; p(z|c) p(c|z)^w or p(z|c). The other is dashed.")
    alt = words(
        "Guided samples of each class over the tilted density, with play, w, v and the steps under sliders."
    )


class TemperatureExplorer(MixtureExplorer):
    """Samples at temperature T beside samples guided with w, on the same classes.

    Source: Dhariwal & Nichol 2021, app. G, for the two routes that fail.
    """

    _panels = 2
    module = JS / "temperature.mjs"
    temperature = number(0.5, 0.05, 20, "T in [0.05, 20]; below 1 is sharper.")
    w = number(2.0, doc="Guidance weight of the guided panel.")
    route = one_of(
        ["exact", "score", "noise"], "draws of p(x|c)^(1/T), or samples with score/T, or with noise·√T."
    )
    seed = integer(0, 0, 2**31 - 1, "Of all random numbers.")
    alt = words("Two panels of samples: a temperature T set by one slider, a guidance weight w by the other.")

    def _draw(self, *axes: Any) -> None:
        x, classes = guided(self.mixture, self.w)
        mix, generator = self.mixture.to(dtype=torch.float32), torch.Generator().manual_seed(0)

        def sharp(z: Tensor, c: int) -> Tensor:
            return mix.log_prob(z, 20.0, c) / self.temperature

        self._show(axes[0], _resampled(mix, sharp, classes, generator), classes, sharp)
        axes[0].set_title(f"T = {self.temperature:g}")
        self._show_guided(axes[1], x, classes)


def _resampled(mix: GaussianMixture, log_density: Any, classes: Tensor, generator: torch.Generator) -> Tensor:
    """Points of each class from a density known up to a constant, by weighting wide draws: (n, 2)."""
    x = mix.means.new_empty(len(classes), 2)
    for c in classes.unique().tolist():
        mean, cov = mix.mean_cov(c)
        wide = torch.distributions.MultivariateNormal(mean, 4 * cov)
        noise = torch.randn(40_000, 2, generator=generator, dtype=mean.dtype)
        draws = mean + noise @ wide.scale_tril.mT
        weights = (log_density(draws, c) - wide.log_prob(draws)).softmax(0)
        rows = classes == c
        x[rows] = draws[torch.multinomial(weights, int(rows.sum()), replacement=True, generator=generator)]
    return x


class TradeoffExplorer(Sampled):
    """The trade-off curve over w, with the samples at one w beside it.

    ``samples`` (n, 2) and ``classes`` (n,) hold what the panel of samples shows.
    """

    _panels = 2
    module = JS / "tradeoff.mjs"
    w = number(1.0, doc="Guidance weight of the mark on the curve.")
    blur = number(0.0, 0, 10, "Standard deviation, 0 … 10, by which the model believes the data wider.")
    distance = one_of(["class", "pooled"], "Fréchet's, each class to its own truth, or all to all, as FID.")
    alt = words(
        "The curve of Inception Score against Fréchet distance as w grows, beside the samples at one w."
    )

    def _draw(self, *axes: Any) -> None:
        mix = self.mixture.to(dtype=torch.float32)
        believed = GaussianMixture(mix.means, mix.covs + self.blur**2 * torch.eye(2), mix.weights, mix.labels)
        draw = partial(guided, believed, n=600, steps=min(self.steps, 24), method=self.sampler, v=self.v)
        weights = sorted({0.0, 0.5, 2.0, 4.0, min(max(self.w, -1.0), 8.0)})
        curve = [self._judge(*draw(w)) for w in weights]
        x, classes = draw(self.w)
        axes[0].plot(*zip(*curve, strict=True), marker="o", color=plotting.class_colors[0])
        axes[0].plot(*self._judge(x, classes), marker="o", markersize=9, color=plotting.class_colors[1])
        plotting.label(axes[0], x="Inception Score", y="Fréchet distance", title="w = 0 … 4")
        self._show(axes[1], x, classes, lambda z, c: mix.log_prob(z, 20.0, c))
        axes[1].set_title(f"w = {self.w:g}")

    def _judge(self, x: torch.Tensor, classes: torch.Tensor) -> tuple[float, float]:
        """Inception Score and Fréchet distance, as the browser has them."""
        score = metrics.inception_score(self.mixture.class_log_prob(x, 20.0).exp())
        if self.distance == "pooled":
            return score, self._distance(x)
        each = [self._distance(x[classes == c], c) for c in range(self.mixture.num_classes)]
        return score, sum(each) / len(each)

    def _distance(self, x: torch.Tensor, c: int | None = None) -> float:
        return metrics.frechet_from_moments(*metrics.moments(x), *self.mixture.mean_cov(c))
