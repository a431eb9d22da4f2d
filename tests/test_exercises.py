"""A check cell tells an open, a right and a wrong answer apart, and helps without giving the answer away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cfgtoy.exercises import Check


@pytest.mark.parametrize("answer", [None, ...])
@pytest.mark.parametrize("expected", [3.0, "ode", True])
def test_no_answer_is_no_error(answer: object, expected: object) -> None:
    assert Check(expected).verdict(answer).startswith("Not answered yet")


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        (0.25, 0.25001),
        (0.25, torch.tensor(0.25)),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        (torch.tensor([1.0, 2.0], requires_grad=True), np.array([1.0, 2.0])),
        ("ode", "ode"),
        (True, True),
        (3, 3),
    ],
)
def test_right_answers(expected: object, answer: object) -> None:
    assert Check(expected, right="Well done.").verdict(answer) == "Right. Well done."


@pytest.mark.parametrize(
    ("expected", "answer", "said"),
    [
        (2.0, 3.0, "too large"),
        (2.0, 1.0, "too small"),
        (2.0, -2.0, "sign"),
        (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]), "2 times as large"),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]), "off by up to 0.5"),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0]), "shape (1,)"),
        (2.0, float("nan"), "NaN"),
        ("ode", "sde", "'sde'"),
        (2.0, lambda: 2.0, "forget to call"),
        (2.0, "two", "raised"),
    ],
)
def test_wrong_answers_are_told_how(expected: object, answer: object, said: str) -> None:
    verdict = Check(expected, hint="Look at the figure.").verdict(answer)
    assert verdict.startswith("Not yet")
    assert said in verdict


def test_the_answer_is_not_given_away() -> None:
    assert "0.4321" not in Check(0.4321).verdict(1.0)
    assert "0.4321" not in Check(torch.tensor([0.4321, 1.0])).verdict(torch.tensor([1.0, 3.0]))


def test_a_known_mistake_gets_its_hint() -> None:
    check = Check(
        0.25, hints=[(0.3875, "that is the SDE's."), (0.5, "that is the tilted one's.")], hint="Think."
    )
    assert check.verdict(0.5) == "Not yet: that is the tilted one's."
    assert check.verdict(0.9).endswith("Think.")


def test_functions_are_compared_where_they_are_called() -> None:
    check = Check(lambda w: 2.0**-w, on=[(0.0,), (1.0,), (3.0,)])
    assert check.verdict(lambda w: 0.5**w) == "Right."
    assert "(1.0)" in check.verdict(lambda w: 1.0)
    assert "should be a function" in check.verdict(0.5)
    assert check.verdict(lambda w: None).startswith("Not answered yet")
    assert "ZeroDivisionError" in check.verdict(lambda w: 1 / w)


def test_a_function_needs_arguments() -> None:
    with pytest.raises(ValueError, match=r"^on: "):
        Check(lambda w: w)


def test_calling_prints(capsys: pytest.CaptureFixture[str]) -> None:
    Check(1.0)(1.0)
    assert capsys.readouterr().out == "Right.\n"
