"""Problems to try a rule on: a denoiser to guide, and what is true of its data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from .. import _checks, artifacts, datasets
from .._ranks import pick_device
from ..classifiers import ExactClassifier
from ..datasets.load import load_images
from ..guidance import Ratios
from ..logsnr import alpha_sigma, as_logsnr, per_sample
from ..metrics import extractors
from ..mixture import GaussianMixture
from ..prediction import Denoiser, Prediction
from .imperfect import WAYS, blurred, mlp
from .truth import ImageTruth, Truth


@dataclass(frozen=True)
class Problem:
    """A model to guide, exact or imperfect, and the truth that its samples are held against.

    Attributes:
        shape, classes: of one sample; those that are drawn, of which one speaks for all where they are alike.
        parts: what a rule may need: ``classifier``, ``bad``.
        n, steps: samples in all that a measurement takes, and levels, where nobody says another number.
    """

    name: str
    denoiser: Denoiser
    truth: Truth | ImageTruth
    shape: tuple[int, ...]
    classes: tuple[int, ...]
    parts: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device = field(default=torch.device("cpu"))
    n: int = 2000
    steps: int = 32

    @cached_property
    def ratios(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """What ReCFG wants to know of the data; its evaluations, made once, are not counted. None for images."""
        if isinstance(self.truth, ImageTruth):
            return None
        y = torch.tensor(self.classes).repeat_interleave(1000)
        generator = torch.Generator().manual_seed(5)
        x = torch.cat([self.truth.sample(1000, c, generator) for c in self.classes])
        return Ratios(self.denoiser, x, y)


def plane(dim: int, inside: int = 2, seed: int = 0) -> Tensor:
    """``inside`` orthonormal directions of a space of ``dim`` dimensions, (dim, inside), of no particular slant."""
    noise = torch.randn(dim, inside, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(noise)[0].float()


class Embedded:
    r"""The exact denoiser of x = Q u + r with u from a mixture and r ~ N(0, s² I) across the plane of Q.

    In the plane it is the mixture's; across it the data are one Gaussian, so
    :math:`v_\perp = \alpha\sigma(1 - s^2)/(\alpha^2 s^2 + \sigma^2)\, z_\perp`.
    ``mixture`` is that of u, in k dimensions; ``directions`` are Q, (d, k), orthonormal; ``std`` is s.
    """

    def __init__(self, mixture: GaussianMixture, directions: Tensor, std: float) -> None:
        self.mixture, self.directions, self.variance = mixture, directions, std**2

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor | int | None = None) -> Prediction:
        lam = as_logsnr("logsnr", logsnr, z, check=False)
        alpha, sigma = (per_sample(part, z) for part in alpha_sigma(lam))
        inside = z @ self.directions  # (b, k)
        v = self.mixture(inside, lam, y).v
        slope = alpha * sigma * (1 - self.variance) / (alpha.square() * self.variance + sigma.square())
        across = z - inside @ self.directions.mT  # (b, d)
        return Prediction(z, lam, slope * across + v @ self.directions.mT, "v")


def _points(
    name: str, make: Callable[[], GaussianMixture], classes: tuple[int, ...], way: str | None = None
) -> Problem:
    mixture = make()
    seen = WAYS[way](mixture) if way in WAYS else mixture
    model, bad = mlp(mixture) if way == "mlp" else (seen, blurred(seen, 0.3))
    parts = {"classifier": ExactClassifier(seen), "bad": bad}
    return Problem(name, model, Truth(mixture), (2,), classes, parts)


def _pair(name: str) -> Problem:
    zero, bad = torch.zeros(1, 1), datasets.gaussian_pair(1.5, 2.5)
    truth = Truth(GaussianMixture(zero, 1.0), marginal=GaussianMixture(zero, 2.0))
    return Problem(name, datasets.gaussian_pair(), truth, (1,), (0,), {"bad": bad})


def _long_ring(name: str, dim: int, way: str | None = None) -> Problem:
    mixture, std, directions = datasets.ring(), 0.15, plane(dim)
    seen = WAYS[way](mixture) if way in WAYS else mixture
    spread = {None: std, "blurred": (std**2 + 0.15**2) ** 0.5, "too-narrow": 0.6 * std}[way]
    parts = {
        # What lies across the plane says nothing of the class.
        "classifier": lambda z, logsnr: seen.class_log_prob(z @ directions, logsnr),
        "bad": Embedded(blurred(seen, 0.3), directions, (spread**2 + 0.3**2) ** 0.5),
    }
    truth = Truth(mixture, plane=directions, std=std)
    return Problem(name, Embedded(seen, directions, spread), truth, (dim,), (0,), parts)


def _images(name: str, bad: str | None, device: str, n: int, steps: int) -> Problem:
    place = pick_device(device)
    if device == "auto" and place.type == "cpu":
        raise ValueError(f"problems: got {name!r} without a GPU, takes a machine that has one")
    model = artifacts.load_denoiser(name, place)
    extractor = extractors.load(f"{name}-evaluator", place)
    data = load_images(name, "train")
    features = torch.cat([found.cpu() for found, _ in extractors.over(extractor, data.images, device=place)])
    parts: dict[str, Any] = {"bad": artifacts.load_denoiser(bad, place)} if bad else {}
    parts["classifier"] = artifacts.load_noisy_classifier(f"{name}-noisy-classifier", place)
    truth = ImageTruth(extractor, features, data.labels)
    return Problem(name, model, truth, model.shape, tuple(range(len(model.classes))), parts, place, n, steps)


_PLANE: dict[str, dict[str, Any]] = {
    "three-gaussians": {"make": datasets.three_gaussians, "classes": (0,)},
    "ring": {"make": datasets.ring, "classes": (0,)},
    "overlapping": {"make": datasets.overlapping, "classes": (0, 1)},
    "tree": {"make": datasets.tree, "classes": (0, 1)},
}

PROBLEMS: dict[str, Callable[[str], Problem]] = {
    "gaussian-pair": _pair,
    **{name: partial(_points, **about) for name, about in _PLANE.items()},
    **{
        f"{name}-{way}": partial(_points, way=way, **about)
        for name, about in _PLANE.items()
        for way in (*WAYS, "mlp")
        # A class of one component has none to lose.
        if way != "too-few-modes" or name in ("overlapping", "tree")
    },
    **{
        f"ring-{dim}d" + (f"-{way}" if way else ""): partial(_long_ring, dim=dim, way=way)
        for dim in (64, 512)
        for way in (None, "blurred", "too-narrow")
    },
    "digits": partial(_images, bad="digits-weak", device="cpu", n=200, steps=16),
    "cifar10": partial(_images, bad=None, device="auto", n=10_000, steps=32),
}
"""Every problem by its name, made when it is first asked for: ``PROBLEMS[name](name)``; see :func:`problem`."""


def problem(name: str | Problem) -> Problem:
    """A problem by its name, or one's own as it is. ``ValueError``: an unknown name, or this machine cannot take it."""
    return name if isinstance(name, Problem) else PROBLEMS[_checks.one_of("problems", name, PROBLEMS)](name)
