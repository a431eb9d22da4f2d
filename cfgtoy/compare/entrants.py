"""Whatever may enter a comparison as a rule: a name, a Rule with its options, or a function of one's own."""

import hashlib
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..guidance import PARTS, Rule
from ..guidance import rule as make_rule
from ..prediction import Denoiser


class Entrant(NamedTuple):
    """A rule as it is written down, and ``guide(denoiser, w=…, **parts) -> Denoiser``, which takes all parts."""

    record: dict[str, Any]
    guide: Callable[..., Denoiser]


def label(record: Mapping[str, Any]) -> str:
    """What a table calls the rule of a record: its name, and its options in brackets."""
    options = [
        f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in record.get("options", {}).items()
    ]
    return record["name"] + (f"({', '.join(options)})" if options else "")


def entrant(rule: str | Mapping[str, Any] | Rule) -> Entrant:
    """Make ready a rule by its name, its record, a Rule, or ``"module:function"``.

    A name may be followed by options, as the table has them: ``"apg(eta=0.2)"``.

    A function is called ``f(denoiser, w=…)``, with those of ``grid``, ``classifier``, ``bad`` that it names. Its record
    holds the SHA-256 of its file: once that is altered, what was measured before counts no more.

    Raises ``ValueError``: an unknown name or option, or a function that is not there.
    """
    if isinstance(rule, str) and ":" in rule:
        return _own(rule)
    made = _with_options(rule) if isinstance(rule, str) else make_rule(rule)
    return Entrant(made.to_json(), made)


def _with_options(text: str) -> Rule:
    """``name(key=value, …)``, the values as JSON or else as words."""
    name, _, inside = text.strip().removesuffix(")").partition("(")
    pairs = [part.partition("=") for part in inside.split(",") if part.strip()]
    return make_rule(name, **{key.strip(): _value(value.strip()) for key, _, value in pairs})


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _own(name: str) -> Entrant:
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
        function = getattr(found, attribute)
        takes = inspect.signature(function).parameters
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"rules: got {name!r} ({error}), takes a module:function to import") from error
    if "w" not in takes:
        raise ValueError(f"rules: got {name!r}, takes a function f(denoiser, *, w)")

    def guide(denoiser: Denoiser, *, w: float, **parts: Any) -> Denoiser:
        return function(denoiser, w=w, **{key: parts[key] for key in PARTS if key in takes and key in parts})

    file = getattr(found, "__file__", None)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
    return Entrant({"name": name, "sha256": digest}, guide)
