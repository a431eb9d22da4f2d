"""Extractors: what turns images into the features and class probabilities that metrics are made of.

The same samples get other figures from another extractor, so every extractor has a name, and the name goes into the
key of each figure: ``frechet_cifar10_classifier`` is no FID. Only ``inception`` gives figures that compare with the
FID and Inception score of papers.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._files import manifest
from ..datasets.images import ImageData, to_float, to_uint8
from ..nets.files import load_net


class Extractor(Protocol):
    """Images -> features and class probabilities.

    Attributes:
        name, sha256: what the figures are called after; and of its weights, or None where they are not ours.
        shape, classes: (c, h, w) of the images it takes, or None for any; the names of the classes behind its
            probabilities, or None where nobody knows.
    """

    name: str
    sha256: str | None
    shape: tuple[int, int, int] | None
    classes: tuple[str, ...] | None

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (b, c, h, w) in [-1, 1] -> features (b, d) and probabilities (b, C), float32."""
        ...


@dataclass(eq=False)
class ClassifierExtractor:
    """A classifier of clean images with ``.features(x)`` and ``.head(features)``, as an extractor."""

    net: nn.Module
    name: str
    sha256: str | None = None
    shape: tuple[int, int, int] | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self.net.eval()

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.net.features(x)  # type: ignore[operator]
        return features.float(), self.net.head(features).float().softmax(1)  # type: ignore[operator]

    def accuracy(self, data: ImageData, batch: int = 500) -> float:
        """The share of ``data`` that the classifier names rightly."""
        right = sum(
            int((probs.argmax(1).cpu() == y).sum())
            for (_, probs), y in zip(over(self, data.images, batch), data.labels.split(batch), strict=True)
        )
        return right / len(data)


def over(
    extractor: Extractor, images: Tensor, batch: int = 500, device: torch.device | str | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield features and probabilities of uint8 images (n, c, h, w), a batch at a time, on ``device``."""
    for part in images.split(batch):
        yield extractor(to_float(part.to(device or part.device)))


def load(name: str | Path, device: torch.device | str = "cpu") -> Extractor:
    """An extractor by name: ``"inception"``, ``"digits-evaluator"``, ``"cifar10-evaluator"``, or a weight file.

    Errors as in :func:`cfgtoy.artifacts.load_net` and :func:`inception`.
    """
    if name == "inception":
        return inception(device)
    return digits_classifier(device) if name == "digits-evaluator" else classifier(name, device)


def classifier(
    name: str | Path = "cifar10-evaluator", device: torch.device | str = "cpu"
) -> ClassifierExtractor:
    """The classifier trained in this project: features of its last layer, probabilities of its classes.

    Errors as in :func:`cfgtoy.artifacts.load_net`.
    """
    net, artifact = load_net(name, "evaluator", device)
    meta = artifact.meta
    dataset = Path(str(meta.get("dataset", "image"))).name
    shape, classes = (tuple(meta[key]) if key in meta else None for key in ("image", "classes"))
    return ClassifierExtractor(net, f"{dataset}_classifier", artifact.sha256, shape, classes)


def digits_classifier(device: torch.device | str = "cpu") -> ClassifierExtractor:
    """The classifier of scikit-learn's digits: from the shipped weights, else trained here in some seconds."""
    shipped = False
    with contextlib.suppress(FileNotFoundError):  # a wheel without data
        shipped = "digits-evaluator" in manifest()
    if shipped:  # listed but gone is damage, and an error
        return classifier("digits-evaluator", device)
    from ..datasets import digits

    net = _train_digits().to(device)
    return ClassifierExtractor(net, "digits_classifier", None, (1, 8, 8), digits.CLASSES)


def _train_digits(steps: int = 300, lr: float = 4e-3) -> nn.Module:
    """A small classifier of the 8x8 digits, trained on the CPU and frozen; random numbers elsewhere stay the same."""
    from ..datasets import digits
    from ..datasets.batches import ResidentBatches
    from ..nets.evaluator import Evaluator

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Evaluator.preset("digits")
        optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.05)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
        batches = ResidentBatches(digits.load("train"), 128, seed=0)
        net.train()
        for x, y in itertools.islice(batches, steps):
            loss = F.cross_entropy(net(_shifted(x)), y, label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            rate.step()
    return net.eval().requires_grad_(False)


def _shifted(x: Tensor) -> Tensor:
    """x moved by up to one pixel each way, background coming in, the same for the whole batch."""
    dx, dy = torch.randint(0, 3, (2,)).tolist()
    h, w = x.shape[-2:]
    return F.pad(x, (1, 1, 1, 1), value=-1.0)[..., dy : dy + h, dx : dx + w]


class _Inception(ClassifierExtractor):
    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self.net(to_uint8(x).expand(-1, 3, -1, -1))
        return features.float(), logits.float().softmax(1)


def inception(device: torch.device | str = "cpu") -> Extractor:
    """Inception-v3 as FID and the Inception score use it, through torch-fidelity: 2048 features, 1008 classes.

    Raises ``ImportError`` without torch-fidelity, ``OSError`` when its weights (92 MB, from github.com) cannot be had.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        install = "pip install torch-fidelity (it brings torchvision)"
        other = "The default extractor, the classifier trained here, needs nothing"
        raise ImportError(f"the Inception extractor is not installed: {install}. {other}") from error
    try:
        net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])
    except OSError as error:  # urllib's errors are OSErrors
        raise OSError(f"could not download the Inception weights: {error}") from error
    return _Inception(net.requires_grad_(False).to(device), "inception")
