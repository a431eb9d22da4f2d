"""What a sampler yields, the noise it starts from, and the checks that all samplers make before their first step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .. import _checks
from ..prediction import NULL, Prediction

__all__ = ["Noise", "State", "initial_noise"]

Noise = Callable[[Tensor, int], Tensor]
"""A source of noise. ``noise(like, k)`` gives draw k of a run from N(0, I), in the shape of ``like`` (b, \\*d).

Draw 0 is the start, and a sampler that draws once a step needs draw k on its way to state k. Whoever hands one in
decides which sample gets which noise."""


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


def checked_shape(shape: object, y: Tensor | int | None) -> tuple[int, ...]:
    """``shape`` (b, \\*d) as a tuple, with one sample for each class in ``y``."""
    sizes = tuple(shape) if isinstance(shape, Iterable) else ()
    if len(sizes) < 1 or any(not isinstance(n, int) or n < 1 for n in sizes):
        raise ValueError(f"shape: got {sizes}, takes positive integers (b, *d), the batch first")
    if isinstance(y, Tensor) and y.ndim == 1 and len(y) != sizes[0]:
        raise ValueError(
            f"shape: got {sizes} for {len(y)} classes in y, takes ({len(y)}, *d), the batch first"
        )
    return sizes


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
        return lambda like, k: torch.randn(
            like.shape, generator=generator, device=like.device, dtype=like.dtype
        )
    if generator is not None:
        raise ValueError("noise: got a source of noise beside a generator, takes one of the two")
    if not callable(noise):
        raise ValueError(f"noise: got {type(noise).__name__}, takes a function noise(like, k) -> tensor")

    def checked(like: Tensor, k: int) -> Tensor:
        drawn = _checks.tensor("noise", noise(like, k))
        if drawn.shape != like.shape:
            raise ValueError(f"noise: got shape {tuple(drawn.shape)}, takes that of z, {tuple(like.shape)}")
        return drawn.to(like)

    return checked
