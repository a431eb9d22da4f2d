"""Samplers: measured orders, closed forms in the linear case, exact moments, repeatability, evaluation counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Generator, Tensor

from cfgtoy import GaussianMixture, NetDenoiser, datasets, guidance, nets, process, samplers
from cfgtoy.schedules import Cosine, LinearBeta, Uniform

F64 = torch.float64
METHODS = ["ancestral", "ddim", "heun", "dpm++2m"]
DETERMINISTIC = METHODS[1:]
EVALUATIONS = {
    "ancestral": lambda t: t,
    "ddim": lambda t: t,
    "heun": lambda t: 2 * t - 1,
    "dpm++2m": lambda t: t,
}


def measured_order(errors: list[float]) -> float:
    """Slope of log error over log step for step counts that double."""
    return -float(np.polyfit(np.log(2.0) * np.arange(len(errors)), np.log(errors), 1)[0])


# -- order -----------------------------------------------------------------------------------------------------------


def smooth_mixture() -> GaussianMixture:
    means = torch.tensor([[-0.8, 0.3], [0.9, -0.2], [0.1, 0.9]], dtype=F64)
    covs = torch.tensor([[[0.5, 0.1], [0.1, 0.3]]], dtype=F64).expand(3, 2, 2)
    return GaussianMixture(means, covs, torch.tensor([0.3, 0.5, 0.2], dtype=F64), torch.tensor([0, 1, 1]))


def flow_by_scipy(denoiser, z: Tensor, lo: float, hi: float, y: Tensor | None) -> Tensor:
    """The probability-flow ODE in λ itself, dz/dλ = ½(σ² z − σ ε̂), by an eighth-order adaptive method."""

    def slope(lam: float, flat: np.ndarray) -> np.ndarray:
        at = torch.from_numpy(flat).reshape(z.shape)
        sigma2 = 1 / (1 + math.exp(lam))
        eps = denoiser(at, torch.tensor(lam, dtype=F64), y).eps
        return (0.5 * (sigma2 * at - sigma2**0.5 * eps)).flatten().numpy()

    done = integrate.solve_ivp(slope, (lo, hi), z.flatten().numpy(), method="DOP853", rtol=1e-12, atol=1e-13)
    end = torch.from_numpy(done.y[:, -1]).reshape(z.shape)
    return denoiser(end, torch.tensor(hi, dtype=F64), y).x


@pytest.mark.parametrize(("method", "order"), [("ddim", 1.0), ("heun", 2.0), ("dpm++2m", 2.0)])
@pytest.mark.parametrize("w", [0.0, 1.5])
def test_order_of_convergence(method, order, w):
    m = smooth_mixture()
    denoiser = guidance.classifier_free(m, w=w)
    lo, hi = -5.0, 6.0
    z = torch.randn(16, 2, generator=Generator().manual_seed(0), dtype=F64)
    y = torch.arange(16) % 2
    want = flow_by_scipy(denoiser, z, lo, hi, y)
    errors = []
    for steps in (64, 128, 256, 512):
        grid = Uniform(lo, hi).grid(steps + 1, dtype=F64)
        got = samplers.sample(denoiser, y, shape=z.shape, grid=grid, method=method, z=z)
        errors.append((got - want).norm().item())
    assert measured_order(errors) == pytest.approx(order, abs=0.25)
    assert errors[-1] < 0.02


@pytest.mark.parametrize("method", ["heun", "dpm++2m"])
def test_second_order_on_an_uneven_grid(method):
    m = smooth_mixture()
    z = torch.randn(8, 2, generator=Generator().manual_seed(0), dtype=F64)
    want = flow_by_scipy(m, z, -5.0, 6.0, None)
    errors = []
    for steps in (64, 128, 256, 512):
        grid = Cosine(-5.0, 6.0).grid(steps + 1, dtype=F64)
        errors.append((samplers.sample(m, shape=z.shape, grid=grid, method=method, z=z) - want).norm().item())
    assert measured_order(errors) == pytest.approx(2.0, abs=0.25)


def gains(grid: Tensor, var: float, var_other: float, gamma: float) -> Tensor:
    """x̂ = g(λ) z for γ ε_c − (γ−1) ε_∅ on two centred Gaussians, in scalars."""
    alpha2, sigma2 = torch.sigmoid(grid), torch.sigmoid(-grid)
    score = -gamma / (alpha2 * var + sigma2) + (gamma - 1) / (alpha2 * var_other + sigma2)
    return (1 + sigma2 * score) / alpha2.sqrt()


def ancestral_variance(grid: Tensor, gain: Tensor, v: float) -> float:
    """Variance of the last x̂ by the linear recursion that the reverse step's two formulas make, from z ~ N(0, 1)."""
    var = 1.0
    for i in range(len(grid) - 1):
        lam, ahead = grid[i].item(), grid[i + 1].item()
        a2, a2_ahead = 1 / (1 + math.exp(-lam)), 1 / (1 + math.exp(-ahead))
        s2, s2_ahead = 1 / (1 + math.exp(lam)), 1 / (1 + math.exp(ahead))
        keep = math.exp(lam - ahead)
        slope = keep * math.sqrt(a2_ahead / a2) + (1 - keep) * math.sqrt(a2_ahead) * gain[i].item()
        noise = ((1 - keep) * s2_ahead) ** (1 - v) * ((1 - keep) * s2) ** v
        var = slope**2 * var + noise
    return gain[-1].item() ** 2 * var


def ddim_variance(grid: Tensor, gain: Tensor) -> float:
    alpha, sigma = torch.sigmoid(grid).sqrt(), torch.sigmoid(-grid).sqrt()
    total = 1.0
    for i in range(len(grid) - 1):
        eps = (1 - alpha[i] * gain[i]) / sigma[i]
        total *= (alpha[i + 1] * gain[i] + sigma[i + 1] * eps).item()
    return (gain[-1].item() * total) ** 2


@pytest.mark.parametrize("v", [0.0, 0.3, 1.0])
def test_ancestral_has_weak_order_one(v):
    """Gaussian data: the variance of the samples is known at every step count without sampling."""
    data_var, lo, hi = 0.5, -14.0, 9.0
    gain_end = gains(torch.tensor([hi], dtype=F64), data_var, 1.0, 1.0).item()
    want = gain_end**2 * (data_var / (1 + math.exp(-hi)) + 1 / (1 + math.exp(hi)))
    errors = []
    for steps in (256, 512, 1024, 2048):
        grid = Uniform(lo, hi).grid(steps + 1, dtype=F64)
        errors.append(abs(ancestral_variance(grid, gains(grid, data_var, 1.0, 1.0), v) - want))
    assert measured_order(errors) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("v", [0.0, 0.3, 1.0])
def test_the_ancestral_sampler_is_that_recursion(v):
    """Noise replayed from the same seed: the sampler's path, step by step, from the paper's formulas alone."""
    m = GaussianMixture(torch.zeros(1, 1, dtype=F64), 0.5)
    grid = Uniform(-14.0, 9.0).grid(40, dtype=F64)
    gain = gains(grid, 0.5, 1.0, 1.0)
    replay = Generator().manual_seed(3)
    z = torch.randn(2000, 1, generator=replay, dtype=F64)
    states = list(samplers.ancestral(m, z, grid, v=v, generator=replay.clone_state()))
    for i in range(len(grid) - 1):
        mean, var = process.reverse(z, gain[i] * z, grid[i], grid[i + 1], v)
        z = mean + var.sqrt() * torch.randn(z.shape, generator=replay, dtype=F64)
        torch.testing.assert_close(states[i + 1].z, z, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(states[-1].z, gain[-1] * z, rtol=1e-9, atol=1e-9)
    want = ancestral_variance(grid, gain, v)
    assert states[-1].z.var().item() == pytest.approx(want, rel=5 * math.sqrt(2 / 2000))


# -- the pair of Gaussians on which guidance is solved in closed form ------------------------------------------------

GAMMAS = [1.0, 2.0, 3.0, 5.0]


def ode_variance(gamma: float) -> float:
    return 2.0 ** (1 - gamma)


def sde_variance(gamma: float) -> float:
    return (2 - 2.0 ** (2 - 2 * gamma)) / (2 * gamma - 1)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("method", DETERMINISTIC)
def test_guided_ode_variance(gamma, method):
    """The flow is linear here, so one trajectory from z = 1 carries the whole law."""
    guided = guidance.classifier_free(datasets.gaussian_pair(1.0, 2.0, dtype=F64), w=gamma - 1)
    grid = Uniform(-20.0, 20.0).grid(1500, dtype=F64)
    end = samplers.sample(guided, 0, shape=(1, 1), grid=grid, method=method, z=torch.ones(1, 1, dtype=F64))
    assert end.item() ** 2 == pytest.approx(ode_variance(gamma), rel=0.06 if method == "ddim" else 2e-3)
    if method == "ddim":
        assert end.item() ** 2 == pytest.approx(ddim_variance(grid, gains(grid, 1.0, 2.0, gamma)), rel=1e-9)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_guided_sde_variance(gamma):
    """The linear recursion tends to the closed form as steps shrink, whatever v; the sampler obeys the recursion."""
    for v in (0.0, 0.3, 1.0):
        errors = []
        for steps in (500, 1000, 2000, 4000):
            grid = Uniform(-20.0, 20.0).grid(steps, dtype=F64)
            errors.append(ancestral_variance(grid, gains(grid, 1.0, 2.0, gamma), v) - sde_variance(gamma))
        assert abs(errors[-1]) < 0.02 * sde_variance(gamma)
        assert abs(errors[-1]) < max(
            0.7 * abs(errors[-2]), 1e-8
        )  # at γ = 1 and v = 1 it is exact but for λ_min
    n = 40_000
    guided = guidance.classifier_free(datasets.gaussian_pair(1.0, 2.0, dtype=F64), w=gamma - 1)
    grid = Uniform(-12.0, 12.0).grid(150, dtype=F64)
    x = samplers.sample(guided, 0, shape=(n, 1), grid=grid, generator=Generator().manual_seed(0))
    want = ancestral_variance(grid, gains(grid, 1.0, 2.0, gamma), 0.3)
    assert x.var().item() == pytest.approx(want, rel=4.5 * math.sqrt(2 / n))
    assert want == pytest.approx(sde_variance(gamma), rel=0.12)


def test_guided_variances_are_three_different_numbers():
    assert (ode_variance(3.0), sde_variance(3.0), 2 / (3.0 + 1)) == (0.25, 0.3875, 0.5)


# -- whole distributions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_samples_of_an_exact_denoiser_follow_the_data(random_mixture, method):
    m = random_mixture(k=4, dim=1, classes=2, covariance="iso")
    grid = Uniform(-12.0, 12.0).grid(400, dtype=F64)
    y = torch.ones(4000, dtype=torch.int64)
    x = samplers.sample(m, y, shape=(4000, 1), grid=grid, method=method, generator=Generator().manual_seed(0))
    reference = m.sample(4000, 1, Generator().manual_seed(1))
    assert stats.ks_2samp(x[:, 0].numpy(), reference[:, 0].numpy()).pvalue > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_each_sample_follows_its_own_class(method):
    m = datasets.ring(8)
    y = torch.arange(64) % 8
    x = samplers.sample(
        m, y, shape=(64, 2), grid=Cosine().grid(100), method=method, generator=Generator().manual_seed(0)
    )
    assert x.dtype == torch.float32
    assert torch.equal(torch.cdist(x, m.means).argmin(1), y)


def test_the_flow_keeps_a_standard_normal():
    """p(x) = N(0, I): ε̂ = σ z at every level, so every sampler of the flow must stand still."""
    m = GaussianMixture(torch.zeros(1, 2, dtype=F64), 1.0)
    z = torch.randn(10, 2, dtype=F64)
    grid = Uniform(-10.0, 30.0).grid(400, dtype=F64)
    for method in DETERMINISTIC:
        got = samplers.sample(m, shape=(10, 2), grid=grid, method=method, z=z)
        torch.testing.assert_close(got, z, rtol=0.01, atol=0.01)


# -- manners ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_fixed_generator_repeats_itself(method):
    m = datasets.three_gaussians()
    arguments = {"shape": (9, 2), "grid": Cosine().grid(12), "method": method}
    y = torch.arange(9) % 3
    first = samplers.sample(m, y, generator=Generator().manual_seed(1), **arguments)
    assert torch.equal(first, samplers.sample(m, y, generator=Generator().manual_seed(1), **arguments))
    assert not torch.equal(first, samplers.sample(m, y, generator=Generator().manual_seed(2), **arguments))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_states_and_evaluations(method, steps):
    m = datasets.three_gaussians()
    calls = []

    def counting(z, lam, y=None):
        calls.append(float(lam))
        return m(z, lam, y)

    grid = LinearBeta().grid(steps)
    z = torch.randn(5, 2)
    states = list(
        samplers.trajectory(counting, z, grid, 1, method=method, generator=Generator().manual_seed(0))
    )
    assert len(calls) == EVALUATIONS[method](steps)
    assert [s.step for s in states] == list(range(steps + 1))
    assert [s.logsnr.item() for s in states[:-1]] == grid.tolist()
    assert math.isinf(states[-1].logsnr.item())
    assert torch.equal(states[0].z, z)
    # The last step returns the clean estimate at the last level.
    assert torch.equal(states[-1].z, states[-2].prediction.x)
    torch.testing.assert_close(states[-2].prediction.x, m(states[-2].z, grid[-1], 1).x)
    for state in states[:-1]:
        torch.testing.assert_close(state.prediction.x, m(state.z, state.logsnr, 1).x)


@pytest.mark.parametrize("method", METHODS)
def test_sample_is_the_end_of_its_trajectory(method):
    m = datasets.three_gaussians()
    grid = Cosine().grid(9)
    got = samplers.sample(m, 2, shape=(4, 2), grid=grid, method=method, generator=Generator().manual_seed(7))
    g = Generator().manual_seed(7)
    z = samplers.initial_noise((4, 2), g)
    *_, last = samplers.trajectory(m, z, grid, 2, method=method, generator=g)
    assert torch.equal(got, last.z)
    assert not got.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_any_shape_and_a_network(method):
    class Net(torch.nn.Module):
        def forward(self, z, lam, y):
            return torch.tanh(z) * torch.sigmoid(-lam).reshape(-1, 1, 1, 1)

    x = samplers.sample(
        NetDenoiser(Net()),
        shape=(2, 3, 4, 4),
        grid=Cosine().grid(6),
        method=method,
        generator=Generator().manual_seed(0),
    )
    assert x.shape == (2, 3, 4, 4)
    assert bool(x.isfinite().all())
    net = NetDenoiser(nets.MLP(2, 3).eval())
    guided = guidance.classifier_free(net, w=1.0)
    y = torch.tensor([0, 1, 2, -1])
    x = samplers.sample(guided, y, shape=(4, 2), grid=Cosine().grid(6), method=method)
    assert x.shape == (4, 2)
    assert bool(x.isfinite().all())


@pytest.mark.parametrize("method", DETERMINISTIC)
def test_float32_stays_near_float64(method):
    single, double = datasets.overlapping(), datasets.overlapping(F64)
    z = torch.randn(50, 2)
    got = samplers.sample(single, 0, shape=(50, 2), grid=Cosine().grid(64), method=method, z=z)
    want = samplers.sample(
        double, 0, shape=(50, 2), grid=Cosine().grid(64).double(), method=method, z=z.double()
    )
    torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=1e-3)


def test_progress_changes_nothing(capsys):
    m = datasets.three_gaussians()
    arguments = {"shape": (3, 2), "grid": Cosine().grid(4)}
    quiet = samplers.sample(m, 0, generator=Generator().manual_seed(0), **arguments)
    assert capsys.readouterr().err == ""
    loud = samplers.sample(m, 0, generator=Generator().manual_seed(0), progress=True, **arguments)
    assert torch.equal(quiet, loud)
