"""The samplers that aim at the tilted density: particles with weights, and Langevin corrections."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

from cfgtoy import NULL, NetDenoiser, Prediction, datasets, guidance, metrics, nets, samplers
from cfgtoy.samplers.moves import moves
from cfgtoy.schedules import RectifiedFlow, Uniform
from tests.pair import exact_pair

F64 = torch.float64


# -- the Gaussian pair, where all is known --------------------------------------------------------------------------


def tilted_variance(gamma: float) -> float:
    """Of N(0, 1)^γ N(0, 2)^{1−γ}."""
    return 2 / (gamma + 1)


def score_slopes(lam: float) -> tuple[float, float]:
    """−s_p/z and −s_q/z at λ."""
    alpha2, sigma2 = 1 / (1 + math.exp(-lam)), 1 / (1 + math.exp(lam))
    return 1 / (alpha2 + sigma2), 1 / (2 * alpha2 + sigma2)


def gain(lam: float, gamma: float) -> float:
    """x̂/z of the guided estimate, (z + σ² s̃)/α."""
    own, all_ = score_slopes(lam)
    return (1 - (gamma * own - (gamma - 1) * all_) / (1 + math.exp(lam))) * math.sqrt(1 + math.exp(-lam))


def growth(lam: float, gamma: float) -> float:
    """d log W/dλ over z²: ½ γ(γ−1) σ² (s_p − s_q)²."""
    own, all_ = score_slopes(lam)
    return 0.5 * gamma * (gamma - 1) * (own - all_) ** 2 / (1 + math.exp(lam))


def replaced(lam: float, step: float) -> float:
    """τ, as the docstring has it."""
    return step + min(16 * step, 1) / (1 + math.exp(lam))


def coefficients(lam: float, ahead: float, tau: float) -> tuple[float, float, float]:
    """keep, fill and spread in scalars, from z' = α' x̂ + σ' (e^{−τ/2} ε̂ + √(1 − e^{−τ}) ξ)."""
    alpha, sigma = 1 / math.sqrt(1 + math.exp(-lam)), 1 / math.sqrt(1 + math.exp(lam))
    alpha1, sigma1 = 1 / math.sqrt(1 + math.exp(-ahead)), 1 / math.sqrt(1 + math.exp(ahead))
    rest = math.exp(-tau / 2)
    return (
        sigma1 * rest / sigma,
        alpha1 - sigma1 * rest * alpha / sigma,
        sigma1 * math.sqrt(1 - math.exp(-tau)),
    )


def weighted_variance(x: Tensor, log_weights: Tensor) -> float:
    share, x = log_weights.double().softmax(0), x[:, 0].double()
    return (share * (x - (share * x).sum()) ** 2).sum().item()


def recursion(grid: Tensor, gamma: float) -> float:
    """Variance that endlessly many particles would have: the steps are linear and the weights Gaussian."""
    levels, var = grid.tolist(), 1.0
    for lam, ahead in itertools.pairwise(levels):
        step = ahead - lam
        keep, fill, spread = coefficients(lam, ahead, replaced(lam, step))
        var = 1 / (1 / var - step * growth(lam, gamma))
        first = keep + fill * gain(lam, gamma)
        slope = keep + fill / 2 * (gain(lam, gamma) + gain(ahead, gamma) * first)
        var = slope**2 * var + spread**2 * (1 + fill / 2 * gain(ahead, gamma)) ** 2
        var = 1 / (1 / var - step * growth(ahead, gamma))
    return gain(levels[-1], gamma) ** 2 * var


@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.0, 5.0])
def test_step_and_weights_are_of_second_order(gamma):
    errors = []
    for steps in (401, 801, 1601, 3201):
        got = recursion(Uniform(-12.0, 12.0).grid(steps, dtype=F64), gamma)
        errors.append(abs(got / tilted_variance(gamma) - 1))
    assert errors[0] < 0.007
    # The ends of the range leave 1e-5, so the order is measured where the error is well above.
    slope = -np.polyfit(np.log(2.0) * np.arange(3), np.log(errors[:3]), 1)[0]
    assert slope == pytest.approx(2.0, abs=0.25)


@pytest.mark.parametrize("gamma", [2.0, 5.0])
def test_the_particles_follow_that_recursion(gamma):
    """Noise replayed from the same seed: paths and weights, step by step, from the formulas alone."""
    grid = Uniform(-9.0, 8.0).grid(60, dtype=F64)
    replay = Generator().manual_seed(3)
    x, log_weights = samplers.feynman_kac(
        datasets.gaussian_pair(dtype=F64),
        0,
        w=gamma - 1,
        shape=(500, 1),
        grid=grid,
        generator=replay.clone_state(),
        resample=0.0,
    )
    z = torch.randn(500, 1, generator=replay, dtype=F64)
    total = torch.zeros(500, dtype=F64)
    levels = grid.tolist()
    for lam, ahead in itertools.pairwise(levels):
        step = ahead - lam
        keep, fill, spread = coefficients(lam, ahead, replaced(lam, step))
        total += step / 2 * growth(lam, gamma) * z[:, 0] ** 2
        noise = spread * torch.randn(500, 1, generator=replay, dtype=F64)
        there = keep * z + fill * gain(lam, gamma) * z + noise
        z = keep * z + fill * (gain(lam, gamma) * z + gain(ahead, gamma) * there) / 2 + noise
        total += step / 2 * growth(ahead, gamma) * z[:, 0] ** 2
    torch.testing.assert_close(x, gain(levels[-1], gamma) * z, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_weights, total - total.logsumexp(0) + math.log(500), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("y", [NULL, 0])
def test_the_exact_pair_is_the_packages(y):
    z, y = torch.linspace(-3, 3, 9, dtype=F64)[:, None], torch.full((9,), y)
    for lam in torch.linspace(-14, 14, 29, dtype=F64):
        want = datasets.gaussian_pair(dtype=F64)(z, lam, y).v
        torch.testing.assert_close(exact_pair(z, lam, y).v, want, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("gamma", [2.0, 3.0, 5.0])
def test_the_variance_is_the_tilted_one(gamma):
    """100,000 particles on 400 levels, within 3 %; the guided ODE has 2^{1−γ}, the SDE (2 − 2^{2−2γ})/(2γ−1)."""
    x, log_weights = samplers.feynman_kac(
        exact_pair,
        0,
        w=gamma - 1,
        shape=(100_000, 1),
        grid=Uniform(-12.0, 12.0).grid(400),
        generator=Generator().manual_seed(0),
    )
    assert weighted_variance(x, log_weights) == pytest.approx(tilted_variance(gamma), rel=0.03)
    assert (x[:, 0] * log_weights.softmax(0)).sum().item() == pytest.approx(0, abs=0.02)


# -- whole distributions ---------------------------------------------------------------------------------------------


def divergence(x: Tensor, log_weights: Tensor, log_density, cells: int = 30, reach: float = 3.0) -> float:
    """KL from weighted points to a density in nats, over square cells; the density is integrated in each of them."""
    grid = metrics.grid_2d(-reach, reach, 8 * cells, F64)

    def cell(points: Tensor) -> Tensor:
        at = ((points.double() + reach) / (2 * reach) * cells).floor().clamp(0, cells - 1).long()
        return at[:, 1] * cells + at[:, 0]

    def mass(at: Tensor, share: Tensor) -> Tensor:
        return torch.zeros(cells**2, dtype=F64).index_add(0, at, share)

    want = mass(cell(grid.points), log_density(grid.points).softmax(0))
    got = mass(cell(x), log_weights.double().softmax(0))
    held = got > 0
    return (got[held] * (got[held] / want[held]).log()).sum().item()


def test_three_gaussians_are_tilted():
    m, w, n = datasets.three_gaussians(), 3.0, 15_000  # fewer particles only add to the divergence

    def target(z: Tensor) -> Tensor:
        return m.to(dtype=F64).tilted_log_prob(z, 30.0, 0, w)

    grid = Uniform(-12.0, 12.0).grid(250)
    x, log_weights = samplers.feynman_kac(
        m, 0, w=w, shape=(n, 2), grid=grid, generator=Generator().manual_seed(0)
    )
    assert divergence(x, log_weights, target) < 0.02
    plain = samplers.sample(
        guidance.classifier_free(m, w=w),
        0,
        shape=(n, 2),
        grid=samplers.SAMPLERS["heun"].grid(40),
        method="heun",
        generator=Generator().manual_seed(0),
    )
    assert divergence(plain, torch.zeros(n), target) > 0.5


def test_each_class_is_a_population_of_its_own():
    m = datasets.overlapping()
    n = 9_000
    y = torch.arange(n) % 3 - 1  # none, 0 and 1, one after another
    x, log_weights = samplers.feynman_kac(
        m, y, w=1.5, shape=(n, 2), grid=Uniform(-10.0, 12.0).grid(120), generator=Generator().manual_seed(0)
    )
    square = metrics.grid_2d(-4.0, 4.0, 300, F64)
    double = m.to(dtype=F64)
    for c in (NULL, 0, 1):
        rows = y == c
        assert log_weights[rows].exp().mean().item() == pytest.approx(1, rel=1e-4)
        share = log_weights[rows].double().softmax(0)[:, None]
        points = square.points
        log_target = (
            double.log_prob(points, 30.0) if c == NULL else double.tilted_log_prob(points, 30.0, c, 1.5)
        )
        mass = log_target.softmax(0)[:, None]
        mean = (mass * points).sum(0)
        spread = (mass * (points - mean) ** 2).sum(0).sqrt()
        got = (share * x[rows].double()).sum(0)
        got_spread = (share * (x[rows].double() - got) ** 2).sum(0).sqrt()
        torch.testing.assert_close(got, mean, rtol=0, atol=0.12)
        torch.testing.assert_close(got_spread, spread, rtol=0.1, atol=0)
    assert log_weights[y == NULL].abs().max() < 1e-6


def test_without_guidance_particles_are_samples():
    m = datasets.three_gaussians(dtype=F64)
    x, log_weights = samplers.feynman_kac(
        m,
        1,
        w=0.0,
        shape=(3000, 2),
        grid=Uniform(-12.0, 12.0).grid(150, dtype=F64),
        generator=Generator().manual_seed(0),
    )
    assert log_weights.abs().max() == 0
    reference = m.sample(3000, 1, Generator().manual_seed(1))
    for axis in (0, 1):
        assert stats.ks_2samp(x[:, axis].numpy(), reference[:, axis].numpy()).pvalue > 1e-3


@pytest.mark.parametrize("resample", [0.0, 0.5, 1.0])
def test_a_fixed_generator_repeats_the_particles(resample):
    m = datasets.three_gaussians()
    arguments = {
        "w": 4.0, "shape": (90, 2), "grid": Uniform(-9.0, 9.0).grid(40), "resample": resample
    }  # fmt: skip
    y = torch.arange(90) % 3
    first = samplers.feynman_kac(m, y, generator=Generator().manual_seed(1), **arguments)
    again = samplers.feynman_kac(m, y, generator=Generator().manual_seed(1), **arguments)
    other = samplers.feynman_kac(m, y, generator=Generator().manual_seed(2), **arguments)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    if resample == 1.0:  # drawn anew at the last level too
        assert first[1].abs().max() == 0


def test_resampling_keeps_as_many_as_the_weights_say():
    """One level out of noise whose weights are set by hand: systematic draws are off by less than one each."""
    n = 1000

    def model(z: Tensor, lam: Tensor, y: Tensor | None = None) -> Prediction:
        x = torch.where((y == NULL)[:, None], 0.0, 0.3 * z)
        return Prediction.from_x(z, lam, x)

    grid = torch.tensor([-2.0, 0.0], dtype=F64)

    def run(resample: float) -> tuple[Tensor, Tensor]:
        return samplers.feynman_kac(
            model, 0, w=2.0, shape=(n, 1), grid=grid, generator=Generator().manual_seed(0), resample=resample
        )

    before, log_weights = run(0.0)
    drawn, flat = run(1.0)
    assert flat.abs().max() == 0
    expected = log_weights.exp()  # copies of each, on average: weights have mean one
    copies = (drawn == before.T).sum(0).double()
    assert copies.sum() == n
    assert (copies - expected).abs().max() < 1


def test_networks_pictures_and_pure_noise():
    net = NetDenoiser(nets.MLP(2, 3, width=8, depth=1).eval())
    x, log_weights = samplers.feynman_kac(net, 1, w=1.0, shape=(6, 2), grid=Uniform(-6.0, 6.0).grid(5))
    assert x.shape == (6, 2)
    assert log_weights.shape == (6,)
    assert not x.requires_grad

    def pictures(z: Tensor, lam: Tensor, y: Tensor | None = None) -> Prediction:
        own = (y + 1).reshape(-1, 1, 1, 1) / 4
        return Prediction.from_flow(z, lam, z - own.to(z))  # as at λ = −∞, where z is ε

    grid = torch.tensor([-math.inf, -3.0, 0.0, 4.0])
    for given in (grid, grid[:1], grid[1:]):
        x, log_weights = samplers.feynman_kac(pictures, 2, w=2.0, shape=(5, 1, 4, 4), grid=given)
        assert x.shape == (5, 1, 4, 4)
        assert bool(x.isfinite().all())
        assert bool(log_weights.isfinite().all())


def test_out_of_pure_noise_weights_start_as_from_a_very_noisy_level():
    def model(z: Tensor, lam: Tensor, y: Tensor | None = None) -> Prediction:
        return Prediction.from_x(z, lam, 0.5 - 0.7 * (y == NULL).to(z)[:, None].expand_as(z))

    weights = []
    for first in (torch.tensor([-math.inf], dtype=F64), Uniform(-30.0, -3.01).grid(4000, dtype=F64)):
        grid = torch.cat([first, torch.tensor([-3.0], dtype=F64)])
        crowd = samplers.particles._Crowd(torch.tensor([0, 0]), 1.0)
        grown: list[float] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                type(crowd), "weigh", lambda self, growth, grown=grown: grown.append(growth[0].item())
            )
            samplers.feynman_kac(model, 0, w=1.0, shape=(2, 1), grid=grid)
        weights.append(sum(grown))
    # ∫ ½γ(γ−1) e^λ ‖x̂_p − x̂_q‖² dλ in closed form.
    assert weights[0] == pytest.approx(0.7**2 * math.exp(-3.0), rel=1e-12)
    assert weights[1] == pytest.approx(weights[0], rel=1e-3)


def test_a_dead_population_says_so():
    m = datasets.three_gaussians()
    arguments = {"shape": (20, 2), "grid": Uniform(-9.0, 9.0).grid(12)}
    with pytest.raises(ValueError, match=r"^w: got 1e\+30, with which all particles of class 2 .+, takes "):
        samplers.feynman_kac(m, 2, w=1e30, **arguments)

    def broken(z: Tensor, lam: Tensor, y: Tensor | None = None) -> Prediction:
        """NaN for class 1 from λ = 0 on."""
        pred = m(z, lam, y)
        lost = (y == 1)[:, None] & (lam > 0)
        return Prediction(z, lam, torch.where(lost, math.nan, pred.estimate), pred.kind)

    with pytest.raises(ValueError, match=r"^w: got 1, with which all particles of class 1 .+, takes "):
        samplers.feynman_kac(broken, torch.arange(20) % 3, w=1.0, **arguments)


def test_a_dead_particle_is_not_drawn_again():
    m = datasets.three_gaussians()

    def fragile(z: Tensor, lam: Tensor, y: Tensor | None = None) -> Prediction:
        """NaN left of the middle, at one level."""
        pred = m(z, lam, y)
        lost = (z[:, :1] < 0) & ((lam - 0.0).abs() < 0.1)
        return Prediction(z, lam, torch.where(lost, math.nan, pred.estimate), pred.kind)

    x, log_weights = samplers.feynman_kac(
        fragile,
        0,
        w=1.0,
        shape=(400, 2),
        grid=Uniform(-8.0, 8.0).grid(33),
        generator=Generator().manual_seed(0),
        resample=0.9,
    )
    assert bool(x.isfinite().all())
    assert bool(log_weights.isfinite().all())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("w", {"w": math.nan}),
        ("w", {"w": None}),
        ("resample", {"resample": 1.5}),
        ("resample", {"resample": math.nan}),
        ("shape", {"shape": (0, 2)}),
        ("shape", {"shape": 3}),
        ("shape", {"shape": (5, 2), "y": torch.zeros(4, dtype=torch.int64)}),
        ("grid", {"grid": torch.tensor([1.0, 0.0])}),
        ("grid", {"grid": None}),
        ("y", {"y": None}),
        ("y", {"y": 0.5}),
        ("y", {"y": torch.tensor([0, 1, 2, 7])}),
        ("y", {"y": -2}),
    ],
)
def test_bad_input(name, wrong):
    arguments = {"y": 0, "w": 1.0, "shape": (4, 2), "grid": Uniform(-9.0, 9.0).grid(5)} | wrong
    with pytest.raises(ValueError, match=rf"^{name}: got .+, takes "):
        samplers.feynman_kac(datasets.three_gaussians(), **arguments)


# -- the steps that both share, and Langevin corrections ---------------------------------------------------------------


def test_moves_span_ddim_the_posterior_and_langevin():
    lam, ahead = torch.tensor([-3.0, 0.5, 6.0], dtype=F64), torch.tensor([-1.0, 0.6, 19.0], dtype=F64)
    alpha, sigma = torch.sigmoid(lam).sqrt(), torch.sigmoid(-lam).sqrt()
    alpha1, sigma1 = torch.sigmoid(ahead).sqrt(), torch.sigmoid(-ahead).sqrt()
    keep, fill, spread = moves(lam, ahead, torch.zeros(3, dtype=F64))
    torch.testing.assert_close(keep, sigma1 / sigma)
    torch.testing.assert_close(fill, alpha1 - alpha * sigma1 / sigma)
    assert spread.abs().max() == 0
    keep, fill, spread = moves(lam, ahead, ahead - lam)
    shrink = (lam - ahead).exp()
    torch.testing.assert_close(keep, shrink * alpha1 / alpha)
    torch.testing.assert_close(fill, (1 - shrink) * alpha1)
    torch.testing.assert_close(spread**2, (1 - shrink) * sigma1**2)
    keep, fill, spread = moves(lam, lam, torch.full((3,), 0.3, dtype=F64))
    torch.testing.assert_close(keep, torch.full_like(lam, math.exp(-0.15)))
    torch.testing.assert_close(fill, alpha * (1 - math.exp(-0.15)))
    torch.testing.assert_close(spread**2, sigma**2 * (1 - math.exp(-0.3)))


def langevin_variance(grid: Tensor, gamma: float, corrections: int) -> float:
    """By the linear recursion, as in :func:`recursion`."""
    levels, var = grid.tolist(), 1.0
    for lam, ahead in itertools.pairwise(levels):
        keep, fill, _ = coefficients(lam, ahead, 0.0)
        var *= (keep + fill * gain(lam, gamma)) ** 2
        keep, fill, spread = coefficients(ahead, ahead, 2 / math.sqrt(1 + math.exp(ahead)))
        g = gain(ahead, gamma)
        for _ in range(corrections):
            slope = keep + fill / 2 * g * (1 + keep + fill * g)
            var = slope**2 * var + spread**2 * (1 + fill / 2 * g) ** 2
    return gain(levels[-1], gamma) ** 2 * var


@pytest.mark.parametrize("gamma", [1.0, 3.0])
@pytest.mark.parametrize("corrections", [0, 1, 3])
def test_langevin_corrections_are_that_recursion(gamma, corrections):
    n, grid = 20_000, RectifiedFlow(-10.0, 12.0).grid(30, dtype=F64)
    guided = guidance.classifier_free(datasets.gaussian_pair(dtype=F64), w=gamma - 1)
    z = torch.randn(n, 1, generator=Generator().manual_seed(1), dtype=F64)
    *_, last = samplers.langevin(
        guided, z, grid, 0, corrections=corrections, generator=Generator().manual_seed(2)
    )
    want = langevin_variance(grid, gamma, corrections)
    assert last.z.var().item() == pytest.approx(want, rel=4.5 * math.sqrt(2 / n))


@pytest.mark.parametrize("gamma", [2.0, 3.0, 5.0])
def test_langevin_corrections_lead_to_the_tilted_density(gamma):
    """The guided ODE's variance is 2^{1−γ}; more corrections and more levels come ever nearer to 2/(γ+1)."""

    def error(steps: int, k: int) -> float:
        grid = RectifiedFlow(-10.0, 12.0).grid(steps, dtype=F64)
        return 1 - langevin_variance(grid, gamma, k) / tilted_variance(gamma)

    assert error(64, 0) == pytest.approx(1 - 2 ** (1 - gamma) / tilted_variance(gamma), abs=0.05)
    assert error(64, 0) > 2 * error(64, 1) > 2.4 * error(64, 2) > 2.4 * error(64, 8) > 0
    errors = [error(steps, 2) for steps in (64, 256, 1024, 4096)]
    order = samplers.SAMPLERS["langevin"].order
    assert -np.polyfit(np.log(4.0) * np.arange(4), np.log(errors), 1)[0] == pytest.approx(order, abs=0.1)


def test_langevin_counts_its_draws():
    m = datasets.three_gaussians()
    asked: list[int] = []

    def noise(like: Tensor, k: int) -> Tensor:
        asked.append(k)
        return torch.zeros_like(like)

    z = torch.randn(4, 2)
    states = list(samplers.langevin(m, z, Uniform(-6.0, 6.0).grid(4), 0, corrections=3, noise=noise))
    assert asked == list(range(1, 10))
    assert [state.step for state in states] == [0, 1, 2, 3, 4]
    plain = list(samplers.langevin(m, z, Uniform(-6.0, 6.0).grid(4), 0, corrections=0))
    for ours, ddim in zip(plain, samplers.ddim(m, z, Uniform(-6.0, 6.0).grid(4), 0), strict=True):
        torch.testing.assert_close(ours.z, ddim.z)
    with pytest.raises(ValueError, match=r"^corrections: got -1, takes "):
        samplers.langevin(m, z, Uniform(-6.0, 6.0).grid(4), 0, corrections=-1)
    x = samplers.sample(
        m, 1, shape=(50, 2), method="langevin", steps=12, generator=Generator().manual_seed(0)
    )
    assert (m.class_log_prob(x, 20.0).argmax(1) == 1).float().mean() > 0.7
