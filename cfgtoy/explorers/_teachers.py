"""The guided CIFAR-10 network in the page: what a page must know of it, and the same pictures by PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import artifacts, guidance, samplers
from ..images.sampling import Sampling, level_grid
from . import _noise, _weights

__all__ = ["about", "load", "path"]

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
    return {
        "network": name,
        "networks": {name: _weights.entry(name)},
        "shape": list(denoiser.shape),
        "classes": list(denoiser.classes),
        "grid": level_grid(Sampling(steps=LEVELS), denoiser.schedule).tolist(),
        "seconds": SECONDS,
    }


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
    denoiser, classes = load(name), torch.tensor(list(y))
    noises = {seed: _noise.normal(math.prod(denoiser.shape), seed) for seed in set(seeds)}
    z = torch.stack([noises[seed].reshape(denoiser.shape) for seed in seeds])
    grid, guided = torch.tensor(about(name)["grid"]), guidance.classifier_free(denoiser, w=w)
    for state in samplers.trajectory(guided, z, grid, classes, method=sampler):
        if state.step < len(grid):
            push = state.prediction.eps - denoiser(state.z, state.logsnr, classes).eps
            yield state.logsnr.item(), state.prediction.x, push.square().mean((1, 2, 3)).sqrt()
