"""Check cells: tell a reader's answer right from wrong, with a message that helps."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

MIME = "application/vnd.cfgtoy.exercise+json"
"""The media type of what a page needs to judge an answer by itself."""

FOR_PAGES = "CFGTOY_EXERCISES_FOR_PAGES"
"""Set by the book's build: an open question then puts out its `Check.data` beside what it prints."""

_OPEN = "Not answered yet: put your answer in the cell above, then run both again."


@dataclass(eq=False, repr=False)
class Check:
    """A question's check, called with an answer.

    The chapter computes the expected answer, so that reading the check gives nothing away. An answer of ``None`` or
    ``...`` is an open question, not an error: a chapter runs through unanswered.

    Args:
        expected: The right answer: a number, an array or tensor, text, a truth value, or a function.
        rtol, atol: Relative and absolute tolerance for numbers.
        on: For a function, the arguments to call it with: a tuple each, at least one or a ``ValueError``.
        hints: Likely wrong answers, as for ``expected``, paired with what to say to them; the first that fits is told.
        hint, right: What to say to any other wrong answer, and what to add when the answer is right.
    """

    expected: Any
    _: KW_ONLY
    rtol: float = 1e-3
    atol: float = 1e-6
    on: Sequence[tuple[Any, ...]] = ()
    hints: Sequence[tuple[Any, str]] = ()
    hint: str = ""
    right: str = ""

    def __post_init__(self) -> None:
        if callable(self.expected) and not self.on:
            raise ValueError("on: got nothing, takes the arguments to call a function with")

    def __call__(self, answer: Any) -> None:
        """Print whether ``answer`` is right, and if not, in what it differs."""
        verdict = self.verdict(answer)
        if verdict is _OPEN and FOR_PAGES in os.environ:
            from IPython.display import display  # a build runs in a kernel

            display({MIME: self.data()}, raw=True)
        print(verdict)

    def data(self) -> dict[str, Any]:
        """What judges an answer without Python, for JSON.

        ``kind`` is ``"numbers"``, ``"text"``, ``"truth"``, or ``"code"``, which only Python can judge and so comes
        alone. Numbers are a flat list; ``scalar`` says whether a bare one is meant. The ``hints`` are of that kind.
        """
        kind, shape, expected = _plain(self.expected)
        if kind == "code":
            return {"kind": kind}
        plain = [(_plain(wrong), text) for wrong, text in self.hints]
        hints = [[value, text] for (*form, value), text in plain if form == [kind, shape]]
        said = {name: getattr(self, name) for name in ("rtol", "atol", "hint", "right")}
        return {"kind": kind, "scalar": shape == (), "expected": expected, "hints": hints, **said}

    def verdict(self, answer: Any) -> str:
        """What a call prints: it starts with ``Right``, ``Not yet`` or ``Not answered yet``."""
        try:
            problem = self._compare(answer, self.expected)
        except Exception as error:  # whatever a reader's function raises is theirs to see
            return f"Not yet: your answer raised {type(error).__name__}: {error}"
        if problem is _OPEN:
            return _OPEN
        if not problem:
            return f"Right. {self.right}".rstrip()
        for wrong, text in self.hints:
            with suppress(Exception):  # a hint that does not fit this kind of answer
                if not self._compare(answer, wrong):
                    return f"Not yet: {text}"
        return f"Not yet: {problem}. {self.hint}".rstrip()

    def _compare(self, answer: Any, expected: Any) -> str:
        """Empty if the two agree, `_OPEN` without an answer, else in what they differ."""
        if answer is None or answer is ...:
            return _OPEN
        if callable(expected):
            if not callable(answer):
                return "the answer should be a function"
            for arguments in self.on:
                if problem := self._compare(answer(*arguments), expected(*arguments)):
                    told = (f"shape {tuple(a.shape)}" if getattr(a, "ndim", 0) else f"{a}" for a in arguments)
                    return problem if problem is _OPEN else f"{problem}, called with ({', '.join(told)})"
            return ""
        if callable(answer):
            return "the answer should be a value; did you forget to call your function?"
        if isinstance(expected, str | bool | np.bool_):
            return "" if answer == expected else f"it is not {answer!r}"
        a, e = _array(answer), _array(expected)
        if a.shape != e.shape:
            return f"got shape {a.shape}, expected {e.shape}"
        if np.isnan(a.astype(float)).any():
            return "there is a NaN in it"
        if np.allclose(a, e, rtol=self.rtol, atol=self.atol):
            return ""
        return _difference(a.astype(float), e.astype(float))


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _plain(value: Any) -> tuple[str, tuple[int, ...], Any]:
    """The kind of an answer, its shape, and itself as JSON can hold it, numbers as a flat list."""
    if callable(value):
        return "code", (), None
    if isinstance(value, str):
        return "text", (), value
    if isinstance(value, bool | np.bool_):
        return "truth", (), bool(value)
    numbers = _array(value).astype(float)
    if numbers.ndim > 1 or not np.isfinite(numbers).all():
        return "code", (), None
    return "numbers", numbers.shape, numbers.ravel().tolist()


def _difference(a: np.ndarray, e: np.ndarray) -> str:
    """How a wrong number or array differs from the right one, without telling the right one."""
    if np.allclose(a, -e, rtol=1e-3):
        return "the size is right, the sign is not"
    if a.ndim == 0:
        return f"{float(a):.4g} is too {'large' if a > e else 'small'}"
    ratio = a / np.where(e == 0, np.nan, e)
    if np.isfinite(ratio).all() and np.ptp(ratio) < 1e-3 * abs(ratio.mean()):
        return f"right but for a factor: yours is {ratio.mean():.4g} times as large"
    return f"it is off by up to {np.abs(a - e).max():.2g}"
