"""Students in the page: what a page must know of one, and the same pictures by PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import artifacts, samplers
from . import _noise, _weights

__all__ = ["about", "load", "path", "push"]


@cache
def load(name: str) -> artifacts.StudentDenoiser:
    """The student that ships as ``name``, read once."""
    return artifacts.load_student(name)


def about(name: str) -> dict[str, Any]:
    """What ``Student`` in ``js/nets/student.mjs`` asks for: weights, image shape, classes, levels, largest w."""
    student = load(name)
    return _weights.known(name, student, _levels(student)) | {"w_max": student.w_max}


def _levels(student: artifacts.StudentDenoiser) -> Tensor:
    if student.grid is None:
        raise ValueError("name: got a student without a grid of its own, takes one of few steps")
    return student.grid


@torch.no_grad()
def path(
    name: str, *, w: float, y: Sequence[int], seeds: Sequence[int]
) -> Iterator[tuple[float, Tensor, Tensor]]:
    r"""What a student says on the way from the page's noise to pictures, on its own grid by DDIM.

    Args:
        name: of the student.
        w: the weight; what is outside of the weights it has learned becomes the nearest of them.
        y: a class for each picture, b of them.
        seeds: a noise for each.

    Yields:
        At each level: λ, the noisy pictures z (b, c, h, w) and the estimates x̂ of that shape; the last are the samples.
    """
    student, classes = load(name), torch.tensor(list(y))
    z = _noise.pictures(student.shape, seeds)
    grid = _levels(student)
    guided = student.at(_fit(student, w))
    for state in samplers.trajectory(guided, z, grid, classes, method="ddim"):
        if state.step < len(grid):
            yield state.logsnr.item(), state.z, state.prediction.x


def push(name: str, *, w: float, y: Sequence[int], seeds: Sequence[int]) -> list[Tensor]:
    """How much w changes a student's ε̂ on the way, against its own answer at w = 0: r.m.s. at each level, (b,) each."""
    student, classes = load(name), torch.tensor(list(y))
    out = []
    for lam, z, x in path(name, w=w, y=y, seeds=seeds):
        alone = student(z, torch.tensor(lam), classes)
        with torch.no_grad():
            # at one z, a change of x̂ by dx is one of ε̂ by −α/σ dx
            change = (x - alone.x).square().mean((1, 2, 3)).sqrt() * math.exp(lam / 2)
        out.append(change.detach())
    return out


def _fit(student: artifacts.StudentDenoiser, w: float) -> float:
    return min(max(float(w), 0.0), student.w_max)
