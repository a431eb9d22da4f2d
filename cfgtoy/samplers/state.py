"""What a sampler yields, the noise it starts from, and the checks that all samplers make before their first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .. import _checks
from ..prediction import NULL, Prediction

__all__ = ["Noise", "State", "initial_noise"]

Noise = Callable[[Tensor, int], Tensor]
"""A source of noise. ``noise(like, step)`` draws from N(0, I), in the shape of ``like`` (b, \\*d), for the step that
leads to state ``step``; 0 is the start. Whoever hands one in decides which sample gets which noise."""


@dataclass(frozen=True, eq=False)
class State:
    """One stop of a sampler.

    Attributes:
        step: 0 … T; T is the end.
        logsnr: the level λ that ``z`` stands at; +inf at the end.
        z: the samples there, (b, \\*d); at the end the clean estimate.
        prediction: what the denoiser said here (at the end: at the last level).
    """

    step: int
    logsnr: Tensor
    z: Tensor
    prediction: Prediction


def initial_noise(
    shape: Sequence[int],
    generator: Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """z ~ N(0, I) at λ_min: where every sampler starts. ``shape`` is (b, \\*d)."""
    if device is None and generator is not None:
        device = generator.device
    return torch.randn(tuple(shape), generator=generator, device=device, dtype=dtype)


def begin(z: Tensor, grid: Tensor, y: Tensor | int | None) -> tuple[Tensor, Tensor | None]:
    """The grid in z's dtype and on its device, and the classes (b,), both checked."""
    _checks.finite("z", z)
    levels = _checks.rising("grid", grid).to(z)
    if len(levels) > 1 and not bool((levels.diff() > 0).all()):
        raise ValueError(
            f"grid: got {len(levels)} levels, some of which are one number in z's {z.dtype}, takes fewer, or a wider z"
        )
    if y is not None:
        y = y if isinstance(y, Tensor) else torch.tensor(y)
        if y.is_floating_point() or y.ndim > 1 or (y.ndim == 1 and len(y) != len(z)):
            raise ValueError(
                f"y: got {y.dtype} of shape {tuple(y.shape)}, takes one integer class a sample, ({len(z)},)"
            )
        if bool((y < NULL).any()):
            raise ValueError(f"y: got class {int(y.min())}, takes classes from 0, or {NULL} for none")
        y = y.to(z.device, torch.int64).expand(len(z))
    return levels, y


def end(steps: int, z: Tensor, pred: Prediction) -> State:
    """The last state: the clean estimate."""
    return State(steps, z.new_tensor(float("inf")), pred.x, pred)


def source(generator: Generator | None, noise: Noise | None) -> Noise:
    """``noise``, with its answers checked, or a source that draws from ``generator``."""
    if noise is None:
        return lambda like, step: torch.randn(
            like.shape, generator=generator, device=like.device, dtype=like.dtype
        )
    if generator is not None:
        raise ValueError("noise: got a source of noise beside a generator, takes one of the two")
    if not callable(noise):
        raise ValueError(f"noise: got {type(noise).__name__}, takes a function noise(like, step) -> tensor")

    def checked(like: Tensor, step: int) -> Tensor:
        drawn = _checks.tensor("noise", noise(like, step))
        if drawn.shape != like.shape:
            raise ValueError(f"noise: got shape {tuple(drawn.shape)}, takes that of z, {tuple(like.shape)}")
        return drawn.to(like)

    return checked
