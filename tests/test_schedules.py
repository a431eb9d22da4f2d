"""Every schedule: its density against quadrature and histograms, its inverse, its grid, its sources' own formulas."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Generator

from cfgtoy import schedules
from cfgtoy.schedules import Cosine, LinearBeta, LogitNormal, LogNormal, RectifiedFlow, Shifted, Uniform

ALL = {
    "uniform": Uniform(),
    "uniform narrow": Uniform(-3, 7.5),
    "cosine": Cosine(),
    "cosine narrow": Cosine(-4.0, 9.0),
    "cosine wide": Cosine(-40.0, 40.0),
    "linear beta": LinearBeta(),
    "linear beta cut": LinearBeta(lo=-6.0, hi=9.0),
    "constant beta": LinearBeta(beta_min=8.0, beta_max=8.0),
    "lognormal": LogNormal(),
    "lognormal narrow": LogNormal(-0.4, 1.0, -5.0, 6.0),
    "rectified flow": RectifiedFlow(),
    "rectified flow cut": RectifiedFlow(-7.0, 9.0),
    "rectified flow one-sided": RectifiedFlow(3.0, 12.0),
    "logit-normal": LogitNormal(),
    "logit-normal cut": LogitNormal(0.5, 0.8, -6.0, 8.0),
    "shifted": Shifted(Cosine(), -1.3),
    "shifted for 256": Shifted.for_resolution(LogNormal(), 256),
}


@pytest.fixture(params=ALL, ids=lambda name: name.replace(" ", "-"))
def schedule(request) -> schedules.Schedule:
    return ALL[request.param]


def test_density_integrates_to_one(schedule):
    def density(lam: float) -> float:
        return schedule.log_density(torch.tensor(lam, dtype=torch.float64)).exp().item()

    points = np.linspace(schedule.lo, schedule.hi, 24)
    total = sum(integrate.quad(density, a, b, epsabs=1e-12)[0] for a, b in itertools.pairwise(points))
    assert total == pytest.approx(1, abs=1e-9)


def test_density_is_minus_the_slope_of_u(schedule):
    # u(λ) = P(Λ > λ): its derivative by autograd knows nothing of the density's formula.
    lam = torch.linspace(schedule.lo, schedule.hi, 203, dtype=torch.float64)[1:-1].requires_grad_()
    (slope,) = torch.autograd.grad(schedule._u(lam).sum(), lam)
    torch.testing.assert_close(schedule.log_density(lam.detach()).exp(), -slope, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize(
    "how", [{}, {"stratified": True}, {"antithetic": True}], ids=["plain", "strata", "anti"]
)
def test_samples_match_the_density(schedule, how):
    n = 20_000
    draws = schedule.sample(n, Generator().manual_seed(3), dtype=torch.float64, **how).numpy()
    grid = np.linspace(schedule.lo, schedule.hi, 40_001)
    density = schedule.log_density(torch.from_numpy(grid)).exp().numpy()
    cdf = integrate.cumulative_simpson(density, x=grid, initial=0)
    distance, _ = stats.kstest(draws, lambda lam: np.interp(lam, grid, cdf))
    # Kolmogorov's bound at significance 1e-4; strata do far better, half as many independent draws a little worse.
    assert distance < (2.3 / math.sqrt(n / 2) if not how.get("stratified") else 1.5 / n)


def test_stratified_draws_fall_one_in_each_slice(schedule):
    n = 64
    u = schedule.u(schedule.sample(n, Generator().manual_seed(0), stratified=True, dtype=torch.float64))
    u = u.sort().values
    assert bool((((u * n) >= torch.arange(n) - 1e-4) & ((u * n) <= torch.arange(n) + 1 + 1e-4)).all())


def test_stratified_draws_know_nothing_of_their_place():
    """In an ordered batch, class and noise level would otherwise become one variable."""
    n, draws = 32, 400
    generator = Generator().manual_seed(0)
    u = torch.stack(
        [Uniform(0.0, 1.0).sample(n, generator, stratified=True, dtype=torch.float64) for _ in range(draws)]
    )
    # The mean over draws at each place: half, to five standard errors of a uniform number.
    assert (u.mean(0) - 0.5).abs().max() < 5 / math.sqrt(12 * draws)
    place = torch.arange(n, dtype=torch.float64)
    correlation = torch.corrcoef(torch.stack([place.expand(draws, n).flatten(), u.flatten()]))[0, 1]
    assert correlation.abs() < 5 / math.sqrt(n * draws)


def test_antithetic_halves_mirror_each_other(schedule):
    for n in (10, 11):
        u = schedule.u(schedule.sample(n, Generator().manual_seed(0), antithetic=True, dtype=torch.float64))
        half = (n + 1) // 2
        torch.testing.assert_close(u[half:], 1 - u[: n - half], rtol=0, atol=1e-7)


def test_round_trip_from_u(schedule):
    u = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(schedule.u(schedule.logsnr(u)), u, rtol=0, atol=1e-9)


def test_round_trip_from_lambda(schedule):
    lam = torch.linspace(schedule.lo, schedule.hi, 501, dtype=torch.float64)
    u = schedule.u(lam)
    # λ comes back as exactly as a u near one can hold it: an error of machine epsilon in u is eps/density in λ.
    slack = 1e-9 + 1e-15 / schedule.log_density(lam).exp().clamp(min=1e-300)
    assert bool(((schedule.logsnr(u) - lam).abs() <= slack).all())


def test_ends_and_direction(schedule):
    lam = schedule.logsnr(torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64))
    assert lam[0].item() == pytest.approx(schedule.hi, abs=1e-9)
    assert lam[-1].item() == pytest.approx(schedule.lo, abs=1e-9)
    assert bool((lam.diff() < 0).all())


@pytest.mark.parametrize("steps", [1, 2, 3, 128, 1024])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grid_rises_from_end_to_end(schedule, steps, dtype):
    grid = schedule.grid(steps, dtype=dtype)
    assert grid.shape == (steps,)
    assert grid.dtype == dtype
    assert bool((grid.diff() > 0).all())
    assert grid[0] == torch.tensor(schedule.lo, dtype=torch.float64).to(dtype)
    if steps > 1:
        assert grid[-1] == torch.tensor(schedule.hi, dtype=torch.float64).to(dtype)
    if steps > 2:  # evenly spaced in u
        torch.testing.assert_close(
            schedule.u(grid.double())[1:-1],
            torch.linspace(1, 0, steps, dtype=torch.float64)[1:-1],
            rtol=0,
            atol=1e-6 if dtype == torch.float32 else 1e-9,
        )


def test_density_holds_at_the_ends_in_the_callers_dtype(schedule):
    # Rounding an end to float32 may step outside [lo, hi]; that is no reason to call it impossible.
    for dtype in (torch.float32, torch.float64):
        ends = schedule.grid(2, dtype=dtype)
        assert bool(schedule.log_density(ends).isfinite().all())
    outside = torch.tensor([schedule.lo - 0.01, schedule.hi + 0.01], dtype=torch.float64)
    assert schedule.log_density(outside).tolist() == [-math.inf, -math.inf]


def test_float32_matches_float64(schedule):
    u = torch.linspace(0.02, 0.98, 97)
    torch.testing.assert_close(schedule.logsnr(u).double(), schedule.logsnr(u.double()), rtol=1e-6, atol=1e-6)
    lam = torch.linspace(schedule.lo + 0.1, schedule.hi - 0.1, 97)
    single, double = schedule.log_density(lam).double(), schedule.log_density(lam.double())
    torch.testing.assert_close(single, double, rtol=1e-6, atol=1e-6)


def test_float32_out_to_forty():
    wide = Cosine(-40.0, 40.0)
    ends = torch.tensor([-40.0, 40.0])
    assert wide.log_density(ends).tolist() == pytest.approx(
        [math.log(1 / (4 * wide.a * math.cosh(20)))] * 2, rel=1e-6
    )
    assert wide.logsnr(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([40.0, -40.0], rel=1e-6)


# -- each against its own source -----------------------------------------------------------------------------------


@given(lo=st.floats(-30, -0.5), hi=st.floats(0.5, 30), u=st.floats(0.001, 0.999))
def test_cosine_is_the_papers_formula(lo, hi, u):
    b = math.atan(math.exp(-hi / 2))
    a = math.atan(math.exp(-lo / 2)) - b
    got = Cosine(lo, hi).logsnr(torch.tensor(u, dtype=torch.float64)).item()
    assert got == pytest.approx(-2 * math.log(math.tan(a * u + b)), abs=1e-6)


def test_cosine_is_the_cosine_schedule_of_improved_ddpm():
    # With no cut, ᾱ(t) = cos²(πt/2).
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    lam = Cosine(-60.0, 60.0).logsnr(t)
    torch.testing.assert_close(torch.sigmoid(lam), (math.pi / 2 * t).cos() ** 2, rtol=1e-9, atol=0)


def test_cosine_density_is_a_hyperbolic_secant():
    # scipy's hypsecant, π-scaled: sech(λ/2)/(2π), renormalised on the interval.
    schedule = Cosine(-6.0, 8.0)
    lam = np.linspace(-6, 8, 57)
    uncut = stats.hypsecant(scale=2)
    want = uncut.logpdf(lam) - math.log(uncut.cdf(8) - uncut.cdf(-6))
    np.testing.assert_allclose(schedule.log_density(torch.from_numpy(lam)).numpy(), want, rtol=1e-10)


def test_linear_beta_is_ddpms_product_of_alphas():
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = (1 - betas).cumprod(0)
    t = (torch.arange(1000, dtype=torch.float64) + 1) / 1000
    schedule = LinearBeta()
    u = (t - schedule._ends()[0]) / (1 - schedule._ends()[0])
    got = schedule.logsnr(u.clamp(0, 1))
    # Continuous time is the limit of 1000 steps: the two differ by O(β), and the first step the most.
    torch.testing.assert_close(got[20:], torch.logit(alpha_bar)[20:], rtol=0.02, atol=0.06)


def test_lognormal_is_edms_normal_of_log_sigma():
    schedule = LogNormal(-1.2, 1.2, -40.0, 40.0)
    lam = schedule.sample(40_000, Generator().manual_seed(0), dtype=torch.float64)
    log_sigma = -lam / 2  # of σ/α, EDM's σ
    assert stats.kstest(log_sigma.numpy(), stats.norm(-1.2, 1.2).cdf).pvalue > 1e-3
    cut = LogNormal(-1.2, 1.2, -3.0, 5.0)
    x = np.linspace(-3, 5, 41)
    law = stats.truncnorm((-3 - 2.4) / 2.4, (5 - 2.4) / 2.4, loc=2.4, scale=2.4)
    np.testing.assert_allclose(cut.log_density(torch.from_numpy(x)).numpy(), law.logpdf(x), rtol=1e-9)


def test_rectified_flow_is_the_straight_path():
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    schedule = RectifiedFlow(-60.0, 60.0)  # all of (0, 1) but 2e-13
    torch.testing.assert_close(schedule.logsnr(t), 2 * ((1 - t) / t).log(), rtol=0, atol=1e-9)
    # α : σ = 1−t : t, so log(σ²/α²) is logistic of scale 2: scipy's, renormalised on the interval.
    cut = RectifiedFlow(-6.0, 8.0)
    lam = np.linspace(-6, 8, 57)
    law = stats.logistic(scale=2)
    want = law.logpdf(lam) - math.log(law.cdf(8) - law.cdf(-6))
    np.testing.assert_allclose(cut.log_density(torch.from_numpy(lam)).numpy(), want, rtol=1e-10)


def test_logit_normal_is_sd3s_density_of_t():
    """Esser et al. 2024, eq. 19: π(t) = exp(−(logit t − m)²/(2 s²)) / (s √(2π) t (1−t)), and dλ = −2 dt / (t(1−t))."""
    mean, std = 0.3, 1.2
    t = np.linspace(0.02, 0.98, 49)
    logit = np.log(t / (1 - t))
    density_of_t = np.exp(-((logit - mean) ** 2) / (2 * std**2)) / (
        std * math.sqrt(2 * math.pi) * t * (1 - t)
    )
    lam = torch.from_numpy(2 * np.log((1 - t) / t))
    got = LogitNormal(mean, std, -60.0, 60.0).log_density(lam).exp().numpy()
    np.testing.assert_allclose(got, density_of_t * t * (1 - t) / 2, rtol=1e-9)
    assert (LogitNormal().mean, LogitNormal().std) == (0.0, 1.0)


@pytest.mark.parametrize("s", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("base", [RectifiedFlow(), LogitNormal(-0.2, 0.9), RectifiedFlow(-9.0, 12.0)])
def test_a_flows_shift_of_time_is_the_shift_of_lambda(base, s):
    """Esser et al. 2024, eq. 23: t' = s t / (1 + (s−1) t)."""
    u = torch.linspace(0, 1, 101, dtype=torch.float64)
    t = torch.sigmoid(-base.logsnr(u) / 2)
    moved = s * t / (1 + (s - 1) * t)
    want = 2 * ((1 - moved) / moved).log()
    torch.testing.assert_close(Shifted(base, -2 * math.log(s)).logsnr(u), want, rtol=0, atol=1e-9)


def test_a_schedule_survives_json(schedule):
    text = json.dumps(schedule.to_json(), allow_nan=False)
    again = schedules.from_json(json.loads(text))
    assert again == schedule
    assert type(again) is type(schedule)


@pytest.mark.parametrize(
    "meta",
    [
        None,
        "Cosine",
        {},
        {"class": "Schedule"},
        {"class": "cosin"},
        {"class": "from_json"},
        {"class": "Cosine", "args": [1, 2]},
        {"class": "Cosine", "args": {"low": 1}},
        {"class": "Shifted", "args": {"base": {"class": "Cosine"}}},
    ],
)
def test_json_that_is_no_schedule_is_refused(meta):
    with pytest.raises(ValueError, match=r"^schedule: got .+, takes "):
        schedules.from_json(meta)
    with pytest.raises(ValueError, match="lo: got 5"):
        schedules.from_json({"class": "Cosine", "args": {"lo": 5, "hi": 1}})


def test_shift_moves_everything_by_a_constant():
    base = Cosine()
    shifted = Shifted.for_resolution(base, 128)
    assert shifted.shift == pytest.approx(-2 * math.log(2))
    assert (shifted.lo, shifted.hi) == (base.lo + shifted.shift, base.hi + shifted.shift)
    u = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(shifted.logsnr(u), base.logsnr(u) + shifted.shift)
    assert Shifted.for_resolution(base, 64).shift == 0


def test_the_same_seed_draws_the_same(schedule):
    first = schedule.sample(7, Generator().manual_seed(5))
    assert torch.equal(first, schedule.sample(7, Generator().manual_seed(5)))
    assert not torch.equal(first, schedule.sample(7, Generator().manual_seed(6)))
