"""What a training run is: one frozen dataclass of plain types, which a command line can fill."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .. import schedules

__all__ = ["PRESETS", "TrainConfig", "preset"]

Model = Literal["unet", "noisy-classifier", "evaluator"]
ScheduleName = Literal["cosine", "uniform", "linear-beta", "lognormal"]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on."""

    dataset: str = "cifar10"
    """``cifar10``, ``digits``, or a folder of images with a subfolder for each class."""
    root: Path | None = None
    """Where CIFAR-10 lies; by default the environment variable CFGTOY_CIFAR10, else the user's cache."""
    model: Model = "unet"
    """What is trained: a denoiser, a classifier of noisy images, or the evaluator of clean ones."""
    size: str = "cifar"
    """The network's size: ``digits``, ``cifar``, or, for the denoiser, ``wide``."""
    out: Path = Path("runs/cifar10")
    """Folder of the run: checkpoints, log, grids and final weights."""
    seed: int = 0
    """Of the weights, the data's order and all noise."""

    kind: Literal["v", "eps", "x"] = "v"
    """What the denoiser predicts, and whose squared error is the loss."""
    schedule: ScheduleName = "cosine"
    """Law of the log-SNR in training."""
    logsnr_min: float = -20.0
    logsnr_max: float = 20.0
    lognormal_mean: float = -1.2
    """Mean of log(σ/α), for ``lognormal``."""
    lognormal_std: float = 1.2
    """Its standard deviation."""
    weighting: Literal["none", "min-snr", "sigmoid"] = "none"
    """Further weight on the squared error: Min-SNR-5 in terms of v, or a sigmoid of λ."""
    p_uncond: float = 0.1
    """Probability of dropping a label."""
    dropout: float = 0.0

    images: int = 40_000_000
    """Length of the training, in images."""
    batch: int = 2048
    """Images an optimizer step, over all GPUs and accumulated parts."""
    accumulate: int = 1
    """Parts into which each GPU cuts its share of a batch, to save memory."""
    optimizer: Literal["adam", "muon", "sgd"] = "muon"
    """``muon`` takes the hidden matrices and leaves the rest to Adam."""
    lr: float = 3e-3
    """Peak learning rate."""
    lr_adam: float = 1.5e-3
    """Peak learning rate of the weights that ``muon`` leaves to Adam."""
    weight_decay: float = 0.0
    warmup: int = 400_000
    """Images over which the learning rate rises from zero."""
    decay: float = 0.4
    """Last part of the training over which it falls to zero."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 for any."""
    ema_halflife: int = 500_000
    """Images after which a weight counts half in the average."""

    flip: bool = True
    """Mirror images at random."""
    shift: int = 0
    """Move images by up to so many pixels (classifiers)."""
    cutout: int = 0
    """Side of a blanked square (the evaluator)."""
    label_smoothing: float = 0.0
    """For classifiers."""

    device: str = "auto"
    """``auto`` takes CUDA where there is some."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the network's arithmetic; weights and optimizer are float32 always."""
    compile: bool = True
    """Compile the network where there is CUDA."""
    rank_timeout: float = 600.0
    """Seconds that one process waits for the others before it gives up, so that torchrun can start all again."""

    init: Path | None = None
    """Start from these weights, with a fresh optimizer; their images count as trained."""
    resume: bool = False
    """Go on from the newest good checkpoint in ``out``."""
    checkpoint_every: int = 2_000_000
    """Images between checkpoints."""
    keep: int = 3
    """Checkpoints kept."""
    log_every: int = 50
    """Steps between log lines."""
    grid_every: int = 5_000_000
    """Images between sample grids; 0 for none."""
    weights: Literal["float16", "bfloat16", "float32"] = "float16"
    """Type of the final weights in their file."""
    tensorboard: bool = False
    """Write TensorBoard events beside the log."""
    progress: bool = True
    """Show a bar."""

    def __post_init__(self) -> None:
        for name in ("images", "batch", "accumulate", "keep", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, takes at least 1")
        for name in ("p_uncond", "decay", "label_smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, takes a number in [0, 1]")
        if not self.rank_timeout > 0:
            raise ValueError(f"rank_timeout: got {self.rank_timeout}, takes a positive number of seconds")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: got {self.dropout}, takes a number in [0, 1)")
        if not self.lr > 0 or not self.lr_adam > 0:
            raise ValueError(f"lr: got {self.lr} and {self.lr_adam}, takes positive numbers")

    def noise_schedule(self) -> schedules.Schedule:
        """The law of λ that the options describe."""
        ends = {"lo": self.logsnr_min, "hi": self.logsnr_max}
        match self.schedule:
            case "cosine":
                return schedules.Cosine(**ends)
            case "uniform":
                return schedules.Uniform(**ends)
            case "linear-beta":
                return schedules.LinearBeta(hi=self.logsnr_max)
            case "lognormal":
                return schedules.LogNormal(self.lognormal_mean, self.lognormal_std, **ends)

    def to_json(self) -> dict[str, Any]:
        """The options as JSON."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(self).items()}


_CIFAR = TrainConfig(
    schedule="lognormal", logsnr_min=-10.0, logsnr_max=14.0, lognormal_mean=-1.0, lognormal_std=1.3, dropout=0.05,
    checkpoint_every=4_000_000, grid_every=8_000_000, keep=5,
)  # fmt: skip
_DIGITS = TrainConfig(
    dataset="digits", size="digits", out=Path("runs/digits"), images=200_000, batch=256, lr=2e-3, lr_adam=1e-3,
    warmup=10_000, ema_halflife=20_000, flip=False, precision="float32", compile=False, checkpoint_every=100_000,
    grid_every=0,
    schedule="lognormal", logsnr_min=-10.0, logsnr_max=10.0, lognormal_mean=-0.5, lognormal_std=1.2, keep=2,
)  # fmt: skip
_NOISY: dict[str, Any] = {
    "model": "noisy-classifier", "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.05, "shift": 2,
}  # fmt: skip
_CLEAN: dict[str, Any] = {
    "model": "evaluator", "optimizer": "sgd", "lr": 0.4, "weight_decay": 5e-4, "warmup": 500_000, "decay": 0.9,
    "batch": 512, "label_smoothing": 0.1, "clip": 0.0, "shift": 4, "grid_every": 0,
}  # fmt: skip

PRESETS: dict[str, TrainConfig] = {
    "cifar10": _CIFAR,
    "cifar10-more": replace(  # for --init: weights that have seen 15 M images come to 40 M
        _CIFAR, out=Path("runs/cifar10-more"), images=25_000_000, seed=1, lr=2e-3, lr_adam=1e-3,
    ),
    "cifar10-short": replace(  # about 300 s on one H200
        _CIFAR, out=Path("runs/cifar10-short"), images=6_300_000, batch=1024, decay=0.5, dropout=0.0,
        warmup=200_000, ema_halflife=250_000,
    ),
    "cifar10-wide": replace(_CIFAR, size="wide", out=Path("runs/cifar10-wide")),
    "cifar10-noisy-classifier": replace(
        _CIFAR, out=Path("runs/cifar10-noisy-classifier"), images=6_000_000, batch=512, decay=0.9, dropout=0.1,
        ema_halflife=200_000, **_NOISY,
    ),
    "cifar10-evaluator": replace(
        _CIFAR, out=Path("runs/cifar10-evaluator"), images=5_000_000, cutout=8, ema_halflife=100_000, **_CLEAN
    ),
    "cifar10-evaluator-sharp": replace(  # probabilities that an Inception Score can be read from
        _CIFAR, out=Path("runs/cifar10-evaluator-sharp"), images=5_000_000, cutout=8, ema_halflife=100_000,
        **{**_CLEAN, "label_smoothing": 0.0},
    ),
    "digits": _DIGITS,
    "digits-noisy-classifier": replace(_DIGITS, out=Path("runs/digits-noisy-classifier"), **{**_NOISY, "shift": 0}),
    "digits-evaluator": replace(
        _DIGITS, out=Path("runs/digits-evaluator"), images=150_000, ema_halflife=5_000,
        **{**_CLEAN, "shift": 1, "batch": 128, "warmup": 10_000, "lr": 0.1},
    ),
    "folder": replace(_CIFAR, dataset="", out=Path("runs/folder")),
}  # fmt: skip
"""Named starting points: ``replace(preset(name), …)`` or the command line change what differs."""


def preset(name: str) -> TrainConfig:
    """The options of a named run.

    Raises:
        ValueError: an unknown name.
    """
    if name not in PRESETS:
        raise ValueError(f"name: got {name!r}, takes one of {', '.join(PRESETS)}")
    return PRESETS[name]
