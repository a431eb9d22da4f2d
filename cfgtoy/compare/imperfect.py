"""Models that are wrong in a known way: what guidance is said to repair."""

from collections.abc import Callable

import torch

from ..mixture import GaussianMixture
from ..nets import MLP
from ..prediction import NetDenoiser
from ..training import fit


def blurred(mixture: GaussianMixture, std: float = 0.15) -> GaussianMixture:
    """Every component widened by N(0, std² I): the data seen through a fog, classes included."""
    covs = mixture.covs + std**2 * torch.eye(mixture.dim).to(mixture.means)
    return GaussianMixture(mixture.means, covs, mixture.weights, mixture.labels)


def too_narrow(mixture: GaussianMixture, factor: float = 0.6) -> GaussianMixture:
    """Every component with its standard deviations times ``factor``."""
    return GaussianMixture(mixture.means, factor**2 * mixture.covs, mixture.weights, mixture.labels)


def too_few_modes(mixture: GaussianMixture, keep: float = 0.7) -> GaussianMixture:
    """Of each class the heaviest components, as few as hold a share ``keep`` of its weight."""
    kept = []
    for c in range(mixture.num_classes):
        own = (mixture.labels == c).nonzero()[:, 0]
        weights, order = mixture.weights[own].sort(descending=True, stable=True)
        before = weights.cumsum(0) / weights.sum() - weights / weights.sum()
        kept.append(own[order[before < keep - 1e-4]])
    index = torch.cat(kept)
    parts = mixture.means, mixture.covs, mixture.weights, mixture.labels
    return GaussianMixture(*(part[index] for part in parts))


def mlp(mixture: GaussianMixture, steps: int = 800, seed: int = 0) -> tuple[NetDenoiser, NetDenoiser]:
    """A small network trained for some seconds, and what it was after a fifth of that: a worse one of its own kind."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net, early = (MLP(mixture.dim, mixture.num_classes, width=64) for _ in range(2))
    run = fit(net, mixture.sample_labeled, steps=steps, batch_size=256, kind="v", generator=generator)
    for record in run:
        if record.step == steps // 5:
            early.load_state_dict(record.ema.net.state_dict())
    good, bad = (NetDenoiser(one.eval().requires_grad_(False), "v") for one in (record.ema.net, early))
    return good, bad


WAYS: dict[str, Callable[[GaussianMixture], GaussianMixture]] = {
    "blurred": blurred,
    "too-narrow": too_narrow,
    "too-few-modes": too_few_modes,
}
"""The ways to be wrong that have a closed form."""
