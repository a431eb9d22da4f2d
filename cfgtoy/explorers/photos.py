"""Photographs: a small student of the CIFAR-10 network itself, in the page or in the kernel."""

from __future__ import annotations

import base64
import io
from functools import cached_property
from typing import Any

import torch
import traitlets
from torch import Tensor

from ..datasets.images import to_uint8
from ..images.sheets import sheet
from . import _students, _weights
from ._exact import JS, integer_class
from ._traits import Explorer, checked, integer, number, one_of, words

__all__ = ["PhotosExplorer"]

STUDENT = "cifar10-student"
COUNT, ACROSS = 20, 5


def _below(name: str, value: Any, count: int) -> int | None:
    found = None if value is None else integer_class(name, value)
    if found is not None and found >= count:
        raise ValueError(f"{name}: got {value!r}, takes an integer from 0 to {count - 1}, or None")
    return found


class PhotosExplorer(Explorer):
    """Twenty photographs under one w, drawn by a student of the CIFAR-10 network, four looks at each.

    Ten classes from two noises, or one class from twenty. In a page the student's weights lie beside it, come once the
    reader asks for what was not drawn beforehand, and run in the browser; in JupyterLab the browser gets them from the
    kernel, or the kernel draws with PyTorch.

    ``images`` (20, 3, 32, 32), float32, in [−1, 1] or a little beyond, holds the pictures on screen, row by row; None
    before a browser showed them. It can be observed.
    """

    module = JS / "photos.mjs"
    styles = (JS / "explorers.css",)

    w = number(
        1.0, 0.0, 1e3, "Guidance weight; beyond what the student has learned, 4, it is asked for that."
    )
    seed = integer(0, 0, 10**8 - 1, "Of the noises.")
    y = checked(
        None,
        lambda name, value: _below(name, value, 10),
        "The class, 0 … 9, or None for all ten.",
        "int | None",
    )
    pick = checked(
        None,
        lambda name, value: _below(name, value, COUNT),
        "The picture whose path is shown, 0 … 19, row by row, or None.",
        "int | None",
    )
    backend = one_of(
        "page",
        ["page", "kernel"],
        'In JupyterLab, who draws: ``"page"``, the browser, or ``"kernel"``, PyTorch. A page has no kernel.',
    )
    alt = words("Twenty small photographs, ten classes from two noises, with w under a slider.")

    about = traitlets.Dict().tag(sync=True)
    images = traitlets.Instance(Tensor, allow_none=True)
    _images = traitlets.Any(None, allow_none=True).tag(
        sync=True
    )  # the same as the browser sends them, float32

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        prepared = base64.b64encode(to_uint8(self._start).numpy().tobytes()).decode()
        self.about = _students.about(STUDENT) | {"prepared": prepared}
        self.on_msg(self._answer)

    def wish(self) -> dict[str, Any]:
        """w, and the class and the seed of the noise of each picture, as they are set now."""
        rows = [divmod(i, ACROSS) for i in range(COUNT)]
        y = [ACROSS * (row // 2) + column for row, column in rows] if self.y is None else [self.y] * COUNT
        noises = [row % 2 if self.y is None else ACROSS * row + column for row, column in rows]
        return {"w": self.w, "y": y, "seeds": [COUNT * self.seed + noise for noise in noises]}

    @cached_property
    def _start(self) -> Tensor:
        """The pictures at the settings that the widget was made with, (20, 3, 32, 32): what a page shows at first."""
        *_, (_, _, x) = _students.path(STUDENT, **self.wish())
        return x

    def attributes(self) -> dict[str, str]:
        return {"data-network": STUDENT, "data-weights": STUDENT}

    def still(self) -> tuple[bytes, int]:
        """The pictures as the widget starts, for viewers that run no script."""
        buffer = io.BytesIO()
        sheet(to_uint8(self._start), columns=ACROSS, scale=2).save(buffer, "PNG", optimize=True)
        return buffer.getvalue(), 560

    def _answer(self, _: Any, question: dict[str, Any], __: Any) -> None:
        """Answer the browser: with the weights, or with what it wants drawn."""
        answer: dict[str, Any] = {"id": question.get("id")}
        try:
            if "weights" in question:
                if question["weights"] != STUDENT:
                    raise ValueError(f"weights: got {question['weights']!r}, takes {STUDENT}")
                buffer = _weights.read(STUDENT)
            elif "push" in question:
                buffer = torch.cat(_students.push(STUDENT, **question["push"])).numpy().tobytes()
            else:
                states = _students.path(STUDENT, **question["draw"])
                rows = [torch.cat([torch.tensor([lam]), x.flatten()]) for lam, _, x in states]
                buffer = torch.cat(rows).numpy().tobytes()
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            self.send(answer | {"message": str(error)}, [b""])
        else:
            self.send(answer, [buffer])

    @traitlets.observe("_images")
    def _receive(self, change: Any) -> None:
        if change["new"]:
            values = torch.frombuffer(bytearray(change["new"]), dtype=torch.float32)
            self.images = values.reshape(COUNT, *_students.load(STUDENT).shape).clone()
