"""Training steps a second of ``cfgtoy.training.fit`` on points, against the plainest PyTorch loop on the same network.

    python benchmarks/mlp_steps.py [--steps 60] [--batch-size 512] [--threads 2] [--rounds 25]

The plain loop holds the whole of what it does in sight: draw a batch, drop labels, add noise, one squared error, one
Adam step; it runs without an average of the weights, which ``fit`` keeps too, and with one. All train a fresh copy of
one network on the same mixture, from the same cosine law of λ, in turns; the best round of each counts. Exits with 1
where ``fit`` is slower than the plainest.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor, nn

from cfgtoy import datasets, nets, training

LEAST_RATIO = 1.0
Draw = Callable[[int, Generator], tuple[Tensor, Tensor]]


def plain_loop(
    net: nn.Module, draw: Draw, steps: int, batch_size: int, generator: Generator, average: bool
) -> Tensor:
    """Algorithm 1 as one would type it, with Adam's defaults."""
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    smooth = copy.deepcopy(net) if average else None
    b = math.atan(math.exp(-10))
    a = math.atan(math.exp(10)) - b
    for _ in range(steps):
        x, y = draw(batch_size, generator)
        y = torch.where(torch.rand(batch_size, generator=generator) < 0.1, -1, y)
        lam = -2 * torch.log(torch.tan(a * torch.rand(batch_size, generator=generator) + b))
        eps = torch.randn(x.shape, generator=generator)
        alpha, sigma = torch.sigmoid(lam).sqrt()[:, None], torch.sigmoid(-lam).sqrt()[:, None]
        loss = ((net(alpha * x + sigma * eps, lam, y) - eps) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if smooth is not None:
            with torch.no_grad():
                for mine, theirs in zip(smooth.parameters(), net.parameters(), strict=True):
                    mine.lerp_(theirs, 0.005)
    return loss.detach()


def library_loop(net: nn.Module, draw: Draw, steps: int, batch_size: int, generator: Generator) -> Tensor:
    for record in training.fit(net, draw, steps=steps, batch_size=batch_size, generator=generator):
        loss = record.loss
    return loss


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    mixture, fresh = datasets.three_gaussians(), nets.MLP(2, 3)
    loops = {
        "plain PyTorch": partial(plain_loop, average=False),
        "plain PyTorch, averaged": partial(plain_loop, average=True),
        "cfgtoy.training.fit": library_loop,
    }
    best = dict.fromkeys(loops, 0.0)
    losses: dict[str, float] = {}
    for turn in range(args.rounds + 1):
        for name, loop in loops.items():
            net, steps = copy.deepcopy(fresh), args.steps if turn else 20  # the first turn warms up
            start = time.perf_counter()
            loss = loop(net, mixture.sample_labeled, steps, args.batch_size, Generator().manual_seed(turn))
            if turn:
                best[name] = max(best[name], steps / (time.perf_counter() - start))
                losses[name] = loss.item()
    print(f"{'loop':<24}{'steps/s':>9}{'last loss':>11}   batch {args.batch_size}, {args.threads} threads")
    for name in loops:
        print(f"{name:<24}{best[name]:>9.0f}{losses[name]:>11.3f}")
    ratio = best["cfgtoy.training.fit"] / best["plain PyTorch"]
    print(f"ratio {ratio:.2f}x (takes {LEAST_RATIO:g}x)")
    return 0 if ratio >= LEAST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
