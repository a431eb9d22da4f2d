r"""Distillation of guidance: a student that takes w as an input, and then needs fewer steps.

In its first part the student learns to answer at once what the guided teacher answers from two evaluations, for every
w up to ``w_max``. In each later part its teacher is the student before, of which one new step replaces two or more.

Source: Meng et al. 2023 (arXiv 2210.03142), §3, for the parts; Salimans & Ho 2022 (arXiv 2202.00512), Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .. import _checks, artifacts, samplers
from ..artifacts import student_grid
from ..datasets.images import ImageData
from ..guidance import classifier_free
from ..logsnr import per_sample
from ..nets._sized import Sized
from ..nets.unet import UNet
from ..prediction import Denoiser as AnyDenoiser
from ..prediction import Kind, NetDenoiser, Prediction
from ..process import diffuse
from ..samplers.moves import moves
from .objective import drop_labels
from .options import Amount, Count, Share, TrainConfig, Whole
from .tasks import Noised


def landing(teacher: AnyDenoiser, z: Tensor, levels: Sequence[Tensor], y: Tensor | None) -> Tensor:
    r"""The x̂ with which one DDIM step lands where several of the teacher's do, (b, \*d).

    The teacher's steps lead from z (b, \*d) over ``levels``, two or more rising log-SNRs (b,), to z'' at the last,
    which may be λ = +∞. One step with x̂ leads to keep·z + fill·x̂ (:func:`~cfgtoy.samplers.moves.moves` without
    noise), so x̂ = (z'' − keep·z) / fill. Source: Salimans & Ho 2022, Algorithm 2, with two steps.
    """

    def ddim(here: Tensor, there: Tensor) -> tuple[Tensor, ...]:
        return tuple(per_sample(c, z) for c in moves(here, there, torch.zeros_like(here)))

    start = z
    for level, ahead in pairwise(levels):
        keep, fill, _ = ddim(level, ahead)
        z = keep * z + fill * teacher(z, level, y).x
    keep, fill, _ = ddim(levels[0], levels[-1])
    return (z - keep * start) / fill


@dataclass(frozen=True)
class Student(Noised):
    """A student of a guided denoiser, one evaluation a step, w as an input; halving must lead to its ``steps``."""

    network = UNet
    role = "student"
    fixed: ClassVar[tuple[str, ...]] = (*Noised.fixed, "kind", "w_max", "steps", "halve_from", "stride")
    inputs: ClassVar[dict[str, bool]] = {"strength": True}

    model: Literal["student"] = "student"  #: What is trained: a student of a denoiser.
    kind: Kind = "v"  #: What the student predicts, and whose squared error is the loss.
    #: Weights of the teacher, by name or path: a denoiser, or, to halve its steps, a student.
    teacher: str = "cifar10"
    w_max: Amount = 4.0  #: The student learns the weights from 0 to this one.
    #: Levels of the student's grid; 0 for a student of any grid, which saves the second evaluation and no step.
    steps: Whole = 4
    #: Levels of the first teacher: ``steps`` times a power of ``stride``; 0 for one halving of ``teacher``'s steps.
    halve_from: Whole = 32
    #: Steps of the part before that one step replaces; with 2 they are halved.
    stride: Annotated[int, partial(_checks.positive_int, least=2)] = 2
    images_halving: Count = 4_000_000  #: Length of each halving, in images.
    #: Probability of dropping a label; without one the student answers as the teacher does, whatever w.
    p_uncond: Share = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = self.steps * self.stride
        while 0 < levels < self.halve_from:
            levels *= self.stride
        if levels and self.halve_from not in (0, levels):
            takes = f"0, or steps times {self.stride}, {self.stride**2}, {self.stride**3}, …"
            raise ValueError(f"halve_from: got {self.halve_from} for steps={self.steps}, takes {takes}")

    def parts(self) -> Sequence[TrainConfig]:
        if not (self.steps and self.halve_from):
            return (self,)
        parts = [replace(self, steps=0, out=self.out / "guided")]
        steps = self.halve_from
        while steps > self.steps:
            steps //= self.stride
            before = parts[-1].out / "weights.safetensors"
            out = self.out if steps == self.steps else self.out / f"steps-{steps}"
            halved = replace(self, steps=steps, halve_from=0, out=out, images=self.images_halving)
            parts.append(replace(halved, teacher=str(before), init=before))
        return parts

    @cached_property
    def _teachers(self) -> dict[torch.device, artifacts.ImageDenoiser]:
        return {}

    def taught_by(self, device: torch.device) -> artifacts.ImageDenoiser:
        """The teacher, on ``device``; read once."""
        if device not in self._teachers:
            load = artifacts.load_student if self.steps else artifacts.load_denoiser
            teacher = load(self.teacher, device)
            if self.compile and device.type == "cuda":
                teacher.net = torch.compile(teacher.net, dynamic=False)  # type: ignore[assignment]
            self._teachers[device] = teacher
        return self._teachers[device]

    def build(self, data: ImageData) -> Sized:
        net = super().build(data)
        if not self.steps:  # it begins as its teacher with w = 0, where the two are of one size
            theirs, mine = self.taught_by(torch.device("cpu")).net.state_dict(), net.state_dict()
            if all(name in mine and mine[name].shape == value.shape for name, value in theirs.items()):
                net.load_state_dict(mine | theirs)
        return net

    def losses(self, net: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        b, teacher = len(x), self.taught_by(x.device)
        w = self.w_max * torch.rand(b, generator=generator, device=x.device)  # (b,)
        y = drop_labels(y, self.p_uncond, generator)
        with torch.no_grad():
            if isinstance(teacher, artifacts.StudentDenoiser):
                fine = student_grid(self.stride * self.steps, self._law.lo).to(x)  # (stride · steps,)
                ends = F.pad(fine, (0, 1), value=torch.inf)
                i = self.stride * torch.randint(self.steps, (b,), generator=generator, device=x.device)
                lam = ends[i]
                z = diffuse(x, lam, generator=generator)
                x_hat = landing(teacher.at(w), z, [ends[i + k] for k in range(self.stride + 1)], y)
                target = Prediction.from_x(z, lam, x_hat).as_kind(self.kind)
            else:
                lam = self._law.sample(b, generator, stratified=True, device=x.device, dtype=x.dtype)
                z = diffuse(x, lam, generator=generator)
                target = classifier_free(teacher, w=w)(z, lam, y).as_kind(self.kind)
        return (net(z, lam, y, w) - target).float().square().flatten(1).mean(1)

    def about(self) -> dict[str, Any]:
        return super().about() | {"kind": self.kind, "steps": self.steps, "w_max": self.w_max}

    def pictures(self, net: nn.Module, data: ImageData) -> Tensor:
        """Samples, w from 0 to ``w_max`` down the rows."""
        place = next(net.parameters()).device
        grid = student_grid(self.steps or 16, self._law.lo).to(place)
        y = torch.arange(data.num_classes, device=place).repeat(5)
        w = torch.linspace(0, self.w_max, 5, device=place).repeat_interleave(data.num_classes)
        student = NetDenoiser(lambda z, lam, y: net(z, lam, y, w), self.kind)
        noise = torch.Generator(place).manual_seed(self.seed)
        shape = (len(y), *data.shape)
        return samplers.sample(student, y, shape=shape, grid=grid, method="ddim", generator=noise)
