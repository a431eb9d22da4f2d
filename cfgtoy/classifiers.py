"""Classifiers of noisy samples, log p(c | z_λ): the exact one of a mixture, and trained ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from . import _checks
from .mixture import GaussianMixture
from .process import diffuse
from .schedules import Cosine, Schedule
from .training.descent import descend

__all__ = ["ExactClassifier", "Record", "fit"]


class ExactClassifier:
    """The Bayes classifier of a diffused mixture, with its gradient in closed form.

    Args:
        mixture: the truth.
    """

    def __init__(self, mixture: GaussianMixture) -> None:
        self.mixture = mixture

    def __call__(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """log p(c | z_λ), (b, C)."""
        return self.mixture.class_log_prob(z, logsnr)

    def grad(self, z: Tensor, logsnr: Tensor, y: Tensor) -> Tensor:
        """∇_z log p(y | z_λ) = ∇ log p(z_λ | y) − ∇ log p(z_λ), (b, d)."""
        return self.mixture.score(z, logsnr, y) - self.mixture.score(z, logsnr)


@dataclass(frozen=True)
class Record:
    """One step of training a classifier: ``step`` from 1 and the batch's cross-entropy in nats, a 0-d tensor."""

    step: int
    loss: Tensor


def fit(
    net: nn.Module,
    batch: Callable[[int, Generator | None], tuple[Tensor, Tensor]],
    *,
    steps: int,
    batch_size: int = 512,
    schedule: Schedule | None = None,
    lr: float = 2e-3,
    generator: Generator | None = None,
) -> Iterator[Record]:
    """Train ``net(z, logsnr) -> log p(c | z_λ)`` on noisy samples by cross-entropy, yielding a step at a time.

    Args:
        net: trained in place; returns log-probabilities (b, C).
        batch: ``batch(n, generator) -> (x (n, *d), y (n,))``.
        steps: optimizer steps.
        batch_size: samples a step.
        schedule: law of λ; cosine on [−20, 20] when absent. A narrow one near its clean end trains a classifier of
            (almost) clean data, which guidance cannot use.
        lr: peak learning rate of Adam, decayed to zero.
        generator: source of randomness.

    Yields:
        one :class:`Record` a step.

    Raises:
        ValueError: an argument out of range, or a loss that is no longer finite (looked at every 100 steps and at the
            last).

    Source: Dhariwal & Nichol 2021, §4 (a classifier trained on noisy samples).
    """
    _checks.positive_int("steps", steps)
    _checks.positive_int("batch_size", batch_size)
    if not _checks.number("lr", lr) > 0:
        raise ValueError(f"lr: got {lr!r}, takes a positive number")
    schedule = Cosine() if schedule is None else schedule
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    net.train()

    def loss() -> Tensor:
        x, y = batch(batch_size, generator)
        lam = schedule.sample(len(x), generator, stratified=True, dtype=x.dtype)
        return F.nll_loss(net(diffuse(x, lam, generator=generator), lam), y)

    for step, value in descend(loss, optimizer, rate, steps=steps):
        yield Record(step, value)
