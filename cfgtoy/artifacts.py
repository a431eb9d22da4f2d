"""Trained models from files: networks as denoisers, classifiers and extractors.

Reading and writing files is in ``cfgtoy._files``, rebuilding a network in ``cfgtoy.nets.files``; their names can
be had from here too.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from . import _checks, schedules
from ._files import (
    ENVIRONMENT,
    MANIFEST,
    Artifact,
    data_folder,
    load,
    manifest,
    manifest_add,
    save,
    write_atomically,
)
from .logsnr import from_flow_time
from .metrics.extractors import classifier as load_evaluator
from .nets.files import Role, load_net
from .prediction import Denoiser, NetDenoiser, Prediction

__all__ = [
    "ENVIRONMENT",
    "MANIFEST",
    "Artifact",
    "ImageDenoiser",
    "NoisyImageClassifier",
    "StudentDenoiser",
    "data_folder",
    "load",
    "load_denoiser",
    "load_evaluator",
    "load_net",
    "load_noisy_classifier",
    "load_student",
    "manifest",
    "manifest_add",
    "save",
    "schedule_from_meta",
    "schedule_to_meta",
    "student_grid",
    "write_atomically",
]

schedule_to_meta = schedules.Schedule.to_json
schedule_from_meta = schedules.from_json


class _OnDevice:
    net: nn.Module

    def to(self, device: torch.device | str) -> Self:
        """Move the network; returns this object."""
        self.net.to(device)
        return self


class ImageDenoiser(_OnDevice, NetDenoiser):
    """A trained network as a denoiser, with what one needs to sample from it.

    Attributes:
        net, kind: as in :class:`~cfgtoy.prediction.NetDenoiser`.
        shape, classes: (c, h, w) of an image, values in [-1, 1]; the class names.
        schedule: the noise levels it was trained on.
        meta, sha256: all that the file said about itself; of the file it came from, or None.
    """

    net: nn.Module

    def __init__(self, net: nn.Module, meta: Mapping[str, Any], sha256: str | None = None) -> None:
        super().__init__(net, meta["kind"])
        c, h, w = map(int, meta["image"])
        self.shape, self.classes = (c, h, w), tuple(map(str, meta["classes"]))
        self.schedule = schedule_from_meta(meta["schedule"])
        self.meta, self.sha256 = dict(meta), sha256

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        self._check(z, y)
        return super().__call__(z, logsnr, y)

    def _check(self, z: Tensor, y: Tensor | None) -> None:
        if z.shape[1:] != self.shape:
            raise ValueError(f"z: got shape {tuple(z.shape)}, takes (b, {', '.join(map(str, self.shape))})")
        if y is not None and y.device.type == "cpu":  # on a GPU the check would wait for the queue
            _checks.labels("y", y, len(self.classes), null=-1)


def student_grid(steps: int, lo: float = -10.0) -> Tensor:
    """The rising log-SNRs at which a student of so many steps is asked, (steps,) float32.

    Evenly spaced in the t of z_t = (1−t) x + t ε: t = 1, (steps−1)/steps, …, 1/steps, the first moved to ``lo``, which
    must lie below the second. From the last the student leads to t = 0 at once, so the clean end is no level. Every
    second level of a grid is the grid of half as many steps.
    """
    _checks.positive_int("steps", steps)
    lam = from_flow_time(torch.arange(steps, 0, -1, dtype=torch.float64) / steps)
    lam[0] = lo
    return _checks.rising("lo", lam.float())


class StudentDenoiser(ImageDenoiser):
    """A distilled student: one evaluation answers as the guided teacher does, and w is an input.

    ``student(z, logsnr, y, w=2.0)``; ``student.at(2.0)`` is a denoiser for the samplers. Without a class it answers as
    the teacher does without one, whatever w.

    Attributes:
        steps, grid: levels of its own, to be taken by DDIM: rising log-SNRs, (steps,); 0 and None where any will do.
        w_max: it has learned the weights from 0 to this one.
        net, kind, shape, classes, schedule, meta, sha256: as :class:`ImageDenoiser`.
    """

    def __init__(self, net: nn.Module, meta: Mapping[str, Any], sha256: str | None = None) -> None:
        super().__init__(net, meta, sha256)
        self.steps, self.w_max = int(meta["steps"]), float(meta["w_max"])
        self.grid = student_grid(self.steps, self.schedule.lo) if self.steps else None

    def __call__(
        self, z: Tensor, logsnr: Tensor, y: Tensor | None = None, *, w: float | Tensor = 0.0
    ) -> Prediction:
        """The guided prediction at z, with one weight or one a sample, (b,).

        One outside [0, w_max], which the student was never shown, is a ``ValueError``, on the CPU.
        """
        w = torch.as_tensor(w, dtype=torch.float32, device=z.device)
        if w.ndim > 1 or (w.ndim == 1 and len(w) not in (1, len(z))):
            raise ValueError(f"w: got shape {tuple(w.shape)}, takes one number or one a sample, ({len(z)},)")
        if w.device.type == "cpu" and not bool(((w >= 0) & (w <= self.w_max)).all()):
            raise ValueError(f"w: got {w.tolist()}, takes numbers in [0, {self.w_max:g}]")
        self._check(z, y)
        with_w = NetDenoiser(lambda z, lam, y: self.net(z, lam, y, w.expand(len(z))), self.kind)
        return with_w(z, logsnr, y)

    def at(self, w: float | Tensor) -> Denoiser:
        """The student with its weight set: a denoiser. Errors as on a call."""
        if not isinstance(w, Tensor) and not 0 <= w <= self.w_max:
            raise ValueError(f"w: got {w}, takes numbers in [0, {self.w_max:g}]")
        return lambda z, logsnr, y=None: self(z, logsnr, y, w=w)


class NoisyImageClassifier(_OnDevice):
    """A trained p(c | z_λ): ``(z, logsnr) -> log p(c | z)``, (b, C) in float32. See ``guidance.classifier``."""

    def __init__(self, net: nn.Module, meta: Mapping[str, Any], sha256: str | None = None) -> None:
        self.net, self.meta, self.sha256 = net, dict(meta), sha256
        self.classes = tuple(map(str, meta["classes"]))

    def __call__(self, z: Tensor, logsnr: Tensor) -> Tensor:
        lam = torch.as_tensor(logsnr, device=z.device, dtype=torch.float32).expand(len(z))
        return self.net(z, lam).float().log_softmax(1)


def load_denoiser(
    name: str | Path = "cifar10", device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> ImageDenoiser:
    """A trained image model, ready for any guidance and sampler; a :class:`StudentDenoiser` where the file holds one.

    The file's JSON has ``role`` ``"denoiser"``, ``net`` ``{"class", "args"}`` (a class of ``cfgtoy.nets``),
    ``kind`` (``"v"``, ``"eps"``, ``"x"``), ``schedule`` ``{"class", "args"}``, ``image`` [c, h, w], ``classes``,
    ``dataset`` and ``made_by``. Errors as :func:`load_net`.
    """
    return _loaded(name, {"denoiser": ImageDenoiser, "student": StudentDenoiser}, device, dtype)


def load_student(
    name: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> StudentDenoiser:
    """A distilled student, ``student(z, logsnr, y, w=…)``.

    The file's JSON has ``role`` ``"student"``, ``steps``, ``w_max``, and the rest of what :func:`load_denoiser` reads.
    Errors as :func:`load_net`.
    """
    return _loaded(name, {"student": StudentDenoiser}, device, dtype)


def load_noisy_classifier(
    name: str | Path = "cifar10-noisy-classifier",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> NoisyImageClassifier:
    """A trained classifier of noisy images, for classifier guidance. Errors as :func:`load_net`."""
    return _loaded(name, {"noisy_classifier": NoisyImageClassifier}, device, dtype)


def _loaded(
    name: str | Path, kinds: Mapping[Role, Callable[..., Any]], device: torch.device | str, dtype: torch.dtype
) -> Any:
    """The network of a file, as what ``kinds`` makes of the role that the file has."""
    net, artifact = load_net(name, tuple(kinds), device, dtype)
    try:
        return kinds[artifact.meta["role"]](net, artifact.meta, artifact.sha256)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{artifact.path}: its JSON lacks or garbles {error}") from error
