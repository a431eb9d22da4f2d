"""What was measured: one line under a worked cell, and one row of the book's ledger.

``measured(...)`` is the last expression of a cell that checks a statement. It prints the figure with its verdict, and
carries the same as data, from which the book's appendix is collected. The module needs the standard library alone.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

MIME = "application/vnd.cfgtoy.measurement+json"
"""The media type under which a cell's output carries its measurement."""

Verdict = Literal["holds", "holds with a caveat", "fails as stated"]


@dataclass(frozen=True)
class Measurement:
    """One measured statement, as :func:`measured` takes it, ``figure`` as text, already rounded."""

    what: str
    figure: str
    verdict: Verdict
    caveat: str = ""

    def __str__(self) -> str:
        tail = f" ({self.caveat})" if self.caveat else ""
        return f"{self.what}: {self.figure} → {self.verdict}{tail}"

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": str(self), MIME: asdict(self)}


def measured(what: str, figure: Any, holds: bool, caveat: str = "", *, digits: int = 3) -> Measurement:
    """State what a cell measured and whether the claim under test survived it.

    Args:
        what: The quantity, in words: ``"variance of the ODE's samples at γ = 3"``.
        figure: A finite number, a 0-d array or tensor, a sequence of them, a mapping from names to them, or text that
            is shown as it is (see `below`).
        holds, caveat: Whether the claim holds, by a comparison with a tolerance; where it holds only on a condition,
            the condition, and where it fails, what happens instead.
        digits: Significant digits to round numbers to, at least 1: the same line on another processor.

    Raises:
        ValueError: if ``what`` is empty, ``digits`` is below 1, or a number is not finite.
    """
    if not what.strip():
        raise ValueError("what: got an empty text; it takes the quantity that was measured, in words")
    if digits < 1:
        raise ValueError(f"digits: got {digits}; it takes an integer of at least 1")
    verdict: Verdict = "fails as stated" if not holds else "holds with a caveat" if caveat else "holds"
    return Measurement(what.strip(), _text(figure, digits), verdict, caveat.strip())


def below(value: Any, bound: float) -> str:
    """A rounding error as text that does not change with the processor: ``"below 1e-06"``, or by how much it misses.

    ``value`` is a number or a 0-d array or tensor. Test ``value < bound`` for the verdict.
    """
    return _side("below", value, bound, float(value) < bound)


def above(value: Any, bound: float) -> str:
    """A figure that differs a little between processors, as the floor it keeps: ``"above 0.05"``, else as `below`.

    For what a trained network did: its weights, and so the third digit, depend on the machine.
    """
    return _side("above", value, bound, float(value) > bound)


def _side(word: str, value: Any, bound: float, keeps: bool) -> str:
    return f"{word} {bound:g}" if keeps else f"{float(value):.1e}, not {word} {bound:g}"


def _text(figure: Any, digits: int) -> str:
    """The figure as text: numbers rounded, sequences and mappings entry by entry."""
    if hasattr(figure, "tolist"):  # a tensor or an array
        figure = figure.tolist()
    if isinstance(figure, str):
        return figure
    if isinstance(figure, bool):
        return "yes" if figure else "no"
    if isinstance(figure, Mapping):
        return ", ".join(f"{key} {_text(value, digits)}" for key, value in figure.items())
    if isinstance(figure, Iterable):
        return ", ".join(_text(value, digits) for value in figure)
    number = float(figure)
    if not math.isfinite(number):
        raise ValueError(f"figure: got {number}; it takes finite numbers")
    if isinstance(figure, int):
        return str(figure)
    rounded = float(f"{number:.{digits - 1}e}") + 0.0  # + 0.0 turns −0 into 0
    if not 1e-4 <= abs(rounded) < 1e6:
        return f"{rounded:.{digits}g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{places}f}"
