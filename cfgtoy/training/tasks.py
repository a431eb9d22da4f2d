"""What can be trained, each a ``TrainConfig`` with options of its own: denoiser, noisy classifier, evaluator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .. import _checks, images, schedules
from ..datasets.images import ImageData, to_float
from ..datasets.load import load_images
from ..images.sampling import SPREADS
from ..nets._sized import Sized
from ..nets.evaluator import Evaluator as EvaluatorNet
from ..nets.unet import NoisyClassifier as NoisyClassifierNet
from ..nets.unet import UNet
from ..prediction import Kind, NetDenoiser
from ..process import diffuse
from .augment import augment
from .objective import diffusion_loss
from .options import Share, TrainConfig, Whole

_LAW = {"lo": "logsnr_min", "hi": "logsnr_max", "mean": "lognormal_mean", "std": "lognormal_std"}


@dataclass(frozen=True)
class Noised(TrainConfig):
    """Options of what sees noisy images."""

    fixed: ClassVar[tuple[str, ...]] = (*TrainConfig.fixed, "schedule", *_LAW.values())
    inputs: ClassVar[dict[str, bool]] = {}  #: What else the network takes.

    #: Law of the log-SNR in training; ``lognormal`` is also the logit-normal law of times in a rectified flow.
    schedule: Literal["cosine", "uniform", "linear-beta", "lognormal", "rectified-flow"] = "cosine"
    logsnr_min: float = -20.0  #: Noisy end of the law.
    logsnr_max: float = 20.0  #: Clean end of the law.
    lognormal_mean: float = -1.2  #: Mean of log(σ/α), for ``lognormal``.
    lognormal_std: float = 1.2  #: Its standard deviation.
    dropout: float = 0.0  #: Share of the activations dropped in each block.

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= _checks.number("dropout", self.dropout) < 1:
            raise ValueError(f"dropout: got {self.dropout}, takes a number in [0, 1)")
        try:
            self.noise_schedule()
        except ValueError as error:  # it names the schedule's argument, not ours
            name, _, problem = str(error).partition(":")
            raise ValueError(f"{_LAW[name]}:{problem}") from None

    @cached_property
    def _law(self) -> schedules.Schedule:
        lo, hi = self.logsnr_min, self.logsnr_max
        if self.schedule == "lognormal":
            return schedules.LogNormal(self.lognormal_mean, self.lognormal_std, lo, hi)
        return SPREADS[self.schedule](lo=lo, hi=hi)

    def noise_schedule(self) -> schedules.Schedule:
        """The law of λ that the options describe."""
        return self._law

    def build(self, data: ImageData) -> Sized:
        channels, height, width = data.shape
        if height != width:
            raise ValueError(f"data: got images of {height} × {width}, takes square ones")
        size = {"in_channels": channels, "image_size": height, "num_classes": data.num_classes}
        return self.network.preset(self.size, **size, dropout=self.dropout, **self.inputs)

    def about(self) -> dict[str, Any]:
        return super().about() | {"schedule": self._law.to_json()}


@dataclass(frozen=True)
class Denoiser(Noised):
    """A denoiser with and without classes, for guidance without a classifier."""

    network = UNet
    role = "denoiser"
    fixed: ClassVar[tuple[str, ...]] = (*Noised.fixed, "kind")

    model: Literal["unet"] = "unet"  #: What is trained: a denoiser.
    kind: Kind = "v"  #: What the denoiser predicts, and whose squared error is the loss.
    #: Further weight on the squared error: Min-SNR-5 in terms of v, or a sigmoid of λ.
    weighting: Literal["none", "min-snr", "sigmoid"] = "none"
    p_uncond: Share = 0.1  #: Probability of dropping a label.

    def weight(self) -> Callable[[Tensor], Tensor] | None:
        """The loss's further weight as a function of λ, relative to the squared error in the network's own kind.

        Source: Hang et al. 2023, eq. 8: min(SNR, 5) on the error in x. Hoogeboom et al. 2024, "Simpler diffusion":
        sigmoid(2 − λ) on the error in ε.
        """
        to_eps = _EPS_PER[self.kind]
        match self.weighting:
            case "min-snr":
                return lambda lam: to_eps(lam) * (5 * (-lam).exp()).clamp(max=1.0)
            case "sigmoid":
                return lambda lam: to_eps(lam) * torch.sigmoid(2.0 - lam)
        return None

    def losses(self, net: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        return diffusion_loss(
            NetDenoiser(net, self.kind), x, y, schedule=self._law, p_uncond=self.p_uncond, target=self.kind,
            weighting=self.weight(), generator=generator,
        )  # fmt: skip

    def about(self) -> dict[str, Any]:
        return super().about() | {"kind": self.kind}

    def pictures(self, net: nn.Module, data: ImageData) -> Tensor:
        """Samples at w = 1."""
        return images.sample(
            NetDenoiser(net, self.kind), torch.arange(data.num_classes).repeat(8), w=1.0, shape=data.shape,
            seed=self.seed, lo=max(self._law.lo, -9.0), hi=min(self._law.hi, 10.0), dtype=self.precision,
        )  # fmt: skip


_EPS_PER: dict[str, Callable[[Tensor], Tensor]] = {
    "eps": torch.ones_like,
    "v": torch.sigmoid,  # |ε̂ − ε|² = α² |v̂ − v|²
    "x": torch.exp,  # |ε̂ − ε|² = e^λ |x̂ − x|²
    "score": lambda lam: torch.sigmoid(-lam),  # ε = −σ s
    "flow": lambda lam: torch.sigmoid(lam / 2).square(),  # ε = (z + αu) / (α + σ)
}


@dataclass(frozen=True)
class _Classifies(TrainConfig):
    """Options of what tells classes apart."""

    shift: Whole = 0  #: Move images by up to so many pixels.
    label_smoothing: Share = 0.0  #: Share of the target that goes to all classes alike.

    def _cross_entropy(self, logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits, y, label_smoothing=self.label_smoothing, reduction="none")

    @torch.no_grad()
    def _accuracy(self, logits: Callable[[Tensor], Tensor], device: torch.device) -> dict[str, float]:
        """The share of the test images that are named rightly; nothing where there is no test split."""
        try:
            test = load_images(self.dataset, "test", root=self.root)
        except (ValueError, FileNotFoundError):
            return {}
        named = [logits(to_float(x.to(device))).argmax(1).cpu() for x in test.images.split(1000)]
        return {"test_accuracy": int((torch.cat(named) == test.labels).sum()) / len(test)}


@dataclass(frozen=True)
class NoisyClassifier(_Classifies, Noised):
    """A classifier of noisy images, for guidance by its gradient."""

    network = NoisyClassifierNet
    role = "noisy_classifier"
    model: Literal["noisy-classifier"] = "noisy-classifier"  #: What is trained: a classifier of noisy images.

    def losses(self, net: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        x = augment(x, shift=self.shift, generator=generator) if self.shift else x
        lam = self._law.sample(len(x), generator, stratified=True, device=x.device, dtype=x.dtype)
        return self._cross_entropy(net(diffuse(x, lam, generator=generator), lam), y)

    def report(self, net: nn.Module, device: torch.device) -> dict[str, float]:
        def logits(x: Tensor, level: float, noise: Generator) -> Tensor:
            lam = torch.full((len(x),), level, device=x.device)
            return net(diffuse(x, lam, generator=noise), lam)

        figures: dict[str, float] = {}
        for level in (0.0, 4.0, 8.0):
            noisy = partial(logits, level=level, noise=Generator(device).manual_seed(0))
            figures |= {f"{name}_at_logsnr_{level:g}": v for name, v in self._accuracy(noisy, device).items()}
        return figures


@dataclass(frozen=True)
class Evaluator(_Classifies):
    """The evaluator: a classifier of clean images, in whose features samples are measured."""

    network = EvaluatorNet
    role = "evaluator"
    model: Literal["evaluator"] = "evaluator"  #: What is trained: the evaluator of clean images.
    cutout: Whole = 0  #: Side of a blanked square.

    def losses(self, net: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        if self.shift or self.cutout:
            x = augment(x, shift=self.shift, cutout=self.cutout, generator=generator)
        return self._cross_entropy(net(x), y)

    def report(self, net: nn.Module, device: torch.device) -> dict[str, float]:
        return self._accuracy(net, device)
