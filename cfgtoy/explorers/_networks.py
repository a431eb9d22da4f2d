"""Networks in the page: what a page must know of a teacher or a student, and the same pictures by PyTorch."""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import artifacts, guidance, samplers
from ..images.sampling import Sampling, level_grid
from ..prediction import Denoiser
from . import _noise, _weights

LEVELS = 18
SECONDS = 4
"""A teacher's image at all levels in a browser, on one core: see benchmarks/README.md."""

Levels = Iterator[tuple[float, Tensor, Tensor]]
"""A network's way to its pictures: at each level λ, and two of what it reads and says there."""

teacher = cache(artifacts.load_denoiser)
"""The network that ships under a name, read once."""


@cache
def student(name: str) -> tuple[artifacts.StudentDenoiser, Tensor]:
    """The student of few steps that ships as ``name``, and its levels, read once."""
    found = artifacts.load_student(name)
    return found, artifacts.student_grid(found.steps, found.schedule.lo)


def _about(name: str, denoiser: artifacts.ImageDenoiser, grid: Tensor) -> dict[str, Any]:
    images = {"shape": list(denoiser.shape), "classes": list(denoiser.classes)}
    return {"network": name, "networks": {name: _weights.entry(name)}, **images, "grid": grid.tolist()}


@cache
def teacher_about(name: str) -> dict[str, Any]:
    """What ``Teacher`` in ``js/nets/teacher.mjs`` asks for: weights, image shape, classes, levels, seconds an image."""
    grid = level_grid(Sampling(steps=LEVELS), teacher(name).schedule)
    return _about(name, teacher(name), grid) | {"seconds": SECONDS}


def student_about(name: str) -> dict[str, Any]:
    """What ``Student`` in ``js/nets/student.mjs`` asks for: weights, image shape, classes, levels, largest w."""
    return _about(name, *student(name)) | {"w_max": student(name)[0].w_max}


@torch.no_grad()
def teacher_path(
    name: str, *, w: float, y: Sequence[int], seeds: Sequence[int], sampler: samplers.Method
) -> Levels:
    """What a network says, under classifier-free guidance, on the way from the page's noise to pictures.

    For each of b pictures there are a class in ``y`` and a noise in ``seeds``. Yields what `guided_path` does.
    """
    denoiser, grid = teacher(name), torch.tensor(teacher_about(name)["grid"])
    z, guided = _noise.pictures(denoiser.shape, seeds), guidance.classifier_free(denoiser, w=w)
    yield from guided_path(denoiser, guided, z, grid, torch.tensor(y), sampler)


def guided_path(
    denoiser: Denoiser, guided: Denoiser, z: Tensor, grid: Tensor, y: Tensor, sampler: samplers.Method
) -> Levels:
    """At each level: λ, the guided estimates x̂ (b, c, h, w), and the r.m.s. of what guidance adds to each ε̂, (b,).

    The last estimates are the samples.
    """
    for state in samplers.trajectory(guided, z, grid, y, method=sampler):
        if state.step < len(grid):
            push = state.prediction.eps - denoiser(state.z, state.logsnr, y).eps
            yield state.logsnr.item(), state.prediction.x, push.square().mean((1, 2, 3)).sqrt()


@torch.no_grad()
def student_path(name: str, *, w: float, y: Sequence[int], seeds: Sequence[int]) -> Levels:
    """What a student says on its own grid, by DDIM, with the nearest w that it has learned; pictures as `teacher_path`.

    Yields:
        At each level: λ, the noisy pictures z (b, c, h, w) and the estimates x̂ of that shape; the last are the samples.
    """
    denoiser, grid = student(name)
    guided = denoiser.at(min(max(float(w), 0.0), denoiser.w_max))
    z, classes = _noise.pictures(denoiser.shape, seeds), torch.tensor(y)
    for state in samplers.trajectory(guided, z, grid, classes, method="ddim"):
        if state.step < len(grid):
            yield state.logsnr.item(), state.z, state.prediction.x


@torch.no_grad()
def student_push(name: str, *, w: float, y: Sequence[int], seeds: Sequence[int]) -> list[Tensor]:
    """How much w changes a student's ε̂ on the way, against its own answer at w = 0: r.m.s. at each level, (b,) each."""
    (denoiser, _), classes = student(name), torch.tensor(y)
    return [  # at one z, a change of x̂ by dx is one of ε̂ by −α/σ dx
        (x - denoiser(z, torch.tensor(lam), classes).x).square().mean((1, 2, 3)).sqrt() * math.exp(lam / 2)
        for lam, z, x in student_path(name, w=w, y=y, seeds=seeds)
    ]
