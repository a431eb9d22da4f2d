"""The explorers with a kernel, their widget at the other end, in a page without JupyterLab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cfgtoy import GaussianMixture, datasets
from cfgtoy.explorers import (
    FieldExplorer,
    ParticleExplorer,
    PhotosExplorer,
    SamplingExplorer,
    _networks,
)
from cfgtoy.explorers.photos import STUDENT, TEACHER
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("small")]


def made_of(widget: Any) -> dict[str, Any]:
    """A widget's settings, but for its words."""
    names = set(type(widget).__signature__.parameters) - {"controls", "question", "alt"}
    return {name: value for name, value in widget.static_state().items() if name in names}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (SamplingExplorer, {"interval": [-1.0, 5.0], "y": 1}),
        (ParticleExplorer, {"z1": 1.5}),
        (ParticleExplorer, {"z1": 1.5, "twins": True}),
        (FieldExplorer, {"mixture": datasets.tree(), "y": 1}),
        (SamplingExplorer, {"mixture": datasets.overlapping()}),
        (PhotosExplorer, {"network": "both"}),
    ],
)
def test_copied_python_makes_the_same_explorer(
    open_live: Callable[..., Any], kind: type, settings: dict[str, Any]
) -> None:
    widget = kind(**settings)
    page = open_live(widget)
    page.evaluate("navigator.clipboard = undefined")
    page.get_by_label("guidance weight w, exact value").fill("3.5")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Copy as Python").click()
    text = page.get_by_label("Copy this text").input_value()
    assert ("mixture=" in text) is ("mixture" in settings)  # the usual one goes without saying
    again = eval(text, {kind.__name__: kind, "GaussianMixture": GaussianMixture, "torch": torch})
    eventually(page, lambda: widget.w == 3.5, "w did not reach Python")
    made, wanted = made_of(again), made_of(widget)
    for name, numbers in (wanted.pop("mixture", None) or {}).items():
        torch.testing.assert_close(
            torch.tensor(made["mixture"][name]), torch.tensor(numbers)
        )  # of seven digits
    made.pop("mixture", None)
    assert made == wanted


def test_a_mixture_is_copied_once_the_reader_has_changed_it(open_live: Callable[..., Any]) -> None:
    page = open_live(FieldExplorer())
    page.evaluate("navigator.clipboard = undefined")

    def copied() -> str:
        page.get_by_role("button", name="Copy as Python").click()
        return page.get_by_label("Copy this text").input_value()

    page.locator(".cx-handle").first.press("ArrowUp")
    assert "mixture=GaussianMixture(" in copied()
    page.get_by_role("button", name="Reset").click()
    assert "mixture=" not in copied()


def test_images_are_those_on_screen(open_live: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the student, of its teacher, of both: row by row. Here a picture is of one grey, and that says what it is."""

    def grey(network: str, y: list[int], seeds: list[int]) -> Tensor:
        told = (torch.tensor(y) + 20 * torch.tensor(seeds)) / 1024
        return (told if network == "student" else -1 - told).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)

    def student(_: str, *, w: float, y: list[int], seeds: list[int]) -> Any:
        for lam in _networks.student_about(STUDENT)["grid"]:
            yield lam, None, grey("student", y, seeds)

    def teacher(_: str, *, w: float, y: list[int], seeds: list[int], sampler: str) -> Any:
        for lam in _networks.teacher_about(TEACHER)["grid"]:
            yield lam, grey("teacher", y, seeds), torch.zeros(len(y))

    monkeypatch.setattr(_networks, "student_path", student)
    monkeypatch.setattr(_networks, "teacher_path", teacher)
    widget = PhotosExplorer(backend="kernel")
    page = open_live(widget)

    def shown(rows: list[tuple[str, list[int], list[int]]]) -> None:
        wanted = torch.cat([grey(*row) for row in rows])
        eventually(
            page,
            lambda: widget.images is not None and torch.equal(widget.images, wanted),
            f"{len(wanted)} pictures by {', '.join(network for network, _, _ in rows)}",
        )

    low, high, alone = [0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [7] * 5
    first, second = [0] * 5, [1] * 5
    twenty = [(y, noise) for y in (low, high) for noise in (first, second)]
    shown([("student", y, noise) for y, noise in twenty])
    page.get_by_role("button", name="Bring the teacher").click()
    shown([(network, y, first) for y in (low, high) for network in ("student", "teacher")])
    page.get_by_label("network").select_option(label="teacher, 18 levels")
    shown([("teacher", low, first), ("teacher", high, first)])
    assert "two noises" not in page.locator(".cx").text_content()
    page.get_by_label("class", exact=True).select_option(label="horse, ten noises")
    shown([("teacher", alone, [0, 1, 2, 3, 4]), ("teacher", alone, [5, 6, 7, 8, 9])])
    page.get_by_label("network").select_option(label="student, 4 levels")
    shown([("student", [7] * 20, list(range(20)))])
