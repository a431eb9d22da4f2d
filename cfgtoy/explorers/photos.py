"""Photographs: the CIFAR-10 network and a small student of it, in the page or in the kernel."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from . import _networks
from ._drawn import Drawn
from ._traits import JS, integer, number, one_of, words

STUDENT, TEACHER = "cifar10-student", "cifar10"
COUNT, ACROSS = 20, 5


class PhotosExplorer(Drawn):
    """Twenty photographs under one w, drawn by a student of the CIFAR-10 network, four looks at each.

    Ten classes from two noises, or one class from twenty. The student's teacher, of four times the size, comes when the
    reader presses its button; it draws ten pictures, ten classes from one noise or one class from ten, by
    classifier-free guidance at eighteen levels.

    ``images`` (n, 3, 32, 32), float32, in [−1, 1] or a little beyond, holds the pictures on screen, row by row: the
    student's twenty, the teacher's ten, or ten of each, the teacher's rows below the student's; None before a browser
    showed them all. It can be observed.
    """

    networks = (STUDENT, TEACHER)
    tiles = (ACROSS, 2, 560)
    module = JS / "photos.mjs"
    w = number(1.0, 0.0, 1e3, "Guidance weight; beyond 4, the most that it has learned, the student takes 4.")
    network = one_of(["student", "teacher", "both"], "who draws; the teacher comes when it is asked for.")
    sampler = one_of(["dpm++2m", "ddim"], "the teacher's.")
    seed = integer(0, 0, 10**8 - 1, "Of the noises.")
    y = integer(None, 0, 9, "The class, 0 … 9, or None for all ten.")
    pick = integer(None, 0, COUNT - 1, "The picture whose path is shown, 0 … 19, row by row, or None.")
    alt = words("Twenty small photographs, ten classes from two noises, with w under a slider.")

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        teacher, prepared = _networks.teacher_about(TEACHER), self._prepared()
        self.about = _networks.student_about(STUDENT) | {"teacher": teacher, "prepared": prepared}

    def wish(self) -> dict[str, Any]:
        """w, and the class and the seed of the noise of each picture, as they are set now."""
        rows = [divmod(i, ACROSS) for i in range(COUNT)]
        y = [ACROSS * (row // 2) + column for row, column in rows] if self.y is None else [self.y] * COUNT
        noises = [row % 2 if self.y is None else ACROSS * row + column for row, column in rows]
        return {"w": self.w, "y": y, "seeds": [COUNT * self.seed + noise for noise in noises]}

    @cached_property
    def _start(self) -> Tensor:
        *_, (_, _, x) = _networks.student_path(STUDENT, **self.wish())
        return x

    def _numbers(self, question: dict[str, Any]) -> Iterable[Sequence[float | Tensor]]:
        match question:
            case {"push": how}:
                return [_networks.student_push(STUDENT, **how)]
            case {"teach": how}:
                return _networks.teacher_path(TEACHER, **how)
        return ((lam, x) for lam, _, x in _networks.student_path(STUDENT, **question["draw"]))
