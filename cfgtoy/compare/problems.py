"""Problems to try a rule on: a denoiser to guide, and what is true of its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from .. import artifacts, datasets
from .._ranks import pick_device
from ..classifiers import ExactClassifier
from ..datasets.load import load_images
from ..guidance import Ratios
from ..metrics import extractors
from ..mixture import GaussianMixture
from ..prediction import Denoiser
from .embedded import Embedded, EmbeddedClassifier, plane
from .imperfect import WAYS, blurred, mlp
from .truth import ImageTruth, Truth

__all__ = ["PROBLEMS", "Problem", "problem"]


@dataclass(frozen=True)
class Problem:
    """A model to guide, and the truth that its samples are held against.

    Attributes:
        name: its key in :data:`PROBLEMS`.
        denoiser: the model to guide, exact or imperfect.
        truth: densities and exact samples, or real images.
        shape: of one sample.
        classes: those that samples are drawn of; one speaks for all where they are alike.
        parts: what a rule may need: ``classifier``, ``bad``.
        device: where the denoiser works.
        n: samples in all that a measurement takes, where nobody says another number.
        steps: levels of the sampler, likewise.
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


def _points(
    name: str, make: Callable[[], GaussianMixture], classes: tuple[int, ...], way: str | None = None
) -> Problem:
    mixture = make()
    if way == "mlp":
        model, bad = mlp(mixture)
        return Problem(
            name, model, Truth(mixture), (2,), classes, {"classifier": ExactClassifier(mixture), "bad": bad}
        )
    seen = WAYS[way](mixture) if way else mixture
    parts = {"classifier": ExactClassifier(seen), "bad": blurred(seen, 0.3)}
    return Problem(name, seen, Truth(mixture), (2,), classes, parts)


def _pair(name: str) -> Problem:
    zero = torch.zeros(1, 1)
    truth = Truth(GaussianMixture(zero, 1.0), marginal=GaussianMixture(zero, 2.0))
    return Problem(
        name, datasets.gaussian_pair(), truth, (1,), (0,), {"bad": datasets.gaussian_pair(1.5, 2.5)}
    )


def _long_ring(name: str, dim: int, way: str | None = None) -> Problem:
    mixture, std, directions = datasets.ring(), 0.15, plane(dim)
    seen = WAYS[way](mixture) if way else mixture
    spread = {None: std, "blurred": (std**2 + 0.15**2) ** 0.5, "too-narrow": 0.6 * std}[way]
    wide = blurred(seen, 0.3)
    parts = {
        "classifier": EmbeddedClassifier(seen, directions),
        "bad": Embedded(wide, directions, (spread**2 + 0.3**2) ** 0.5),
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
    parts: dict[str, Any] = {"classifier": artifacts.load_noisy_classifier(f"{name}-noisy-classifier", place)}
    if bad:
        parts["bad"] = artifacts.load_denoiser(bad, place)
    truth = ImageTruth(extractor, features, data.labels)
    return Problem(name, model, truth, model.shape, tuple(range(len(model.classes))), parts, place, n, steps)


_PLANE: dict[str, tuple[Callable[[], GaussianMixture], tuple[int, ...]]] = {
    "three-gaussians": (datasets.three_gaussians, (0,)),
    "ring": (datasets.ring, (0,)),
    "overlapping": (datasets.overlapping, (0, 1)),
    "tree": (datasets.tree, (0, 1)),
}

PROBLEMS: dict[str, Callable[[str], Problem]] = {"gaussian-pair": _pair}
"""Every problem by its name, made when it is first asked for: ``PROBLEMS[name](name)``; see :func:`problem`."""

for _name, (_make, _classes) in _PLANE.items():
    PROBLEMS[_name] = partial(_points, make=_make, classes=_classes)
for _name, (_make, _classes) in _PLANE.items():
    for _way in (*WAYS, "mlp"):
        # A class of one component has none to lose.
        if _way != "too-few-modes" or _name in ("overlapping", "tree"):
            PROBLEMS[f"{_name}-{_way}"] = partial(_points, make=_make, classes=_classes, way=_way)
for _dim in (64, 512):
    PROBLEMS[f"ring-{_dim}d"] = partial(_long_ring, dim=_dim)
    for _way in ("blurred", "too-narrow"):
        PROBLEMS[f"ring-{_dim}d-{_way}"] = partial(_long_ring, dim=_dim, way=_way)
PROBLEMS["digits"] = partial(_images, bad="digits-weak", device="cpu", n=200, steps=16)
PROBLEMS["cifar10"] = partial(_images, bad=None, device="auto", n=10_000, steps=32)


def problem(name: str | Problem) -> Problem:
    """A problem by its name, or one's own as it is.

    Raises:
        ValueError: an unknown name, or a problem that this machine cannot take.
    """
    if isinstance(name, Problem):
        return name
    if name not in PROBLEMS:
        raise ValueError(f"problems: got {name!r}, takes one of {', '.join(PROBLEMS)}")
    return PROBLEMS[name](name)
