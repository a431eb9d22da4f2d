"""Digits: a trained network itself, in the page or in the kernel."""

from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from .. import artifacts, guidance, schedules
from . import _networks, _noise, _weights
from ._drawn import Drawn
from ._traits import JS, integer, number, one_of, words

RULES = ("classifier-free", "classifier")
NETWORK, CLASSIFIER, STUDENT = "digits", "digits-noisy-classifier", "digits-student"
LO, HI = -9.0, 10.0

_classifier = cache(artifacts.load_noisy_classifier)


class DigitsExplorer(Drawn):
    """Ten digits, one a class, from one noise, drawn by the shipped U-Net or its student while the reader sets w.

    ``images`` (10, 1, 8, 8), float32, in [−1, 1] or a little beyond, holds the digits on screen, with ``"both"`` those
    of the first row; None before a browser showed them. It can be observed.
    """

    networks = (NETWORK, CLASSIFIER, STUDENT)
    tiles = (10, 8, 660)
    module = JS / "digits.mjs"
    w = number(1.0, doc="Guidance weight, 0 for plain conditional sampling.")
    steps = integer(20, 2, 64, "T, 2 … 64 levels, evenly spaced in λ from −9 to 10.")
    sampler = one_of(["dpm++2m", "ddim"], "the teacher's.")
    seed = integer(0, 0, 2**31 - 1, "Of the noise, which all ten digits start from.")
    rule = one_of([*RULES, "both"], "the classifier is the shipped one of noisy digits.")
    network = one_of(["teacher", "student", "both"], "the student takes four evaluations, and w up to 4.")
    pick = integer(None, 0, 9, "The digit whose path is shown, 0 … 9, or None.")
    alt = words("Ten digits, one a class, drawn from one noise by a network, with w under a slider.")

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        teacher, told = _networks.teacher(NETWORK), _networks.student_about(STUDENT)
        student = {"name": STUDENT, "grid": told["grid"], "w_max": told["w_max"]}
        networks = {name: _weights.entry(name) for name in self.networks}
        who = {"network": NETWORK, "classifier": CLASSIFIER, "student": student, "networks": networks}
        what = {"shape": list(teacher.shape), "classes": list(teacher.classes), "lo": LO, "hi": HI}
        self.about = who | what | {"prepared": self._prepared()}

    @cached_property
    def _start(self) -> Tensor:
        rule = "student" if self.network == "student" else RULES[0] if self.rule == "both" else self.rule
        *_, (_, x, _) = self.path(w=self.w, steps=self.steps, sampler=self.sampler, seed=self.seed, rule=rule)
        return x

    @torch.no_grad()
    def path(self, *, w: float, steps: int, sampler: str, seed: int, rule: str) -> _networks.Levels:
        """What the network says on the way from the page's noise to digits; under ``"student"``, what that says.

        Yields:
            At each level: λ, the guided estimates x̂ (10, 1, 8, 8), and for each digit the root mean square of what
            guidance added to ε̂, (10,). The last estimates are the samples.
        """
        denoiser = _networks.teacher(NETWORK)
        y, seeds = range(len(denoiser.classes)), [seed] * len(denoiser.classes)
        how: dict[str, Any] = {"w": w, "y": y, "seeds": seeds}
        if rule == "student":
            path, pushes = _networks.student_path(STUDENT, **how), _networks.student_push(STUDENT, **how)
            yield from ((lam, x, push) for (lam, _, x), push in zip(path, pushes, strict=True))
            return
        guided = guidance.rule(rule)(denoiser, w=w, classifier=_classifier(CLASSIFIER))
        z, grid = _noise.pictures(denoiser.shape, seeds), schedules.Uniform(LO, HI).grid(steps)
        yield from _networks.guided_path(denoiser, guided, z, grid, torch.tensor(y), sampler)

    def _numbers(self, question: dict[str, Any]) -> Iterable[Sequence[float | Tensor]]:
        return self.path(**question["draw"])
