"""Explorers from their traits: each is declared once, with its default, its check and what it means."""

import inspect
import math
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import traitlets

from .. import _checks
from ._static import StaticWidget

JS = Path(__file__).with_name("js")


class checked(traitlets.TraitType[Any, Any]):
    """A synced trait whose value, the default too, is what ``check(name, value)`` returns, unless that raises.

    ``doc`` says what the value means, for the docstring, and ``kind`` its type, for the signature.
    """

    def __init__(self, default: Any, check: Callable[[str, Any], Any], doc: str, kind: str) -> None:
        self.check, self.doc, self.kind = check, doc, kind
        super().__init__(default_value=default)
        self.tag(sync=True)

    def validate(self, obj: Any, value: Any) -> Any:
        return obj._fit(self.name, self.check(str(self.name), value))


def number(default: float, lo: float = -1e6, hi: float = 1e6, doc: str = "") -> checked:
    """A finite number in [lo, hi]."""
    return checked(default, partial(_checks.number, lo=lo, hi=hi), doc, "float")


def integer(default: int | None, lo: int = 0, hi: float = math.inf, doc: str = "") -> checked:
    """A whole number in [lo, hi]; None too, where that is the default."""
    or_none = ", or None" if default is None else ""

    def check(name: str, value: Any) -> int | None:
        if value is None and or_none:
            return None
        # JSON from a browser knows no integers
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if (found := _checks.positive_int(name, whole, least=lo)) > hi:
            raise ValueError(f"{name}: got {value!r}, takes an integer in [{lo}, {hi}]{or_none}")
        return found

    return checked(default, check, doc, "int | None" if or_none else "int")


def that(
    default: Any, fits: Callable[[Any], bool], takes: str, doc: str, kind: str, make: Any = None
) -> checked:
    """What ``fits``, as ``make`` has it; where something does not, the message says what the trait ``takes``."""

    def check(name: str, value: Any) -> Any:
        _checks.require(fits(value), name, repr(value), takes)
        return make(value) if make else value

    return checked(default, check, doc, kind)


def one_of(names: Sequence[str], doc: str, default: str | None = None) -> checked:
    """One of the strings ``names``, by default the first."""
    takes = f"one of {', '.join(map(repr, names))}"
    return that(default or names[0], names.__contains__, takes, f"{takes}: {doc}", "str")


def each(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is a list, or the like, whose every item ``fits``."""
    return lambda value: isinstance(value, Sequence) and not isinstance(value, str) and all(map(fits, value))


def flag(default: bool, doc: str) -> checked:
    """True or False."""
    return that(default, lambda value: isinstance(value, bool), "True or False", doc, "bool")


def words(default: str, doc: str = "What the reader sees, in a sentence.") -> checked:
    """Text."""
    return that(default, lambda value: isinstance(value, str), "text", doc, "str")


class Explorer(StaticWidget):
    """A widget, of the folder ``js``, whose constructor takes its checked traits, by keyword.

    A subclass states them once, as class attributes. Its signature and the arguments in its docstring are made of them
    in that order; ``backend``, ``controls``, ``question`` and ``alt`` come last.
    """

    styles = (JS / "explorers.css",)
    controls = that(
        [],
        each(lambda name: isinstance(name, str)),
        "a list of the controls' names",
        'Names of the settings, ``"buttons"`` and ``"table"`` that are not under “More”; empty for all.',
        "list[str]",
        list,
    )
    question = words("", "What the explorer asks, above it; empty for its own question.")
    alt = words("")
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        bases = [vars(base) for base in reversed(cls.__mro__)]
        traits = {name: trait for base in bases for name, trait in base.items() if isinstance(trait, checked)}
        last = ("backend", "controls", "question", "alt")
        traits |= {name: traits.pop(name) for name in last if name in traits}
        parameter = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
        parameters = [
            parameter(name, default=t.default_value, annotation=t.kind) for name, t in traits.items()
        ]
        cls.__signature__ = inspect.Signature(parameters)
        if "module" in vars(cls) and cls.__doc__:
            wrap = textwrap.TextWrapper(114, initial_indent=" " * 4, subsequent_indent=" " * 8)
            arguments = "\n".join(["Args:", *(wrap.fill(f"{name}: {t.doc}") for name, t in traits.items())])
            summary, _, rest = inspect.cleandoc(cls.__doc__).partition("\n\n")
            raises = "Raises:\n    ValueError: for a value outside of these, also when a trait is set later."
            cls.__doc__ = "\n\n".join([summary, arguments, "All are synced traits.", rest, raises])

    def __init__(self, **traits: Any) -> None:
        bound = self.__signature__.bind(**traits)
        bound.apply_defaults()
        super().__init__(**bound.kwargs)

    def _fit(self, name: str, value: Any) -> Any:
        """Return ``value``, checked, if it fits the other traits as they are."""
        return value
