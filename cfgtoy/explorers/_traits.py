"""Explorers from their traits: each is declared once, with its default, its check and what it means."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import traitlets

from .. import _checks
from ._static import StaticWidget

__all__ = ["Explorer", "checked", "flag", "integer", "number", "one_of", "whole", "words"]


class checked(traitlets.TraitType[Any, Any]):
    """A synced trait whose value goes through ``check(name, value)``, which returns it or raises ``ValueError``.

    Args:
        default: What the constructor takes where nothing is given; it is checked too.
        check: As above.
        doc: What the value means, for the docstring.
        kind: Its type, for the signature.
        **metadata: ``to_json`` and ``from_json``, where the value is not JSON itself.
    """

    def __init__(
        self,
        default: Any,
        check: Callable[[str, Any], Any],
        doc: str = "",
        kind: str = "Any",
        **metadata: Any,
    ) -> None:
        self.check, self.doc, self.kind = check, doc, kind
        super().__init__(default_value=default)
        self.tag(sync=True, **metadata)

    def parameter(self, name: str) -> inspect.Parameter:
        """Of a constructor that takes the trait."""
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(name, kind, default=self.default_value, annotation=self.kind)

    def validate(self, obj: Any, value: Any) -> Any:
        name = self.name or "value"
        return obj._fit(name, self.check(name, value))


def number(default: float, lo: float = -1e6, hi: float = 1e6, doc: str = "") -> checked:
    """A finite number in [lo, hi]."""
    return checked(default, lambda name, value: _checks.number(name, value, lo=lo, hi=hi), doc, "float")


def integer(default: int, lo: int, hi: int, doc: str = "") -> checked:
    """A whole number in [lo, hi]."""

    def check(name: str, value: Any) -> int:
        if _checks.positive_int(name, whole(value), least=lo) > hi:
            raise ValueError(f"{name}: got {value!r}, takes an integer in [{lo}, {hi}]")
        return whole(value)

    return checked(default, check, doc, "int")


def whole(value: Any) -> Any:
    """``value``, as an integer where it is a float without a fraction: JSON from a browser knows no integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def one_of(default: str, names: Sequence[str], doc: str = "") -> checked:
    """One of the strings ``names``."""
    takes = f"one of {', '.join(map(repr, names))}"
    return checked(default, _that(lambda value: value in names, takes), doc, "str")


def flag(default: bool, doc: str = "") -> checked:
    """True or False."""
    return checked(default, _that(lambda value: isinstance(value, bool), "True or False"), doc, "bool")


def words(default: str, doc: str = "What the reader sees, in a sentence.") -> checked:
    """Text."""
    return checked(default, _that(lambda value: isinstance(value, str), "text"), doc, "str")


def _that(fits: Callable[[Any], bool], takes: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if not fits(value):
            raise ValueError(f"{name}: got {value!r}, takes {takes}")
        return value

    return check


def _names(name: str, value: Any) -> list[str]:
    if (
        isinstance(value, str)
        or not isinstance(value, Sequence)
        or not all(isinstance(x, str) for x in value)
    ):
        raise ValueError(f"{name}: got {value!r}, takes a list of the controls' names")
    return list(value)


class Explorer(StaticWidget):
    """A widget whose constructor takes its checked traits, by keyword.

    A subclass states them once, as class attributes. Its signature and the arguments in its docstring are made from
    them, in the order in which they stand; ``backend``, ``controls``, ``question`` and ``alt`` come last.
    """

    controls = checked(
        [],
        _names,
        'The settings whose controls stand beside the picture, by name, with ``"buttons"`` and ``"table"``; the '
        "others wait under “More”. Empty for all.",
        "list[str]",
    )
    question = words("", "What the explorer asks, above it; empty for its own question.")

    alt = words("")
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        bases = [vars(base) for base in reversed(cls.__mro__)]
        traits = {name: trait for base in bases for name, trait in base.items() if isinstance(trait, checked)}
        for last in ("backend", "controls", "question", "alt"):
            if last in traits:
                traits[last] = traits.pop(last)
        cls.__signature__ = inspect.Signature([t.parameter(name) for name, t in traits.items()])
        if "module" in vars(cls) and cls.__doc__:
            lines = (
                textwrap.fill(f"{name}: {t.doc}", 110, subsequent_indent=" " * 4)
                for name, t in traits.items()
            )
            summary, _, rest = inspect.cleandoc(cls.__doc__).partition("\n\n")
            arguments = "Args:\n" + textwrap.indent("\n".join(lines), " " * 4)
            raises = "Raises:\n    ValueError: for a value outside of these, also when a trait is set later."
            cls.__doc__ = "\n\n".join([summary, arguments, "All are synced traits.", rest, raises])

    def __init__(self, **traits: Any) -> None:
        bound = self.__signature__.bind(**traits)
        bound.apply_defaults()
        super().__init__(**bound.kwargs)

    def _fit(self, name: str, value: Any) -> Any:
        """Return ``value``, checked, if it fits the other traits as they are."""
        return value
