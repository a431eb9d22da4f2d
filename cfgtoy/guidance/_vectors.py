"""A sample as one vector: lengths and angles over all axes but the first, kept as axes of size one."""

import torch
from torch import Tensor


def inner(a: Tensor, b: Tensor) -> Tensor:
    """⟨a, b⟩, (b, 1, …)."""
    return (a * b).flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))


def norm(a: Tensor) -> Tensor:
    """‖a‖, (b, 1, …); never zero, so that one can divide by it."""
    return inner(a, a).sqrt().clamp(min=torch.finfo(a.dtype).tiny)


def across(a: Tensor, b: Tensor, eta: float = 0.0) -> Tensor:
    """``a`` with its part along ``b`` kept by the share ``eta``; of any length that ``b`` may have."""
    unit = b / norm(b)
    return a - (1 - eta) * inner(a, unit) * unit
