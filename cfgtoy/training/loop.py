"""Training loops for small data that yield after every step, so a notebook owns logging, plotting and stopping."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import starmap

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from .. import _checks
from ..prediction import Kind, NetDenoiser
from ..process import diffuse
from ..schedules import Cosine, Schedule
from .objective import EMA, diffusion_loss

Batch = Callable[[int, Generator | None], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Step:
    """One step of training, numbered from 1, and its batch's mean loss, 0-d (``float(loss)`` waits for the device)."""

    step: int
    loss: Tensor


@dataclass(frozen=True)
class Record(Step):
    """One step of training a denoiser, with the averaged weights so far; ``ema.net`` is the network to sample from."""

    ema: EMA


def descend(
    loss: Callable[[], Tensor], optimizer: Optimizer, rate: LRScheduler, *, steps: int
) -> Iterator[tuple[int, Tensor]]:
    """Take ``steps`` steps down ``loss()``, drawn anew for each; yields the step's number, from 1, and its loss."""
    for step in range(1, steps + 1):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        if (step % 100 == 0 or step == steps) and not bool(value.isfinite()):
            raise ValueError(f"loss: got {value.item()} at step {step}, takes finite numbers; lower lr")
        optimizer.step()
        rate.step()
        yield step, value.detach()


def fit(
    net: nn.Module,
    batch: Batch,
    *,
    steps: int,
    batch_size: int = 512,
    kind: Kind = "eps",
    target: Kind | None = None,
    schedule: Schedule | None = None,
    p_uncond: float = 0.1,
    weighting: Callable[[Tensor], Tensor] | None = None,
    lr: float = 2e-3,
    ema_decay: float = 0.995,
    generator: Generator | None = None,
) -> Iterator[Record]:
    """Train ``net`` for guidance (Ho & Salimans 2022, Algorithm 1), yielding a :class:`Record` a step.

    Args:
        net: ``net(z, logsnr, y) -> tensor``; trained in place.
        batch: ``batch(n, generator) -> (x (n, *d), y (n,))``, for instance ``mixture.sample_labeled``.
        steps, batch_size: optimizer steps, and samples a step.
        kind, target: what the network's output means, and whose error counts; the same when absent.
        schedule: law of λ; the cosine schedule on [−20, 20] when absent.
        p_uncond, weighting: probability of dropping a label, and a further weight on the loss as a function of λ.
        lr: peak learning rate of Adam; it warms up over 5 % of the steps and decays to zero along a cosine.
        ema_decay: of the averaged weights.
        generator: source of randomness for data, λ, ε and label drops.

    Raises:
        ValueError: an argument out of range, or a loss that is no longer finite (looked at every 100 steps and at the
            last).
    """
    _check(steps, batch_size, lr)
    _checks.unit_interval("p_uncond", p_uncond)
    law = schedule or Cosine()
    denoiser, ema = NetDenoiser(net, kind), EMA(net, ema_decay)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, betas=(0.9, 0.99), fused=True)
    rate = OneCycleLR(optimizer, lr, steps + 1, pct_start=0.05, cycle_momentum=False, final_div_factor=1e3)
    net.train()

    def loss() -> Tensor:
        x, y = batch(batch_size, generator)
        return diffusion_loss(
            denoiser, x, y, schedule=law, p_uncond=p_uncond, target=target or kind, weighting=weighting,
            generator=generator,
        ).mean()  # fmt: skip

    def record(step: int, value: Tensor) -> Record:
        ema.update()
        return Record(step, value, ema)

    return starmap(record, descend(loss, optimizer, rate, steps=steps))


def fit_classifier(
    net: nn.Module,
    batch: Batch,
    *,
    steps: int,
    batch_size: int = 512,
    schedule: Schedule | None = None,
    lr: float = 2e-3,
    generator: Generator | None = None,
) -> Iterator[Step]:
    """Train ``net(z, logsnr) -> log p(c | z_λ)`` (b, C) on noisy samples by cross-entropy in nats, yielding each step.

    Arguments and errors as for :func:`fit`, but that the rate has no warm-up. A narrow ``schedule`` near its clean end
    trains a classifier of (almost) clean data, which guidance cannot use.

    Source: Dhariwal & Nichol 2021, §4.
    """
    _check(steps, batch_size, lr)
    law = schedule or Cosine()
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    rate = CosineAnnealingLR(optimizer, steps)
    net.train()

    def loss() -> Tensor:
        x, y = batch(batch_size, generator)
        lam = law.sample(len(x), generator, stratified=True, device=x.device, dtype=x.dtype)
        return F.nll_loss(net(diffuse(x, lam, generator=generator), lam), y)

    return starmap(Step, descend(loss, optimizer, rate, steps=steps))


def _check(steps: int, batch_size: int, lr: float) -> None:
    _checks.positive_int("steps", steps)
    _checks.positive_int("batch_size", batch_size)
    _checks.number("lr", lr, lo=0.0, open=True)
