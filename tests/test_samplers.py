"""Samplers: measured orders, closed forms in the linear case, exact moments, repeatability, evaluation counts."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Generator, Tensor

from cfgtoy import (
    GaussianMixture,
    NetDenoiser,
    datasets,
    guidance,
    metrics,
    nets,
    process,
    samplers,
)
from cfgtoy.schedules import Cosine, LinearBeta, RectifiedFlow, Uniform
from tests.pair import exact_pair

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


@pytest.fixture(scope="module")
def smooth_flow():
    """The guided flow at two weights, 16 samples each: its denoiser, z, y, and where scipy says that z goes."""
    denoiser = guidance.classifier_free(
        smooth_mixture(), w=torch.tensor([0.0, 1.5], dtype=F64).repeat_interleave(16)
    )
    z = torch.randn(16, 2, generator=Generator().manual_seed(0), dtype=F64).repeat(2, 1)
    y = torch.arange(32) % 2
    return denoiser, z, y, flow_by_scipy(denoiser, z, -5.0, 6.0, y)


@pytest.mark.parametrize(("method", "order"), [("ddim", 1.0), ("heun", 2.0), ("dpm++2m", 2.0)])
def test_order_of_convergence(method, order, smooth_flow):
    denoiser, z, y, want = smooth_flow
    errors = []
    for steps in (64, 128, 256, 512):
        grid = Uniform(-5.0, 6.0).grid(steps + 1, dtype=F64)
        got = samplers.sample(denoiser, y, shape=z.shape, grid=grid, method=method, z=z)
        errors.append((got - want).reshape(2, -1).norm(dim=1).tolist())
    for of_one_weight in zip(*errors, strict=True):
        assert measured_order(of_one_weight) == pytest.approx(order, abs=0.25)
        assert of_one_weight[-1] < 0.02


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
    var, gain = 1.0, gain.tolist()
    for i, (lam, ahead) in enumerate(itertools.pairwise(grid.tolist())):
        a2, a2_ahead = 1 / (1 + math.exp(-lam)), 1 / (1 + math.exp(-ahead))
        s2, s2_ahead = 1 / (1 + math.exp(lam)), 1 / (1 + math.exp(ahead))
        keep = math.exp(lam - ahead)
        slope = keep * math.sqrt(a2_ahead / a2) + (1 - keep) * math.sqrt(a2_ahead) * gain[i]
        noise = ((1 - keep) * s2_ahead) ** (1 - v) * ((1 - keep) * s2) ** v
        var = slope**2 * var + noise
    return gain[-1] ** 2 * var


def ddim_variance(grid: Tensor, gain: Tensor) -> float:
    alpha, sigma = torch.sigmoid(grid).sqrt(), torch.sigmoid(-grid).sqrt()
    eps = (1 - alpha * gain) / sigma
    slopes = alpha[1:] * gain[:-1] + sigma[1:] * eps[:-1]
    return (gain[-1] * slopes.prod()).item() ** 2


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


# -- grids that jump -------------------------------------------------------------------------------------------------


def test_heun_is_the_trapezoid_of_both_estimates():
    """dz = x̂ dα + ε̂ dσ, each estimate the mean of a step's two ends: written out in float64, long steps included."""
    m = datasets.overlapping(F64)
    grid = torch.tensor([-20.0, -6.0, -5.5, 1.0, 18.0], dtype=F64)
    alpha, sigma = torch.sigmoid(grid).sqrt(), torch.sigmoid(-grid).sqrt()
    z = torch.randn(40, 2, generator=Generator().manual_seed(0), dtype=F64)
    states = list(samplers.heun(m, z, grid, 1))
    for i in range(len(grid) - 1):
        here = m(z, grid[i], 1)
        there = m(alpha[i + 1] * here.x + sigma[i + 1] * here.eps, grid[i + 1], 1)
        z = z + (alpha[i + 1] - alpha[i]) * (here.x + there.x) / 2
        z = z + (sigma[i + 1] - sigma[i]) * (here.eps + there.eps) / 2
        torch.testing.assert_close(states[i + 1].z, z, rtol=1e-9, atol=1e-9)


def moments_under_guidance(w: float, method: str, grid: Tensor) -> tuple[Tensor, Tensor]:
    denoiser = guidance.classifier_free(datasets.three_gaussians(), w=w)
    z = torch.randn(4000, 2, generator=Generator().manual_seed(1))
    x = samplers.sample(denoiser, 0, shape=z.shape, grid=grid, method=method, z=z)
    return metrics.moments(x.double())


@functools.cache
def true_moments(w: float) -> tuple[Tensor, Tensor]:
    return moments_under_guidance(w, "heun", Uniform(-12.0, 12.0).grid(120))


@pytest.mark.parametrize("w", [0.0, 2.0])
@pytest.mark.parametrize("schedule", [Cosine(), LinearBeta()], ids=["cosine", "linear-beta"])
@pytest.mark.parametrize("steps", [8, 12, 18])
def test_second_order_holds_up_on_few_levels_that_jump(schedule, steps, w):
    """Long steps out of noise and into the data: nothing explodes, and Heun keeps ahead of DDIM.

    With the textbook's step Heun's Fréchet distance is 35 on 12 cosine levels and 2.5 on 18, and 2M's 0.2 and 0.06.
    """
    distance = {
        method: float(
            metrics.frechet_from_moments(
                *moments_under_guidance(w, method, schedule.grid(steps)), *true_moments(w)
            )
        )
        for method in DETERMINISTIC
    }
    assert distance["heun"] < 0.25 * distance["ddim"]
    assert distance["heun"] < 0.002
    assert distance["dpm++2m"] < max(3 * distance["ddim"], 0.002)


@pytest.mark.parametrize("method", METHODS)
def test_two_levels_a_world_apart_stay_near_the_data(method):
    m = datasets.three_gaussians(dtype=F64)
    denoiser = guidance.classifier_free(m, w=3.0)
    for levels in ([-20.0, 20.0], [-20.0, 0.0, 20.0], [-40.0, -39.0, 40.0]):
        x = samplers.sample(
            denoiser,
            0,
            shape=(200, 2),
            grid=torch.tensor(levels, dtype=F64),
            method=method,
            generator=Generator().manual_seed(0),
        )
        assert x.abs().max() < 10


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["x", "v", "flow"])
@pytest.mark.parametrize("w", [0.0, 2.0])
def test_the_first_level_may_be_pure_noise(method, kind, w):
    """λ = −∞ is the limit of a very noisy first level: zero terminal SNR, a flow's t = 1."""
    m = datasets.three_gaussians(dtype=F64)

    def net(z: Tensor, lam: Tensor, y: Tensor) -> Tensor:
        # All levels below −60 are one to float64; there x̂ is the class's mean and v = −x.
        return m(z, lam.clamp(min=-60.0), y).as_kind(kind)

    denoiser = guidance.classifier_free(NetDenoiser(net, kind), w=w)
    rest = Uniform(-5.0, 8.0).grid(20, dtype=F64)
    z = torch.randn(30, 2, generator=Generator().manual_seed(0), dtype=F64)
    y = torch.arange(30) % 3

    def run(first: float) -> list[samplers.State]:
        grid = torch.cat([torch.tensor([first], dtype=F64), rest])
        return list(
            samplers.trajectory(denoiser, z, grid, y, method=method, generator=Generator().manual_seed(1))
        )

    noise, nearly = run(-math.inf), run(-1e9)
    assert noise[0].logsnr == -math.inf
    for a, b in zip(noise, nearly, strict=True):
        torch.testing.assert_close(a.z, b.z, rtol=1e-9, atol=1e-9)
    single = samplers.sample(
        denoiser,
        y,
        shape=(30, 2),
        grid=torch.cat([torch.tensor([-math.inf]), rest.float()]),
        method=method,
        z=z.float(),
    )
    assert bool(single.isfinite().all())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["eps", "score"])
def test_an_estimate_that_says_nothing_of_x_cannot_start_from_pure_noise(method, kind):
    def net(z: Tensor, lam: Tensor, y: Tensor) -> Tensor:
        return z if kind == "eps" else -z

    grid = torch.tensor([-math.inf, -2.0, 3.0])
    with pytest.raises(ValueError, match=r"^logsnr: got .+inf.*, takes "):
        samplers.sample(NetDenoiser(net, kind), shape=(4, 2), grid=grid, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_the_mixture_itself_starts_from_pure_noise(method):
    m = datasets.three_gaussians(dtype=F64)
    grid = torch.cat([torch.tensor([-math.inf], dtype=F64), RectifiedFlow(-9.0, 10.0).grid(40, dtype=F64)])
    guided = guidance.classifier_free(m, w=0.5)
    x = samplers.sample(
        guided, 1, shape=(500, 2), grid=grid, method=method, generator=Generator().manual_seed(0)
    )
    assert (m.class_log_prob(x, 20.0).argmax(1) == 1).double().mean() > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_levels_that_the_samples_cannot_tell_apart_are_refused(method):
    m = datasets.three_gaussians()
    z = torch.randn(4, 2, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"^grid: got 500 levels, .+bfloat16, takes "):
        samplers.trajectory(m, z, Uniform().grid(500), 0, method=method)
    with pytest.raises(ValueError, match=r"^grid: "):
        samplers.sample(m, 0, shape=(4, 2), grid=Uniform().grid(500), method=method, z=z)
    few = samplers.trajectory(m, z, Uniform(-9.0, 9.0).grid(19), 0, method=method)
    assert next(few).z.dtype == torch.bfloat16


# -- the table, the noise, the grid of one's own ----------------------------------------------------------------------


def test_the_table_says_what_the_samplers_do():
    assert set(METHODS) <= set(samplers.SAMPLERS)
    m, z = datasets.three_gaussians(), torch.randn(6, 2)
    for name, sampler in samplers.SAMPLERS.items():
        assert sampler.name == name
        for steps in (1, 2, 9):
            calls = []

            def counting(z, lam, y=None, calls=calls):
                calls.append(1)
                return m(z, lam, y)

            ends = [
                [*samplers.trajectory(counting, z, sampler.grid(steps), 0, method=name, generator=g)][-1].z
                for g in (Generator().manual_seed(0), Generator().manual_seed(1))
            ]
            assert len(calls) == 2 * sampler.evaluations(steps)
            assert torch.equal(*ends) is (not sampler.stochastic or steps == 1)


def test_a_new_sampler_is_one_entry(monkeypatch):
    def leap(denoiser, z, grid, y=None, *, noise=None, generator=None):
        pred = denoiser(z, grid[0], y)
        yield samplers.State(0, grid[0], z, pred)
        yield samplers.State(1, grid[0], pred.x, pred)

    monkeypatch.setitem(samplers.SAMPLERS, "leap", samplers.Sampler("leap", leap, 1, lambda t: 1))
    x = samplers.sample(datasets.three_gaussians(), 1, shape=(3, 2), method="leap", steps=2)
    torch.testing.assert_close(x, datasets.three_gaussians().means[[1, 1, 1]], rtol=0, atol=0.05)
    with pytest.raises(ValueError, match="'leap'"):
        samplers.sample(datasets.three_gaussians(), shape=(3, 2), method="hop")


@pytest.mark.parametrize("method", METHODS)
def test_noise_can_be_handed_in(method):
    """A source that gives each sample its own noise: what a sample becomes does not depend on its batch."""
    m = datasets.three_gaussians(dtype=F64)
    grid = Cosine().grid(9, dtype=F64)
    draws = torch.randn(9, 6, 2, generator=Generator().manual_seed(4), dtype=F64)  # (step, sample, d)

    def sample(rows: slice) -> Tensor:
        asked: list[int] = []

        def noise(like: Tensor, step: int) -> Tensor:
            asked.append(step)
            return draws[step, rows].to(like)

        x = samplers.sample(
            m, torch.arange(6)[rows] % 3, shape=draws[0, rows].shape, grid=grid, method=method, noise=noise
        )
        assert asked == (list(range(9)) if samplers.SAMPLERS[method].stochastic else [0])
        return x

    everyone = sample(slice(None))
    assert torch.equal(everyone[2:5], sample(slice(2, 5)))
    # The same numbers from a generator give the same samples.
    replay = iter(draws)
    assert torch.equal(
        everyone,
        samplers.sample(
            m,
            torch.arange(6) % 3,
            shape=(6, 2),
            grid=grid,
            method=method,
            z=next(replay),
            noise=lambda like, step: next(replay),
        ),
    )


def test_noise_that_does_not_fit_is_refused():
    m = datasets.three_gaussians()
    arguments = {"shape": (4, 2), "grid": Cosine().grid(5)}
    for bad in (torch.zeros(4), torch.zeros(4, 3), 0.0, None):
        with pytest.raises(ValueError, match=r"^noise: got .+, takes "):
            samplers.sample(m, 0, noise=lambda like, step, bad=bad: bad, **arguments)
    with pytest.raises(ValueError, match=r"^noise: got .+, takes "):
        samplers.sample(m, 0, noise=torch.zeros(4, 2), **arguments)
    for method in METHODS:
        with pytest.raises(ValueError, match=r"^noise: got .+, takes one of the two"):
            samplers.sample(
                m, 0, noise=lambda like, step: like, generator=Generator(), method=method, **arguments
            )


CALLS = {
    "ancestral": samplers.ancestral,
    "ddim": samplers.ddim,
    "heun": samplers.heun,
    "dpm++2m": samplers.dpmpp_2m,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_arguments_are_checked_at_the_call(call):
    """Not at the first iteration: nobody iterates here."""
    m, z, grid = datasets.three_gaussians(), torch.randn(4, 2), Cosine().grid(5)
    with pytest.raises(ValueError, match=r"^grid: "):
        call(m, z, grid.flip(0), 0)
    with pytest.raises(ValueError, match=r"^z: "):
        call(m, z * math.nan, grid, 0)
    with pytest.raises(ValueError, match=r"^y: "):
        call(m, z, grid, torch.zeros(3, dtype=torch.int64))
    if call is samplers.ancestral:
        with pytest.raises(ValueError, match=r"^v: got 7"):
            call(m, z, grid, 0, v=7)
    for method in METHODS:
        with pytest.raises(ValueError, match=r"^v: got 7"):
            samplers.trajectory(m, z, grid, 0, method=method, v=7)


@pytest.mark.parametrize("method", METHODS)
def test_without_a_grid_a_good_one_is_chosen(method):
    m = datasets.three_gaussians()
    x = samplers.sample(m, 0, shape=(5, 2), method=method, steps=12, generator=Generator().manual_seed(0))
    own = samplers.SAMPLERS[method].grid(12)
    assert own.shape == (12,)
    again = samplers.sample(m, 0, shape=(5, 2), method=method, grid=own, generator=Generator().manual_seed(0))
    assert torch.equal(x, again)
    seen: list[float] = []

    def watched(z, lam, y=None):
        seen.append(float(lam))
        return m(z, lam, y)

    watched.schedule = Cosine(-6.0, 5.0)  # as image models have one
    z = torch.randn(5, 2, dtype=F64)
    assert samplers.sample(watched, 0, shape=(5, 2), method=method, steps=7, z=z).dtype == F64
    assert (min(seen), max(seen)) == (-6.0, 5.0)
    assert samplers.sample(m, 0, shape=(5, 2), method=method).shape == (5, 2)
    with pytest.raises(ValueError, match=r"^steps: got 7 beside a grid, takes "):
        samplers.sample(m, 0, shape=(5, 2), method=method, grid=own, steps=7)
    with pytest.raises(ValueError, match=r"^steps: got 0, takes "):
        samplers.sample(m, 0, shape=(5, 2), method=method, steps=0)


@functools.cache
def gallery_flows(w: float) -> list[tuple]:
    """Three guided mixtures: a function from a grid and a method to 60 samples, and where the flow leads them."""
    found = []
    for m in (datasets.three_gaussians(dtype=F64), datasets.ring(dtype=F64), datasets.overlapping(F64)):
        z = torch.randn(60, 2, generator=Generator().manual_seed(0), dtype=F64)
        run = functools.partial(
            samplers.sample,
            guidance.classifier_free(m, w=w),
            torch.arange(60) % m.num_classes,
            shape=z.shape,
            z=z,
        )
        found.append((run, run(grid=RectifiedFlow().grid(300, dtype=F64), method="heun")))
    return found


@pytest.mark.parametrize("method", DETERMINISTIC)
@pytest.mark.parametrize("w", [0.0, 2.0])
def test_the_chosen_grid_is_a_good_one(method, w):
    """Over three mixtures at 20 levels: on the whole closer to the flow than the other schedules' grids."""
    errors: dict[str, float] = {}
    grids = {
        "own": samplers.SAMPLERS[method].grid(20, dtype=F64),
        "uniform": Uniform(-10.0, 12.0).grid(20, dtype=F64),
        "cosine": Cosine(-10.0, 12.0).grid(20, dtype=F64),
        "wide": Uniform().grid(20, dtype=F64),
        "beta": LinearBeta().grid(20, dtype=F64),
    }
    for run, truth in gallery_flows(w):
        spread = truth.std(0).norm().item()
        for name, grid in grids.items():
            error = (run(grid=grid, method=method) - truth).norm(dim=1).mean().item() / spread
            errors[name] = errors.get(name, 0.0) + error
    assert errors["own"] < 1.1 * min(errors.values()), errors
    assert errors["own"] < 0.4 * errors["wide"], errors


# -- the pair of Gaussians on which guidance is solved in closed form ------------------------------------------------

GAMMAS = [1.0, 2.0, 3.0, 5.0]


def ode_variance(gamma: float) -> float:
    return 2.0 ** (1 - gamma)


def sde_variance(gamma: float) -> float:
    return (2 - 2.0 ** (2 - 2 * gamma)) / (2 * gamma - 1)


@pytest.mark.parametrize("method", DETERMINISTIC)
def test_guided_ode_variance(method):
    """The flow is linear here, so one trajectory from z = 1 carries the whole law: one for each weight."""
    pair = datasets.gaussian_pair(1.0, 2.0, dtype=F64)
    guided = guidance.classifier_free(pair, w=torch.tensor(GAMMAS, dtype=F64) - 1)
    grid = Uniform(-20.0, 20.0).grid(1500, dtype=F64)
    z = torch.ones(len(GAMMAS), 1, dtype=F64)
    ends = samplers.sample(guided, 0, shape=z.shape, grid=grid, method=method, z=z)
    for gamma, end in zip(GAMMAS, ends[:, 0].tolist(), strict=True):
        assert end**2 == pytest.approx(ode_variance(gamma), rel=0.06 if method == "ddim" else 2e-3), gamma
        if method == "ddim":
            want = ddim_variance(grid, gains(grid, 1.0, 2.0, gamma))
            assert end**2 == pytest.approx(want, rel=1e-9), gamma


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
    guided = guidance.classifier_free(exact_pair, w=gamma - 1)
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
