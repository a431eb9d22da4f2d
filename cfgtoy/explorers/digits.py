"""Digits: a trained network itself, in the page or in the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .. import artifacts, guidance, schedules
from . import _noise, _students, _teachers, _weights
from ._drawn import Drawn, below
from ._exact import JS
from ._traits import integer, number, one_of, words

__all__ = ["DigitsExplorer"]

RULES = ("classifier-free", "classifier")
NETWORK, CLASSIFIER, STUDENT = "digits", "digits-noisy-classifier", "digits-student"
LO, HI = -9.0, 10.0


class DigitsExplorer(Drawn):
    """Ten digits, one a class, from one noise, drawn by the shipped U-Net or its student while the reader sets w.

    In a page the weights of ``data/`` lie beside it and run in the browser; in JupyterLab the browser gets them from
    the kernel, or the kernel draws with PyTorch.

    ``images`` (10, 1, 8, 8), float32, in [−1, 1] or a little beyond, holds the digits on screen, with ``"both"`` those
    of the first row; None before a browser showed them. It can be observed.
    """

    networks = (NETWORK, CLASSIFIER, STUDENT)
    tiles = (10, 8, 660)
    module = JS / "digits.mjs"
    styles = (JS / "explorers.css",)

    w = number(1.0, doc="Guidance weight, 0 for plain conditional sampling.")
    steps = integer(20, 2, 64, "T, 2 … 64 levels, evenly spaced in λ from −9 to 10.")
    sampler = one_of("dpm++2m", ["dpm++2m", "ddim"], '``"dpm++2m"`` or ``"ddim"``.')
    seed = integer(0, 0, 2**31 - 1, "Of the noise, which all ten digits start from.")
    rule = one_of(
        "classifier-free",
        [*RULES, "both"],
        '``"classifier-free"``, ``"classifier"`` (the shipped classifier of noisy digits) or ``"both"``.',
    )
    network = one_of(
        "teacher",
        ["teacher", "student", "both"],
        '``"teacher"``, ``"student"`` (four levels, one evaluation each, w up to 4) or ``"both"``.',
    )
    pick = below(10, "The digit whose path is shown, 0 … 9, or None.", "a digit")
    alt = words("Ten digits, one a class, drawn from one noise by a network, with w under a slider.")

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        student = _students.about(STUDENT)
        self.about = {
            "network": NETWORK,
            "classifier": CLASSIFIER,
            "student": {"name": STUDENT, "grid": student["grid"], "w_max": student["w_max"]},
            "networks": {name: _weights.entry(name) for name in self.networks},
            "shape": list(self._denoiser.shape),
            "classes": list(self._denoiser.classes),
            "lo": LO,
            "hi": HI,
            "prepared": self._prepared(),
        }

    @cached_property
    def _denoiser(self) -> artifacts.ImageDenoiser:
        return artifacts.load_denoiser(NETWORK)

    @cached_property
    def _classifier(self) -> artifacts.NoisyImageClassifier:
        return artifacts.load_noisy_classifier(CLASSIFIER)

    @cached_property
    def _start(self) -> Tensor:
        rule = "student" if self.network == "student" else RULES[0] if self.rule == "both" else self.rule
        *_, (_, x, _) = self.path(w=self.w, steps=self.steps, sampler=self.sampler, seed=self.seed, rule=rule)
        return x

    @torch.no_grad()
    def path(
        self, *, w: float, steps: int, sampler: str, seed: int, rule: str
    ) -> Iterator[tuple[float, Tensor, Tensor]]:
        """What the network says on the way from the page's noise to digits.

        Under the rule ``"student"`` that is the student, on its own levels, by DDIM.

        Yields:
            At each level: λ, the guided estimates x̂ (10, 1, 8, 8), and for each digit the root mean square of what
            guidance added to ε̂, (10,). The last estimates are the samples.
        """
        if rule == "student":
            yield from self._learned(w, seed)
            return
        denoiser, n = self._denoiser, len(self._denoiser.classes)
        z = _noise.pictures(denoiser.shape, [seed] * n)
        guided = guidance.rule(rule)(denoiser, w=w, classifier=self._classifier)
        grid = schedules.Uniform(LO, HI).grid(steps)
        yield from _teachers.guided_path(denoiser, guided, z, grid, torch.arange(n), sampler)

    def _learned(self, w: float, seed: int) -> Iterator[tuple[float, Tensor, Tensor]]:
        n = len(self._denoiser.classes)
        how: dict[str, Any] = {"w": w, "y": range(n), "seeds": [seed] * n}
        pushes = _students.push(STUDENT, **how)
        for (lam, _, x), push in zip(_students.path(STUDENT, **how), pushes, strict=True):
            yield lam, x, push

    def _numbers(self, question: dict[str, Any]) -> Tensor:
        path = self.path(**question["draw"])
        return torch.cat([torch.cat([torch.tensor([lam]), x.flatten(), push]) for lam, x, push in path])
