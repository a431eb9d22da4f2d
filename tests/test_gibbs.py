"""The Gibbs-like sampler: closed forms on Gaussians, the Rényi term, what it leaves alone, what it costs."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

from cfgtoy import GaussianMixture, NetDenoiser, Prediction, datasets, guidance, metrics, nets, samplers
from cfgtoy.schedules import RectifiedFlow, Uniform
from tests.pair import exact_pair

F64 = torch.float64


def levels(first: float, steps: int, last: float = 12.0) -> Tensor:
    return Uniform(first, last).grid(steps, dtype=F64)


# -- the Gaussian pair ------------------------------------------------------------------------------------------------


def shrinkage(s: float, gamma: float) -> float:
    """A², by the exact guided ODE from noise s down: d log x/ds = (γ/(1+s) − (γ−1)/(2+s))/2."""
    return (1 + s) ** -gamma * (1 + s / 2) ** (gamma - 1)


def pair_drawn(pair, gammas: list[float], first: float, rounds: int, n: int, seed: int, steps: int) -> Tensor:
    """n samples for each γ, (γ, n): one run, as each sample may have a weight of its own."""
    w = torch.tensor(gammas, dtype=F64).repeat_interleave(n) - 1
    drawn = samplers.gibbs_like(
        guidance.classifier_free(pair, w=w),
        0,
        start=pair,
        shape=(len(w), 1),
        grid=levels(-14.0, 60, 14.0),
        again=levels(first, steps, 14.0),
        rounds=rounds,
        generator=Generator().manual_seed(seed),
    )
    return drawn.reshape(len(gammas), n)


@pytest.mark.parametrize("first", [-3.0, 0.0, 3.0])
def test_a_round_is_that_affine_map(first):
    """The noise replayed, and the ODE solved by hand: the class's own leaves z as it is, the guided one shrinks it."""
    gammas, replay = [0.5, 1.0, 2.0, 5.0], Generator().manual_seed(4)
    s = math.exp(-first)
    shrink = torch.tensor([shrinkage(s, gamma) for gamma in gammas], dtype=F64).sqrt()[:, None]
    want = torch.randn(4, 300, generator=replay, dtype=F64)
    for _ in range(3):
        want = shrink * (want + math.sqrt(s) * torch.randn(4, 300, generator=replay, dtype=F64))
    got = pair_drawn(datasets.gaussian_pair(dtype=F64), gammas, first, 3, 300, 4, steps=200)
    torch.testing.assert_close(got, want, rtol=2e-3, atol=2e-4)


def test_a_coarse_round_is_the_recursion_of_its_steps():
    """DDIM on five levels, in scalars."""
    gamma, first, last = 3.0, levels(-8.0, 6), levels(1.0, 5)
    pair = datasets.gaussian_pair(dtype=F64)

    def slope(grid: list[float], gamma: float) -> float:
        total = 1.0
        for lam, ahead in itertools.pairwise([*grid, None]):
            a2, s2 = 1 / (1 + math.exp(-lam)), 1 / (1 + math.exp(lam))
            pull = gamma - (gamma - 1) / (1 + a2)  # −s̃/z
            x, eps = (1 - s2 * pull) / math.sqrt(a2), math.sqrt(s2) * pull
            if ahead is None:
                return total * x
            total *= x / math.sqrt(1 + math.exp(-ahead)) + eps / math.sqrt(1 + math.exp(ahead))
        raise AssertionError

    replay = Generator().manual_seed(4)
    x = slope(first.tolist(), 1.0) * torch.randn(50, 1, generator=replay, dtype=F64)
    for _ in range(2):
        noise = torch.randn(50, 1, generator=replay, dtype=F64)
        x = slope(last.tolist(), gamma) * (x + noise * math.exp(-0.5)) / math.sqrt(1 + math.exp(-1.0))
    got = samplers.gibbs_like(
        guidance.classifier_free(pair, w=gamma - 1), 0, start=pair, shape=(50, 1), grid=first, again=last,
        method="ddim", generator=Generator().manual_seed(4),
    )  # fmt: skip
    torch.testing.assert_close(got, x)


@pytest.mark.parametrize("gamma", [2.0, 4.0])
def test_the_fixed_point_runs_from_the_odes_variance_to_the_tilted_one(gamma):
    n, ode, tilted, rest = 10_000, 2 ** (1 - gamma), 2 / (gamma + 1), []
    for first, rounds in ((-6.0, 1), (0.0, 6), (3.0, 20)):
        s = math.exp(-first)
        squared = shrinkage(s, gamma)
        rest.append(s / (1 / squared - 1))
        want = rest[-1] + squared**rounds * (1 - rest[-1])
        got = pair_drawn(exact_pair, [gamma], first, rounds, n, 0, steps=40).var().item()
        assert got == pytest.approx(want, rel=4.5 * math.sqrt(2 / n))
        assert want == pytest.approx(rest[-1], rel=0.15)
    assert ode < rest[0] < rest[1] < rest[2] < tilted
    assert rest[0] == pytest.approx(ode, rel=0.02)
    assert rest[2] == pytest.approx(tilted, rel=0.03)


# -- the term that guidance leaves out --------------------------------------------------------------------------------


def test_the_tilted_score_is_the_guided_one_and_a_renyi_term():
    """By quadrature over x, on a mixture of its own in one dimension; the term fades towards the data."""
    own = GaussianMixture(torch.tensor([[-0.8], [0.5]], dtype=F64), torch.tensor([0.3, 0.6], dtype=F64))
    gamma, missing = 2.5, []
    x = torch.linspace(-9, 9, 20_001, dtype=F64)
    log_p, log_q = (own.log_prob(x[:, None], 40.0, y) for y in (0, None))
    for lam in (1.0, 5.0, 8.0):
        alpha, sigma = (math.sqrt(1 / (1 + math.exp(sign * lam))) for sign in (-1, 1))
        z = torch.linspace(-1.5, 1.5, 7, dtype=F64, requires_grad=True)
        log_noise = -0.5 * ((z[:, None] - alpha * x) / sigma) ** 2
        tilted = (gamma * log_p + (1 - gamma) * log_q + log_noise).logsumexp(1)
        (want,) = torch.autograd.grad(tilted.sum(), z, retain_graph=True)
        # log ∫ p(x|z,c)^γ p(x|z)^{1−γ}, which is (γ − 1) R_γ
        given_c, given = ((log + log_noise).log_softmax(1) for log in (log_p, log_q))
        (term,) = torch.autograd.grad((gamma * given_c + (1 - gamma) * given).logsumexp(1).sum(), z)
        at = z.detach()[:, None]
        guided = guidance.classifier_free(own, w=gamma - 1)(at, torch.tensor(lam, dtype=F64), 0).score[:, 0]
        torch.testing.assert_close(guided + term, want, rtol=1e-6, atol=1e-6)
        missing.append(term.abs().max().item())
    assert missing[0] > missing[1] > 10 * missing[2] > 0  # as e^{−λ} in the end


# -- whole distributions ----------------------------------------------------------------------------------------------


def test_without_guidance_the_class_stays_as_it_is():
    m = datasets.ring(dtype=F64)
    x = samplers.gibbs_like(
        guidance.classifier_free(m, w=0.0), 1, start=m, shape=(3000, 2), grid=levels(-12.0, 60),
        again=levels(-1.0, 40), rounds=4, generator=Generator().manual_seed(0),
    )  # fmt: skip
    reference = m.sample(3000, 1, Generator().manual_seed(1))
    for axis in (0, 1):
        assert stats.ks_2samp(x[:, axis].numpy(), reference[:, axis].numpy()).pvalue > 1e-3


def test_three_gaussians_come_near_the_tilted_density():
    m, w, n = datasets.three_gaussians(dtype=F64), 3.0, 10_000
    guided = guidance.classifier_free(m, w=w)
    points = metrics.grid_2d(-4.0, 4.0, 400, F64).points
    mass = m.tilted_log_prob(points, 30.0, 0, w).softmax(0)[:, None]
    mean = (mass * points).sum(0)
    spread = (mass * (points - mean) ** 2).sum()
    x = samplers.gibbs_like(
        guided, 0, start=m, shape=(n, 2), grid=levels(-12.0, 30), again=levels(3.0, 15), rounds=8,
        generator=Generator().manual_seed(0),
    )  # fmt: skip
    plain = samplers.sample(
        guided, 0, shape=(n, 2), grid=levels(-12.0, 60), method="heun", generator=Generator().manual_seed(0)
    )
    assert x.var(0).sum().item() == pytest.approx(spread.item(), rel=0.1)
    assert plain.var(0).sum().item() < 0.7 * spread.item()
    assert (x.mean(0) - mean).norm() < 0.1 < 0.3 < (plain.mean(0) - mean).norm()


# -- how it works -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", list(samplers.SAMPLERS))
def test_evaluations_and_their_order(method):
    m, asked = datasets.three_gaussians(), []

    def noting(name: str, denoiser):
        def denoise(z: Tensor, lam: Tensor, y: Tensor | None = None) -> Prediction:
            asked.append((name, round(float(lam), 4)))
            return denoiser(z, lam, y)

        return denoise

    grid, again = Uniform(-9.0, 9.0).grid(7), RectifiedFlow(1.0, 9.0).grid(4)
    samplers.gibbs_like(
        noting("guided", guidance.apg(m, w=1.0)), 0, start=noting("start", m), shape=(5, 2), grid=grid, again=again,
        rounds=3, method=method,
    )  # fmt: skip
    cost = samplers.SAMPLERS[method].evaluations
    names = [name for name, _ in asked]
    assert names == ["start"] * cost(7) + ["guided"] * (3 * cost(4))
    a_round = [lam for _, lam in asked[cost(7) :]]
    assert a_round == a_round[: cost(4)] * 3
    assert (a_round[0], a_round[cost(4) - 1]) == (1.0, 9.0)


def test_a_fixed_generator_repeats_the_samples_and_no_round_is_the_first_draw():
    m = datasets.three_gaussians()
    guided = guidance.classifier_free(m, w=2.0)
    y = torch.arange(30) % 3

    def drawn(seed: int, rounds: int = 2) -> Tensor:
        return samplers.gibbs_like(
            guided, y, start=m, shape=(30, 2), grid=Uniform(-9.0, 9.0).grid(9), again=Uniform(2.0, 9.0).grid(5),
            rounds=rounds, generator=Generator().manual_seed(seed),
        )  # fmt: skip

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    plain = samplers.sample(
        m,
        y,
        shape=(30, 2),
        grid=Uniform(-9.0, 9.0).grid(9),
        method="heun",
        generator=Generator().manual_seed(1),
    )
    assert torch.equal(drawn(1, rounds=0), plain)


def test_networks_pictures_and_pure_noise():
    net = NetDenoiser(nets.MLP(2, 3, width=8, depth=1).eval())
    x = samplers.gibbs_like(
        guidance.classifier_free(net, w=1.0), 1, start=net, shape=(6, 2), grid=Uniform(-6.0, 6.0).grid(5),
        again=Uniform(0.0, 6.0).grid(3, dtype=F64),
    )  # fmt: skip
    assert (x.shape, x.dtype, x.requires_grad) == ((6, 2), torch.float32, False)

    def pictures(z: Tensor, lam: Tensor, y: Tensor | None = None) -> Prediction:
        return Prediction.from_flow(z, lam, z)

    deep = torch.tensor([-math.inf, -3.0, 0.0, 4.0])
    x = samplers.gibbs_like(pictures, start=pictures, shape=(5, 1, 4, 4), grid=deep, again=deep[1:])
    assert x.shape == (5, 1, 4, 4)
    assert bool(x.isfinite().all())


def test_samples_that_leave_the_range_of_numbers_say_so():
    def lost(z: Tensor, lam: Tensor, y: Tensor | None = None) -> Prediction:
        return Prediction.from_x(z, lam, z / 0 if lam > 0 else z)

    def sound(z: Tensor, lam: Tensor, y: Tensor | None = None) -> Prediction:
        return Prediction.from_x(z, lam, z)

    grids = {"grid": Uniform(-9.0, 9.0).grid(2), "again": Uniform(0.0, 9.0).grid(2)}
    for where, denoiser, start in (("after round 1", lost, sound), ("of the first draw", sound, lost)):
        with pytest.raises(ValueError, match=rf"^denoiser: got samples {where} that left .+, takes "):
            samplers.gibbs_like(denoiser, start=start, shape=(4, 2), **grids)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("rounds", {"rounds": -1}),
        ("rounds", {"rounds": 1.5}),
        ("again", {"again": torch.tensor([1.0, 0.0])}),
        ("again", {"again": torch.tensor([1.0, math.nan])}),
        ("again", {"again": torch.tensor([1.0, 1.0 + 1e-12], dtype=F64)}),
        ("again", {"again": None}),
        ("again", {"again": torch.tensor([-math.inf, 1.0])}),
        ("grid", {"grid": torch.tensor([1.0, 0.0])}),
        ("grid", {"grid": None}),
        ("shape", {"shape": (0, 2)}),
        ("start", {"start": None}),
        ("method", {"method": "euler"}),
        ("y", {"y": 0.5}),
    ],
)
def test_bad_input(name, wrong):
    m = datasets.three_gaussians()
    arguments = {
        "y": 0, "start": m, "shape": (4, 2), "grid": Uniform(-9.0, 9.0).grid(5), "again": Uniform(0.0, 9.0).grid(3)
    } | wrong  # fmt: skip
    with pytest.raises(ValueError, match=rf"^{name}: got .+, takes "):
        samplers.gibbs_like(m, **arguments)
