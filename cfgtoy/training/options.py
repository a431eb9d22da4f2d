"""What a run is told: frozen dataclasses of plain types, which a command line can fill."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_origin, get_type_hints

import torch
from torch import Generator, Tensor, nn

from .. import _checks
from ..datasets.images import ImageData
from ..nets._sized import Sized
from ..nets.files import Role

# numbers with the check that their options go through
Count = Annotated[int, _checks.positive_int]
Whole = Annotated[int, partial(_checks.positive_int, least=0)]
Share = Annotated[float, _checks.unit_interval]
Amount = Annotated[float, partial(_checks.number, lo=0.0)]
Positive = Annotated[float, partial(_checks.number, lo=0.0, open=True)]


@dataclass(frozen=True)
class TrainConfig:
    """What every run is told, and what a kind of run has to know.

    ``TrainConfig(model=…)`` makes the subclass of that ``model``, as ``Path(…)`` makes a path of this system; they
    stand in :mod:`cfgtoy.training.tasks`. Another kind of run is one file with another subclass.

    Raises:
        ValueError: a name that is not known, a number out of range, or an option of another kind of run.
    """

    network: ClassVar[type[Sized]]  #: Class of the network.
    role: ClassVar[Role]  #: What the weight file says it is.
    #: Options that a resumed run must share with its beginning; the others may change, and the weights say when.
    fixed: ClassVar[tuple[str, ...]] = ("dataset", "model", "size", "optimizer", "seed")
    kinds: ClassVar[dict[str, type[TrainConfig]]] = {}  #: The kinds of run by their ``model``.

    #: What is trained: a denoiser, a classifier of noisy images, or the evaluator of clean ones.
    model: str = "unet"
    #: ``cifar10``, ``digits``, or a folder of images with a subfolder for each class.
    dataset: str = "cifar10"
    #: Where CIFAR-10 lies; by default the environment variable CFGTOY_CIFAR10, else the user's cache.
    root: Path | None = None
    size: str = "cifar"  #: The network's size: ``digits``, ``cifar``, or, for the denoiser, ``wide``.
    out: Path = Path("runs/cifar10")  #: Folder of the run: checkpoints, log, grids and final weights.
    seed: int = 0  #: Of the weights, the data's order and all noise.

    images: Count = 40_000_000  #: Length of the training, in images.
    batch: Count = 2048  #: Images an optimizer step, over all GPUs and accumulated parts.
    accumulate: Count = 1  #: Parts into which each GPU cuts its share of a batch, to save memory.
    #: ``muon`` takes the hidden matrices and leaves the rest to Adam.
    optimizer: Literal["adam", "muon", "sgd"] = "muon"
    lr: Positive = 3e-3  #: Peak learning rate.
    lr_adam: Positive = 1.5e-3  #: Peak learning rate of the weights that ``muon`` leaves to Adam.
    weight_decay: Amount = 0.0
    warmup: Whole = 400_000  #: Images over which the learning rate rises from zero.
    decay: Share = 0.4  #: Last part of the training over which it falls to zero.
    clip: Amount = 1.0  #: Largest norm of the gradient; 0 for any.
    ema_halflife: Whole = 500_000  #: Images after which a weight counts half in the average.
    flip: bool = True  #: Mirror images at random.

    device: str = "auto"  #: ``auto`` takes CUDA where there is some.
    #: Of the network's arithmetic; weights and optimizer are float32 always.
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    compile: bool = True  #: Compile the network where there is CUDA.
    #: Seconds that one process waits for the others before it gives up, so that torchrun can start all again.
    rank_timeout: Positive = 600.0

    #: Start from these weights, with a fresh optimizer; their images count as trained.
    init: Path | None = None
    resume: bool = False  #: Go on from the newest good checkpoint in ``out``.
    checkpoint_every: Count = 2_000_000  #: Images between checkpoints.
    keep: Count = 3  #: Checkpoints kept.
    log_every: Count = 50  #: Steps between log lines.
    grid_every: Whole = 5_000_000  #: Images between sample grids; 0 for none.
    #: Type of the final weights in their file.
    weights: Literal["float16", "bfloat16", "float32"] = "float16"
    tensorboard: bool = False  #: Write TensorBoard events beside the log.
    progress: bool = True  #: Show a bar.

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if "model" in cls.__dict__:
            TrainConfig.kinds[cls.model] = cls

    def __new__(cls, *_: Any, model: str = "unet", **options: Any) -> Self:
        kind: type[TrainConfig] = cls
        if cls is TrainConfig:
            kind = cls.kinds[_checks.one_of("model", model, cls.kinds)]
        for name in options.keys() - kind.__dataclass_fields__.keys():
            raise ValueError(f"{name}: got {options[name]!r}, takes nothing in a run of model={kind.model!r}")
        return object.__new__(kind)  # type: ignore[return-value]

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        _checks.one_of("size", self.size, self.network.presets)
        for name, hint in hints.items():
            if get_origin(hint) is Literal:
                _checks.one_of(name, getattr(self, name), hint.__args__)
            for check in getattr(hint, "__metadata__", ()):
                check(name, getattr(self, name))
        for name in ("root", "out", "init"):
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, Path(getattr(self, name)))

    def to_json(self) -> dict[str, Any]:
        return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(self).items()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> TrainConfig:
        """The run of which a weight file says ``config``; what is no option of its kind is left out."""
        known = TrainConfig.kinds[values["model"]].__dataclass_fields__
        return TrainConfig(**{k: v for k, v in values.items() if k in known})

    def parts(self) -> Sequence[TrainConfig]:
        """The trainings that the run consists of, one after another, the last of them in ``out``."""
        return (self,)

    def build(self, data: ImageData) -> Sized:
        """The network for images like ``data``, freshly initialised; ``ValueError`` for images that it does not fit."""
        return self.network.preset(self.size, in_channels=data.shape[0], num_classes=data.num_classes)

    def losses(self, net: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        """The loss of each image, (b,), for x (b, c, h, w) in [−1, 1] and y (b,) int64."""
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """What the weight file says beside the network's class, its data and who made it."""
        return {"role": self.role}

    def report(self, net: nn.Module, device: torch.device) -> dict[str, float]:
        """Figures of the finished network, measured on the test images where there are some."""
        return {}

    def pictures(self, net: nn.Module, data: ImageData) -> Tensor | None:
        """Images (n, c, h, w) in [−1, 1] to look at while it trains, a column a class."""
        return None
