"""Gradient descent that yields: the few lines that every small training shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["descend"]


def descend(
    loss: Callable[[], Tensor], optimizer: Optimizer, rate: LRScheduler, *, steps: int
) -> Iterator[tuple[int, Tensor]]:
    """Take ``steps`` steps down ``loss()``, drawn anew for each; yields the step's number, from 1, and its loss.

    Raises:
        ValueError: a loss that is no longer finite (looked at every 100 steps and at the last).
    """
    for step in range(1, steps + 1):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        if (step % 100 == 0 or step == steps) and not bool(value.isfinite()):
            raise ValueError(f"loss: got {value.item()} at step {step}, takes finite numbers; lower lr")
        optimizer.step()
        rate.step()
        yield step, value.detach()
