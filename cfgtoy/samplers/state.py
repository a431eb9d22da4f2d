"""What a sampler yields, the noise it starts from, the checks before its first step, and the loop over its steps."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .. import _checks
from ..prediction import NULL, Denoiser, Prediction

Noise = Callable[[Tensor, int], Tensor]
"""A source of noise. ``noise(like, k)`` gives draw k of a run from N(0, I), in the shape of ``like`` (b, \\*d).

Draw 0 is the start, and a sampler that draws once a step needs draw k on its way to state k. Whoever hands one in
decides which sample gets which noise."""


@dataclass(frozen=True, eq=False)
class State:
    """One stop of a sampler.

    Attributes:
        step, logsnr: 0 … T, where T is the end, and the level λ that ``z`` stands at; +inf at the end.
        z: the samples there, (b, \\*d); at the end the clean estimate.
        prediction: what the denoiser said here (at the end: at the last level).
    """

    step: int
    logsnr: Tensor
    z: Tensor
    prediction: Prediction


def states(
    denoiser: Denoiser,
    z: Tensor,
    levels: Tensor,
    y: Tensor | None,
    step: Callable[[int, Tensor, Prediction], Tensor],
) -> Iterator[State]:
    """The loop of every sampler: ``step(k, z, prediction)`` leads from level k − 1 to level k, for k = 1 … T − 1."""
    for k, lam in enumerate(levels, 1):
        pred = denoiser(z, lam, y)
        yield State(k - 1, lam, z, pred)
        if k < len(levels):
            z = step(k, z, pred)
    yield State(len(levels), z.new_tensor(math.inf), pred.x, pred)


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
    positive = sizes and all(isinstance(n, int) and n > 0 for n in sizes)
    _checks.require(positive, "shape", f"{sizes}", "positive integers (b, *d), the batch first")
    if isinstance(y, Tensor) and y.ndim == 1:
        got, takes = f"{sizes} for {len(y)} classes in y", f"({len(y)}, *d), the batch first"
        _checks.require(len(y) == sizes[0], "shape", got, takes)
    return sizes


def begin(z: Tensor, grid: Tensor, y: Tensor | int | None) -> tuple[Tensor, Tensor | None]:
    """The grid in z's dtype and on its device, and the classes (b,), both checked."""
    _checks.finite("z", z)
    levels = _checks.rising("grid", grid).to(z)
    got = f"{len(levels)} levels, some of which are one number in z's {z.dtype}"
    _checks.require(bool((levels.diff() > 0).all()), "grid", got, "fewer, or a wider z")
    if y is None:
        return levels, None
    y = torch.as_tensor(y)
    fits = not y.is_floating_point() and tuple(y.shape) in ((), (len(z),))
    got = f"{y.dtype} of shape {tuple(y.shape)}"
    _checks.require(fits, "y", got, f"one integer class a sample, ({len(z)},)")
    if bool((y < NULL).any()):
        raise ValueError(f"y: got class {int(y.min())}, takes classes from 0, or {NULL} for none")
    return levels, y.to(z.device, torch.int64).expand(len(z))


def source(generator: Generator | None, noise: Noise | None) -> Noise:
    """``noise``, with its answers checked, or a source that draws from ``generator``."""
    if noise is None:
        return lambda like, k: initial_noise(like.shape, generator, like.device, like.dtype)
    _checks.require(generator is None, "noise", "a source of noise beside a generator", "one of the two")
    _checks.require(callable(noise), "noise", type(noise).__name__, "a function noise(like, k) -> tensor")

    def checked(like: Tensor, k: int) -> Tensor:
        drawn = _checks.tensor("noise", noise(like, k))
        _checks.require(drawn.shape == like.shape, "noise", drawn, f"that of z, {tuple(like.shape)}")
        return drawn.to(like)

    return checked
