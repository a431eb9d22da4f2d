"""Rules as data: the one table of them, and a rule with its options, checked, to and from JSON."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .. import _checks
from ..prediction import Denoiser
from ._branches import Weight, unconditional, weight

RULES: dict[str, Callable[..., Denoiser]] = {}
"""Every rule by its name, ``f(denoiser, *, w, **options) -> Denoiser``. ``guidance/__init__.py`` fills it."""

UNGUIDED_AT_ZERO: set[str] = set()
"""The names of those that leave the model as it is at w = 0: it is then asked alone, at half the price."""

PARTS = ("bad", "classifier", "grid", "ratios")
"""What a rule may need and only a run knows: a worse model, a noisy classifier, the sampler's levels, what data say."""


@dataclass(frozen=True)
class Rule:
    """A rule of :data:`RULES` with its options, ``rule(denoiser, w=2.0) -> Denoiser``, that can be written down.

    Args:
        name: a key of the table; underscores may stand for hyphens.
        options: keyword arguments of that rule other than ``w``. A model or classifier may be an object, or a name for
            the record, with the object handed in at the call; ``of`` is a rule again.

    Raises ``ValueError``: an unknown name or option, one that is missing, or a value that the rule does not take.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.name.replace("_", "-") if isinstance(self.name, str) else self.name
        _checks.require(name in RULES, "rule", repr(self.name), f"one of {', '.join(RULES)}")
        object.__setattr__(self, "name", name)
        own = self.parameters(name)
        known = [*(p.name for p in own), *self.parts(name)]
        for key in self.options:
            takes = ", ".join(known) or "none"
            _checks.require(key in known, key, f"an option that {name} does not have", takes)
        for p in own:
            given = p.default is not p.empty or p.name in self.options
            _checks.require(given, p.name, "nothing", f"a value: {name} has no default for it")
        of = {"of": rule(self.options["of"])} if "of" in self.options else {}
        object.__setattr__(self, "options", {**self.options, **of})
        # The rule's own checks: it is built once on nothing.
        stand_in = dict.fromkeys(PARTS, _nothing) | {"grid": torch.arange(2.0)}
        self._given(stand_in)(_nothing, w=1.0)  # type: ignore[arg-type]

    @staticmethod
    def parameters(name: str) -> list[inspect.Parameter]:
        """The options of a rule as the function's own parameters, with types and defaults; ``w`` and parts apart."""
        return [p for p in _signature(name) if p.kind is p.KEYWORD_ONLY and p.name not in ("w", *PARTS)]

    @staticmethod
    def parts(name: str) -> list[str]:
        """Which of :data:`PARTS` a rule takes. As for :meth:`parameters`, an unknown name is a ``ValueError``."""
        return [p.name for p in _signature(name) if p.name in PARTS]

    @property
    def of(self) -> Rule | None:
        """The rule inside, for those that wrap one."""
        default = {p.name: p.default for p in self.parameters(self.name)}
        return rule(self.options.get("of", default["of"])) if "of" in default else None

    @property
    def needs(self) -> set[str]:
        """The parts that the call must be given, those of the rule inside included; a part named by a string counts."""
        own = {part for part in self.parts(self.name) if isinstance(self.options.get(part), str | None)}
        return own | self.of.needs if self.of else own

    def __call__(self, denoiser: Denoiser, *, w: Weight = 0.0, **parts: Any) -> Denoiser:
        """The guided denoiser; at w = 0 the bare one, where the rule leaves it as it is.

        Args:
            denoiser, w: the model to guide, and the weight, a number or (b,).
            parts: those of :data:`PARTS`; used where the rule needs them and its options lack them.

        Raises ``ValueError``: ``w`` is not finite, a part is missing, or a name that is not a part.
        """
        w = weight("w", w)
        for key in parts:
            _checks.require(key in PARTS, key, "a part that no rule has", ", ".join(PARTS))
        ready = self._given(parts)
        for part in sorted(ready.needs):
            raise ValueError(f"{part}: got none, or its name alone, takes what {self.name} needs: {part}=…")
        if not isinstance(w, Tensor) and w == 0 and ready.unguided_at_zero:
            return denoiser
        return RULES[self.name](denoiser, w=w, **ready.options)

    def unguided(self, denoiser: Denoiser) -> Denoiser:
        """What the rule guides: ``denoiser``, or with ``unconditional=True`` that without its class."""
        if self.of:
            return self.of.unguided(denoiser)
        return unconditional(denoiser) if self.options.get("unconditional") else denoiser

    def to_json(self) -> dict[str, Any]:
        """``{"name": …, "options": {…}}`` of plain values; see :meth:`from_json`.

        Raises ``ValueError``: an option is an object without a ``name`` or ``sha256`` that could stand for it.
        """
        return {"name": self.name, "options": {key: _plain(key, v) for key, v in self.options.items()}}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Rule:
        """The rule that :meth:`to_json` wrote down. Raises ``ValueError`` for another record, and as the class does."""
        if not isinstance(record, Mapping) or not {"name"} <= set(record) <= {"name", "options"}:
            raise ValueError(f"rule: got {record!r}, takes a record with name and options")
        ends = {"inf": math.inf, "-inf": -math.inf}
        options = record.get("options", {}).items()
        return cls(record["name"], {k: ends.get(v, v) if isinstance(v, str) else v for k, v in options})

    def _given(self, parts: Mapping[str, Any]) -> Rule:
        """This rule, and the one inside, with the parts it lacks among its options. Unchecked."""
        lacks = self.needs.intersection(self.parts(self.name))
        own = {k: v for k, v in parts.items() if k in lacks and v is not None}
        inside = {"of": self.of._given(parts)} if self.of else {}
        ready = object.__new__(Rule)
        object.__setattr__(ready, "name", self.name)
        object.__setattr__(ready, "options", {**self.options, **own, **inside})
        return ready

    @property
    def unguided_at_zero(self) -> bool:
        """Whether it leaves the model as it is at w = 0."""
        inside = self.of.unguided_at_zero if self.of else not self.options.get("unconditional")
        return self.name in UNGUIDED_AT_ZERO and inside


def rule(name: str | Mapping[str, Any] | Rule, **options: Any) -> Rule:
    """A rule by its name and options, from its record, or a rule as it is; ``options`` add to what it has.

    >>> rule("apg", eta=0.2)
    Rule(name='apg', options={'eta': 0.2})

    Raises ``ValueError``: as for :class:`Rule`.
    """
    if isinstance(name, str):
        return Rule(name, options)
    made = name if isinstance(name, Rule) else Rule.from_json(name)
    return Rule(made.name, {**made.options, **options}) if options else made


def wrapped(
    denoiser: Denoiser, plain: Denoiser | None, of: Rule | str, w: Weight | None, name: str
) -> tuple[Denoiser, Denoiser]:
    """A guided denoiser and the plain one beside it: two that are given, or one guided by ``of`` and itself."""
    got = f"{'nothing' if w is None else repr(w)} with {name} = {plain!r}"
    _checks.require((plain is None) != (w is None), "w", got, "a weight or a second denoiser, one of the two")
    if plain is not None:
        return denoiser, plain
    made = rule(of)
    return made(denoiser, w=w), made.unguided(denoiser)  # type: ignore[arg-type]


def _signature(name: str) -> Collection[inspect.Parameter]:
    function = RULES[_checks.one_of("rule", name, RULES)]
    return inspect.signature(function, eval_str=True).parameters.values()


def _nothing(*_: object) -> Any:
    raise AssertionError("asked a stand-in")


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, Rule):
        return value.to_json()
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, Real) or (isinstance(value, Tensor) and value.ndim == 0):
        return float(value) if math.isfinite(value) else str(float(value))
    held = (getattr(value, label, None) for label in ("name", "sha256"))
    name = next((text for text in held if isinstance(text, str)), None)
    takes = "what has a name or sha256 to be written down by"
    _checks.require(name is not None, key, type(value).__name__, takes)
    return name
