"""Argument checks: each returns the argument, or raises a ``ValueError``: *argument*, what it got, what it takes.

They are for the public surface; inner loops call unchecked private functions, so a sampler pays for them once.
"""

import math
import operator
from collections.abc import Collection, Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def require(holds: object, name: str, got: str | Tensor, takes: str) -> None:
    """Raise unless ``holds``. What it ``got`` is said in words, of a tensor by its shape."""
    if not holds:
        said = got if isinstance(got, str) else f"shape {tuple(got.shape)}"
        raise ValueError(f"{name}: got {said}, takes {takes}")


def one_of(name: str, value: T, choices: Collection[T]) -> T:
    if value not in choices:
        raise ValueError(f"{name}: got {value!r}, takes one of {', '.join(map(str, choices))}")
    return value


def function(name: str, value: T) -> T:
    require(callable(value), name, repr(value), "a function")
    return value


def tensor(name: str, value: object) -> Tensor:
    """A floating-point tensor."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: got {type(value).__name__}, takes a torch.Tensor")
    if not value.is_floating_point():
        raise ValueError(f"{name}: got dtype {value.dtype}, takes a floating-point tensor")
    return value


def finite(name: str, value: object) -> Tensor:
    """A floating-point tensor with neither NaN nor infinity in it."""
    checked = tensor(name, value)
    # Zero times NaN or infinity is NaN: fewer passes than isfinite.
    if (checked.detach() * 0).sum().item() != 0:
        raise ValueError(f"{name}: got NaN or infinite entries, takes finite numbers")
    return checked


def number(
    name: str, value: object, *, lo: float = -math.inf, hi: float = math.inf, open: bool = False
) -> float:
    """One finite real number in [lo, hi], or with ``open`` in (lo, hi), as a float."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}: got {value!r}, takes one real number") from None
    if not math.isfinite(result) or not (lo < result < hi if open else lo <= result <= hi):
        ends = f"({lo:g}, {hi:g})" if open else f"[{lo:g}, {hi:g}]"
        takes = "a finite number" if math.isinf(lo) and math.isinf(hi) else f"a finite number in {ends}"
        raise ValueError(f"{name}: got {value!r}, takes {takes}")
    return result


def unit_interval(name: str, value: object) -> float:
    return number(name, value, lo=0.0, hi=1.0)


def positive_int(name: str, value: object, *, least: int = 1) -> int:
    """An integer no smaller than ``least``; True is none."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < least:
        raise ValueError(f"{name}: got {value!r}, takes an integer of at least {least}")
    return operator.index(value)


def labels(name: str, y: object, num_classes: int, *, null: int | None) -> Tensor:
    """A () or (b,) tensor of integer classes in 0 … num_classes − 1 (and ``null`` = −1, where that is allowed)."""
    if not isinstance(y, Tensor) or y.is_floating_point() or y.dtype == torch.bool or y.ndim > 1:
        got = f"{y.dtype} of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"{name}: got {got}, takes an integer tensor of shape (b,)")
    least = 0 if null is None else null
    low, high = (int(end) for end in y.aminmax()) if y.numel() else (least, least)
    if low < least or high >= num_classes:
        also = "" if null is None else f" or {null} for no class"
        bad = low if low < least else high
        raise ValueError(f"{name}: got class {bad}, takes 0 … {num_classes - 1}{also}")
    return y


def broadcastable(first: str, a: Sequence[int], second: str, b: Sequence[int]) -> None:
    """Raise unless the two shapes broadcast against each other."""
    try:
        torch.broadcast_shapes(tuple(a), tuple(b))
    except RuntimeError:
        takes = f"one that broadcasts with {first} of shape {tuple(a)}"
        raise ValueError(f"{second}: got shape {tuple(b)}, takes {takes}") from None


def rising(name: str, grid: object) -> Tensor:
    """A strictly rising one-dimensional tensor, finite but for a first level of −∞."""
    checked = tensor(name, grid)
    require(checked.ndim == 1 and len(checked), name, checked, "a one-dimensional grid of log-SNRs")
    finite(name, checked[1:] if checked[0].item() == -math.inf else checked)
    rises = bool((checked.diff() > 0).all())
    require(rises, name, "a grid that does not rise", "λ_1 < λ_2 < … < λ_T (noise to data)")
    return checked
