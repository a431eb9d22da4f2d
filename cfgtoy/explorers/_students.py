"""Students in the page: what a page must know of one, and the same pictures by PyTorch."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import artifacts, samplers
from . import _noise, _weights


@cache
def load(name: str) -> tuple[artifacts.StudentDenoiser, Tensor]:
    """The student of few steps that ships as ``name``, and its levels, read once."""
    student = artifacts.load_student(name)
    return student, artifacts.student_grid(student.steps, student.schedule.lo)


def about(name: str) -> dict[str, Any]:
    """What ``Student`` in ``js/nets/student.mjs`` asks for: weights, image shape, classes, levels, largest w."""
    student, grid = load(name)
    return _weights.known(name, student, grid) | {"w_max": student.w_max}


@torch.no_grad()
def path(name: str, *, w: float, y: Sequence[int], seeds: Sequence[int]) -> _weights.Levels:
    """What a student says on the way from the page's noise to pictures, on its own grid by DDIM.

    For each of b pictures there are a class in ``y`` and a noise in ``seeds``; a weight outside of those that the
    student has learned becomes the nearest of them.

    Yields:
        At each level: λ, the noisy pictures z (b, c, h, w) and the estimates x̂ of that shape; the last are the samples.
    """
    student, grid = load(name)
    guided = student.at(min(max(float(w), 0.0), student.w_max))
    z, classes = _noise.pictures(student.shape, seeds), torch.tensor(y)
    for state in samplers.trajectory(guided, z, grid, classes, method="ddim"):
        if state.step < len(grid):
            yield state.logsnr.item(), state.z, state.prediction.x


@torch.no_grad()
def push(name: str, *, w: float, y: Sequence[int], seeds: Sequence[int]) -> list[Tensor]:
    """How much w changes a student's ε̂ on the way, against its own answer at w = 0: r.m.s. at each level, (b,) each."""
    (student, _), classes = load(name), torch.tensor(y)
    return [  # at one z, a change of x̂ by dx is one of ε̂ by −α/σ dx
        (x - student(z, torch.tensor(lam), classes).x).square().mean((1, 2, 3)).sqrt() * math.exp(lam / 2)
        for lam, z, x in path(name, w=w, y=y, seeds=seeds)
    ]
