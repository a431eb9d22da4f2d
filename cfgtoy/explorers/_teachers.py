"""The guided CIFAR-10 network in the page: what a page must know of it, and the same pictures by PyTorch."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import artifacts, guidance
from ..images.sampling import Sampling, level_grid
from ..prediction import Denoiser
from ..samplers import Method, trajectory
from . import _noise, _weights

LEVELS = 18
SECONDS = 4
"""An image at all levels in a browser, on one core: see benchmarks/README.md."""

load = cache(artifacts.load_denoiser)
"""The network that ships under a name, read once."""


@cache
def about(name: str) -> dict[str, Any]:
    """What ``Teacher`` in ``js/nets/teacher.mjs`` asks for: weights, image shape, classes, levels, seconds an image."""
    denoiser = load(name)
    grid = level_grid(Sampling(steps=LEVELS), denoiser.schedule)
    return _weights.known(name, denoiser, grid) | {"seconds": SECONDS}


@torch.no_grad()
def path(name: str, *, w: float, y: Sequence[int], seeds: Sequence[int], sampler: Method) -> _weights.Levels:
    """What the network says, under classifier-free guidance, on the way from the page's noise to pictures.

    For each of b pictures there are a class in ``y`` and a noise in ``seeds``.

    Yields:
        At each level: λ, the estimates x̂ (b, c, h, w), and for each picture the root mean square of what guidance
        adds to ε̂, (b,). The last estimates are the samples.
    """
    denoiser, grid = load(name), torch.tensor(about(name)["grid"])
    z, guided = _noise.pictures(denoiser.shape, seeds), guidance.classifier_free(denoiser, w=w)
    yield from guided_path(denoiser, guided, z, grid, torch.tensor(y), sampler)


def guided_path(
    denoiser: Denoiser, guided: Denoiser, z: Tensor, grid: Tensor, y: Tensor, sampler: Method
) -> _weights.Levels:
    """At each level: λ, the guided estimates x̂, and what guidance adds to ε̂ of each picture, as :func:`path` says."""
    for state in trajectory(guided, z, grid, y, method=sampler):
        if state.step < len(grid):
            push = state.prediction.eps - denoiser(state.z, state.logsnr, y).eps
            yield state.logsnr.item(), state.prediction.x, push.square().mean((1, 2, 3)).sqrt()
