"""The noise of the page, in Python: what a kernel draws starts where the page does."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF


def _uniforms(seed: int) -> Iterator[float]:
    """Numbers in (0, 1): sfc32, as ``js/random.mjs`` has it."""
    a, b, c, d = 0x9E3779B9, 0x243F6A88, (seed & _WORD) ^ 0xB7E15162, 1
    for drawn in itertools.count():
        t = (a + b + d) & _WORD
        d = (d + 1) & _WORD
        a = b ^ (b >> 9)
        b = (c + (c << 3)) & _WORD
        c = (((c << 21) | (c >> 11)) + t) & _WORD
        if drawn >= 16:
            yield (t + 0.5) / 4294967296


def normal(n: int, seed: int) -> Tensor:
    """``n`` draws of N(0, 1), float32: those of ``fillNormal`` in ``js/random.mjs`` at the same seed."""
    uniforms = _uniforms(seed)
    out: list[float] = []
    while len(out) < n:
        r, turn = math.sqrt(-2 * math.log(next(uniforms))), 2 * math.pi * next(uniforms)
        out += [r * math.cos(turn), r * math.sin(turn)]
    return torch.tensor(out[:n])


def pictures(shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Noise for pictures of ``shape``, one a seed: (b, *shape); each seed is drawn once."""
    drawn = {seed: normal(math.prod(shape), seed).reshape(*shape) for seed in set(seeds)}
    return torch.stack([drawn[seed] for seed in seeds])
