"""Photographs: the CIFAR-10 network and a small student of it, in the page or in the kernel."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from . import _students, _teachers
from ._drawn import Drawn, below
from ._exact import JS
from ._traits import integer, number, one_of, words

__all__ = ["PhotosExplorer"]

STUDENT, TEACHER = "cifar10-student", "cifar10"
COUNT, ACROSS = 20, 5


class PhotosExplorer(Drawn):
    """Twenty photographs under one w, drawn by a student of the CIFAR-10 network, four looks at each.

    Ten classes from two noises, or one class from twenty. The student's teacher, of four times the size, comes when the
    reader presses its button; it draws ten pictures, ten classes from one noise or one class from ten, by
    classifier-free guidance at eighteen levels. In a page the student's weights lie beside it, come once the
    reader asks for what was not drawn beforehand, and run in the browser; in JupyterLab the browser gets them from the
    kernel, or the kernel draws with PyTorch.

    ``images`` (n, 3, 32, 32), float32, in [−1, 1] or a little beyond, holds the pictures on screen, row by row: the
    student's twenty, the teacher's ten, or ten of each, the teacher's rows below the student's; None before a browser
    showed them all. It can be observed.
    """

    networks = (STUDENT, TEACHER)
    tiles = (ACROSS, 2, 560)
    module = JS / "photos.mjs"
    styles = (JS / "explorers.css",)

    w = number(
        1.0, 0.0, 1e3, "Guidance weight; beyond what the student has learned, 4, it is asked for that."
    )
    network = one_of(
        "student",
        ["student", "teacher", "both"],
        'Who draws: ``"student"``, ``"teacher"`` or ``"both"``; the student until the reader asks for the teacher.',
    )
    sampler = one_of("dpm++2m", ["dpm++2m", "ddim"], 'The teacher\'s: ``"dpm++2m"`` or ``"ddim"``.')
    seed = integer(0, 0, 10**8 - 1, "Of the noises.")
    y = below(10, "The class, 0 … 9, or None for all ten.")
    pick = below(COUNT, "The picture whose path is shown, 0 … 19, row by row, or None.")
    alt = words("Twenty small photographs, ten classes from two noises, with w under a slider.")

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.about = _students.about(STUDENT) | {
            "teacher": _teachers.about(TEACHER),
            "prepared": self._prepared(),
        }

    def wish(self) -> dict[str, Any]:
        """w, and the class and the seed of the noise of each picture, as they are set now."""
        rows = [divmod(i, ACROSS) for i in range(COUNT)]
        y = [ACROSS * (row // 2) + column for row, column in rows] if self.y is None else [self.y] * COUNT
        noises = [row % 2 if self.y is None else ACROSS * row + column for row, column in rows]
        return {"w": self.w, "y": y, "seeds": [COUNT * self.seed + noise for noise in noises]}

    @cached_property
    def _start(self) -> Tensor:
        *_, (_, _, x) = _students.path(STUDENT, **self.wish())
        return x

    def _numbers(self, question: dict[str, Any]) -> Tensor:
        if "push" in question:
            return torch.cat(_students.push(STUDENT, **question["push"]))
        if "teach" in question:
            told = _teachers.path(TEACHER, **question["teach"])
            return torch.cat([torch.cat([torch.tensor([lam]), x.flatten(), push]) for lam, x, push in told])
        states = _students.path(STUDENT, **question["draw"])
        return torch.cat([torch.cat([torch.tensor([lam]), x.flatten()]) for lam, _, x in states])
