"""The guided CIFAR-10 network in the page: what a page must know of it, and the same pictures by PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import artifacts, guidance, samplers
from ..images.sampling import Sampling, level_grid
from ..prediction import Denoiser
from . import _noise, _weights

__all__ = ["about", "guided_path", "load", "path"]

LEVELS = 18
SECONDS = 4
"""An image at all levels in a browser, on one core: see benchmarks/README.md."""


@cache
def load(name: str) -> artifacts.ImageDenoiser:
    """The network that ships as ``name``, read once."""
    return artifacts.load_denoiser(name)


@cache
def about(name: str) -> dict[str, Any]:
    """What ``Teacher`` in ``js/nets/teacher.mjs`` asks for: weights, image shape, classes, levels, seconds an image."""
    denoiser = load(name)
    grid = level_grid(Sampling(steps=LEVELS), denoiser.schedule)
    return _weights.known(name, denoiser, grid) | {"seconds": SECONDS}


@torch.no_grad()
def path(
    name: str, *, w: float, y: Sequence[int], seeds: Sequence[int], sampler: samplers.Method
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """What the network says, under classifier-free guidance, on the way from the page's noise to pictures.

    Args:
        name: of the network.
        w: the weight.
        y: a class for each picture, b of them.
        seeds: a noise for each.
        sampler: ``"dpm++2m"`` or ``"ddim"``.

    Yields:
        At each level: λ, the estimates x̂ (b, c, h, w), and for each picture the root mean square of what guidance
        adds to ε̂, (b,). The last estimates are the samples.
    """
    denoiser = load(name)
    guided, grid = guidance.classifier_free(denoiser, w=w), torch.tensor(about(name)["grid"])
    z = _noise.pictures(denoiser.shape, seeds)
    yield from guided_path(denoiser, guided, z, grid, torch.tensor(list(y)), sampler)


def guided_path(
    denoiser: Denoiser, guided: Denoiser, z: Tensor, grid: Tensor, y: Tensor, sampler: samplers.Method
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """At each level: λ, the guided estimates x̂, and what guidance adds to ε̂ of each picture, as :func:`path` says."""
    for state in samplers.trajectory(guided, z, grid, y, method=sampler):
        if state.step < len(grid):
            push = state.prediction.eps - denoiser(state.z, state.logsnr, y).eps
            yield state.logsnr.item(), state.prediction.x, push.square().mean((1, 2, 3)).sqrt()
