"""Flow matching is the same model in another dress: the same samples three ways, and the same training with a weight.

The loops here are written in t, with z_t = (1−t) x + t ε and u = ε − x, and know nothing of log-SNR.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math

import pytest
import torch
from torch import Generator, Tensor

from cfgtoy import NetDenoiser, datasets, guidance, logsnr, nets, samplers, training
from cfgtoy.schedules import Cosine, LogitNormal, RectifiedFlow

F64 = torch.float64
W = 1.5


@functools.cache
def mixture():
    return datasets.overlapping(F64)


def guided():
    return guidance.classifier_free(mixture(), w=W)


def start(n: int = 200) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 2, generator=Generator().manual_seed(0), dtype=F64), torch.arange(n) % 2


def velocity(z: Tensor, t: Tensor, *classes: Tensor | None) -> Tensor:
    """u = E[ε − x | z_t, y] of the mixture, by plain Gaussian algebra: N((1−t) μ, (1−t)² Σ + t² I) a component.

    For each of ``classes``, (n,) or None; (n, 2) for one, (classes, n, 2) for several.
    """
    m = mixture()
    covs = (1 - t) ** 2 * m.covs + t**2 * torch.eye(2, dtype=F64)  # (k, 2, 2)
    gap = z - (1 - t) * m.means[:, None]  # (k, n, 2)
    pull = torch.linalg.solve(covs, gap.mT).mT  # (k, n, 2)
    log_p = (m.weights.log() - 0.5 * torch.logdet(covs))[:, None] - 0.5 * (gap * pull).sum(-1)  # (k, n)
    u = t * pull - m.means[:, None] - (1 - t) * pull @ m.covs  # ε − x of each component
    mixed = []
    for y in classes:
        others = torch.zeros_like(log_p, dtype=torch.bool) if y is None else m.labels[:, None] != y
        mixed.append((log_p.masked_fill(others, -math.inf).softmax(0)[..., None] * u).sum(0))
    return torch.stack(mixed).squeeze(0)


def guided_velocity(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    own, all_ = velocity(z, t, y, None)
    return (1 + W) * own - W * all_


def euler(z: Tensor, times: Tensor, y: Tensor) -> Tensor:
    """z ← z + (t' − t) u from t = 1 to t = 0: all there is to sampling a flow."""
    for t, t_next in itertools.pairwise(times):
        z = z + (t_next - t) * guided_velocity(z, t, y)
    return z


def shifted(times: Tensor, shift: float) -> Tensor:
    return shift * times / (1 + (shift - 1) * times)


# -- the velocity ---


def test_the_velocity_is_that_of_the_flow():
    z, y = start()
    m = mixture()
    for t in torch.tensor([1.0, 0.9, 0.5, 0.1, 1e-3], dtype=F64):
        lam = 2 * torch.log((1 - t) / t)
        pred = m(z * (t**2 + (1 - t) ** 2).rsqrt(), lam, y)
        torch.testing.assert_close(pred.flow, velocity(z, t, y), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["x", "eps", "v", "flow", "score"])
def test_guidance_commutes_with_the_change_of_dress(kind):
    z, y = start()
    t = torch.tensor(0.6, dtype=F64)
    lam = 2 * torch.log((1 - t) / t)
    cond, uncond = (mixture()(logsnr.from_flow(z, lam), lam, which).as_kind(kind) for which in (y, None))
    mixed = guided()(logsnr.from_flow(z, lam), lam, y)
    torch.testing.assert_close((1 + W) * cond - W * uncond, mixed.as_kind(kind), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mixed.flow, guided_velocity(z, t, y), rtol=1e-9, atol=1e-9)


def test_weights_that_do_not_sum_to_one_do_not_commute():
    z, y = start()
    t = torch.tensor(0.6, dtype=F64)
    lam = 2 * torch.log((1 - t) / t)
    pred = mixture()(logsnr.from_flow(z, lam), lam, y)
    twice = type(pred).from_eps(pred.z, lam, 2 * pred.eps).flow
    assert (twice - 2 * pred.flow).norm(dim=1).mean() > 0.5


# -- three ways to the same points ---


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [4, 28])
def test_our_samplers_and_euler_in_t_end_at_the_same_points(steps, shift):
    z, y = start()
    times = shifted(torch.linspace(1, 0, steps + 1, dtype=F64), shift)
    grid = logsnr.from_flow_time(times[:-1])  # −∞ first; the last step returns x̂, as t = 0 does
    x = samplers.sample(guided(), y, shape=z.shape, grid=grid, z=z, method="ddim")
    torch.testing.assert_close(x, euler(z, times, y), rtol=0, atol=1e-9)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [4, 28])
def test_and_so_does_diffusers(steps, shift):
    diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
    from cfgtoy.adapters.diffusers import grid_from

    z, y = start()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    grid = grid_from(scheduler, dtype=F64)
    ours = samplers.sample(guided(), y, shape=z.shape, grid=grid, z=z, method="ddim")
    theirs = z
    for i, t in enumerate(scheduler.timesteps):
        u = guided_velocity(theirs, scheduler.sigmas[i].double(), y)
        theirs = scheduler.step(u, t, theirs).prev_sample
    # It rounds its state to float32 at every step.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours, euler(z, scheduler.sigmas.double(), y), rtol=0, atol=1e-9)


def test_the_second_order_samplers_go_to_the_same_end():
    z, y = start()
    times = torch.linspace(1, 0, 101, dtype=F64)
    grid = logsnr.from_flow_time(times[1:-1])
    truth = euler(z, torch.linspace(1, 0, 2001, dtype=F64), y)
    for method in ("heun", "dpm++2m"):
        x = samplers.sample(guided(), y, shape=z.shape, grid=grid, z=z, method=method)
        assert (x - truth).norm(dim=1).median() < 0.01


# -- training ---


def weight(lam: Tensor) -> Tensor:
    """((α+σ)/α)² = 1/(1−t)²: what the flow's loss weighs the loss in ε by."""
    return (1 + torch.exp(-lam / 2)) ** 2


def net(seed: int = 0) -> nets.MLP:
    torch.manual_seed(seed)
    made = nets.MLP(dim=2, num_classes=2, width=32, depth=2).double()
    torch.nn.init.normal_(made.leave.weight, std=0.1)
    return made


def batch(n: int, generator: Generator | None) -> tuple[Tensor, Tensor]:
    return mixture().sample_labeled(n, generator)


@pytest.mark.parametrize("kind", ["eps", "v", "x", "flow"])
def test_the_flow_loss_is_algorithm_1_with_another_weight(kind, generator):
    x, y = batch(512, generator)
    denoiser = NetDenoiser(net(), kind)
    lam = torch.linspace(-6, 6, 512, dtype=F64)
    one = {"schedule": Cosine(), "logsnr": lam, "p_uncond": 0.1}
    flow = training.diffusion_loss(denoiser, x, y, **one, target="flow", generator=Generator().manual_seed(3))
    eps = training.diffusion_loss(
        denoiser, x, y, **one, target="eps", weighting=weight, generator=Generator().manual_seed(3)
    )
    torch.testing.assert_close(flow.double(), eps, rtol=1e-5, atol=0)
    parameters = list(denoiser.net.parameters())
    for a, b in zip(*(torch.autograd.grad(loss.mean(), parameters) for loss in (flow, eps)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_the_loss_of_a_flow_written_by_hand():
    """‖u_θ(z_t) − (ε − x)‖², t uniform: the whole recipe, beside diffusion_loss with its flow schedule."""
    x, _ = batch(4096, Generator().manual_seed(1))
    denoiser = NetDenoiser(net(), "flow")
    lam = RectifiedFlow().sample(4096, Generator().manual_seed(2), dtype=F64)
    loss = training.diffusion_loss(
        denoiser, x, schedule=RectifiedFlow(), logsnr=lam, target="flow", generator=Generator().manual_seed(3)
    )
    t = 1 / (1 + torch.exp(lam / 2))
    assert (t.sort().values - (torch.arange(4096) + 0.5) / 4096).abs().max() < 0.03  # uniform
    noise = torch.randn(x.shape, generator=Generator().manual_seed(3), dtype=F64)
    z_t = (1 - t[:, None]) * x + t[:, None] * noise
    size = (t**2 + (1 - t) ** 2).sqrt()[:, None]
    u = denoiser.net(z_t / size, lam, torch.full((4096,), -1))
    torch.testing.assert_close(loss, (u - (noise - x)).square().mean(1).float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "law", [RectifiedFlow(-8, 8), LogitNormal(lo=-8, hi=8)], ids=["uniform", "logit-normal"]
)
def test_another_law_of_t_is_another_weight_too(law):
    """E over the flow's law of its loss = E over the cosine's law of the loss in ε, weighted by both ratios."""
    n, cosine = 200_000, Cosine(-8, 8)
    x, _ = batch(n, Generator().manual_seed(1))
    denoiser = NetDenoiser(net(), "v")

    def ratio(lam: Tensor) -> Tensor:
        return weight(lam) * (law.log_density(lam) - cosine.log_density(lam)).exp()

    with torch.no_grad():
        by_flow = training.diffusion_loss(
            denoiser, x, schedule=law, target="flow", generator=Generator().manual_seed(2)
        ).double()
        by_algorithm_1 = training.diffusion_loss(
            denoiser, x, schedule=cosine, weighting=ratio, generator=Generator().manual_seed(3)
        ).double()
    error = math.hypot(*(loss.std().item() / math.sqrt(n) for loss in (by_flow, by_algorithm_1)))
    assert abs(by_flow.mean() - by_algorithm_1.mean()).item() < 4 * error
    assert error < 0.02 * by_flow.mean()


def test_two_nets_trained_the_two_ways_stay_the_same():
    first = net()
    second = copy.deepcopy(first)
    same = {"steps": 20, "batch_size": 128, "kind": "v", "schedule": RectifiedFlow(-10, 10)}
    for _ in training.fit(first, batch, **same, target="flow", generator=Generator().manual_seed(5)):
        pass
    for _ in training.fit(
        second, batch, **same, target="eps", weighting=weight, generator=Generator().manual_seed(5)
    ):
        pass
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    moved = zip(first.parameters(), net().parameters(), strict=True)
    assert max((a - was).abs().max().item() for a, was in moved) > 1e-3
