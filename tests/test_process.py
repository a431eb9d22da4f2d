"""The Gaussians of the process, against each other, against quadrature, and against Bayes' rule on a grid."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from cfgtoy import logsnr, process

F64 = torch.float64
levels = (
    st.lists(st.floats(-20, 20), min_size=3, max_size=3, unique=True)
    .map(sorted)
    .filter(lambda ls: min(ls[1] - ls[0], ls[2] - ls[1]) > 1e-3)
)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=F64)


def unit(z: float = 1.0) -> Tensor:
    return torch.full((1, 1), z, dtype=F64)


def test_marginal_has_the_stated_moments(generator):
    lam = scalar(0.7)
    x = unit(1.5).expand(200_000, 1)
    z = process.diffuse(x, lam, generator=generator)
    alpha, sigma = torch.sigmoid(lam).sqrt(), torch.sigmoid(-lam).sqrt()
    assert z.mean().item() == pytest.approx(1.5 * alpha.item(), abs=5 * sigma.item() / math.sqrt(len(z)))
    assert z.var().item() == pytest.approx(sigma.item() ** 2, rel=5 * math.sqrt(2 / len(z)))


def test_diffuse_adds_the_noise_it_is_given():
    x, noise = torch.randn(5, 3, dtype=F64), torch.randn(5, 3, dtype=F64)
    lam = torch.linspace(-20, 20, 5, dtype=F64)
    got = process.diffuse(x, lam, noise)
    want = torch.sigmoid(lam).sqrt()[:, None] * x + torch.sigmoid(-lam).sqrt()[:, None] * noise
    torch.testing.assert_close(got, want)


@given(levels)
def test_both_forms_of_the_transition_variance_agree(ls):
    low, high = ls[0], ls[2]
    mean, var = process.transition(unit(), scalar(high), scalar(low))
    a2_low, a2_high = (torch.sigmoid(scalar(lam)) for lam in (low, high))
    s2_low, s2_high = (torch.sigmoid(-scalar(lam)) for lam in (low, high))
    second = s2_low - (a2_low / a2_high) * s2_high  # the other form of the paper
    assert mean.item() == pytest.approx((a2_low / a2_high).sqrt().item(), rel=1e-12, abs=0)
    assert var.item() == pytest.approx(-math.expm1(low - high) * s2_low.item(), rel=1e-12, abs=0)
    assert var.item() == pytest.approx(second.item(), rel=1e-6, abs=1e-13)


@given(levels)
def test_transitions_compose(ls):
    low, middle, high = map(scalar, ls)
    step, step_var = process.transition(unit(), high, middle)
    again, again_var = process.transition(step, middle, low)
    slope, _ = process.transition(unit(), middle, low)
    direct, direct_var = process.transition(unit(), high, low)
    assert again.item() == pytest.approx(direct.item(), rel=1e-11, abs=0)
    assert (slope**2 * step_var + again_var).item() == pytest.approx(direct_var.item(), rel=1e-11, abs=0)


@given(levels)
def test_transition_after_marginal_is_the_marginal(ls):
    low, high = scalar(ls[0]), scalar(ls[2])
    alpha, sigma = logsnr.alpha_sigma(high)
    alpha_low, sigma_low = logsnr.alpha_sigma(low)
    ratio, var = process.transition(unit(), high, low)
    assert (ratio * alpha).item() == pytest.approx(alpha_low.item(), rel=1e-11, abs=0)
    assert (ratio**2 * sigma**2 + var).item() == pytest.approx(sigma_low.item() ** 2, rel=1e-11, abs=0)


@pytest.mark.parametrize(("low", "high"), [(-3.0, 1.0), (0.0, 0.5), (2.0, 8.0), (-8.0, -7.0)])
def test_posterior_is_bayes_on_a_grid(low, high):
    """q(z_λ'|z_λ,x) ∝ q(z_λ|z_λ') q(z_λ'|x), with the right side tabulated."""
    x, z = 0.8, -0.4
    lam, lam_next = scalar(low), scalar(high)
    alpha, sigma = logsnr.alpha_sigma(lam_next)
    grid = torch.linspace(-9, 9, 400_001, dtype=F64)
    mean, var = process.transition(grid[:, None], lam_next, lam)
    log_joint = -((z - mean[:, 0]) ** 2) / (2 * var) - (grid - alpha * x) ** 2 / (2 * sigma**2)
    mass = log_joint.flatten().softmax(0)
    want_mean = (mass * grid).sum()
    want_var = (mass * (grid - want_mean) ** 2).sum()
    got_mean, got_var = process.posterior(unit(z), unit(x), lam, lam_next)
    assert got_mean.item() == pytest.approx(want_mean.item(), rel=1e-7, abs=1e-9)
    assert got_var.item() == pytest.approx(want_var.item(), rel=1e-6)


@given(levels, st.floats(0, 1))
def test_reverse_variance_runs_in_log_space_between_its_ends(ls, v):
    lam, lam_next = scalar(ls[0]), scalar(ls[1])
    z, x = unit(0.3), unit(-1.1)
    mean, var = process.reverse(z, x, lam, lam_next, v)
    posterior_mean, lower = process.posterior(z, x, lam, lam_next)
    _, upper = process.transition(z, lam_next, lam)
    assert mean.item() == posterior_mean.item()
    assert var.item() == pytest.approx(lower.item() ** (1 - v) * upper.item() ** v, rel=1e-9, abs=0)
    assert lower.item() <= var.item() * (1 + 1e-12)
    assert var.item() <= upper.item() * (1 + 1e-12)


def test_reverse_ends_at_posterior_and_transition():
    lam, lam_next = scalar(-1.0), scalar(2.0)
    z, x = torch.randn(4, 2, dtype=F64), torch.randn(4, 2, dtype=F64)
    torch.testing.assert_close(
        process.reverse(z, x, lam, lam_next, 0.0), process.posterior(z, x, lam, lam_next), rtol=1e-14, atol=0
    )
    torch.testing.assert_close(
        process.reverse(z, x, lam, lam_next, 1.0)[1],
        process.transition(z, lam_next, lam)[1],
        rtol=1e-14,
        atol=0,
    )


def test_reverse_with_the_true_posterior_mean_walks_the_marginals():
    """For Gaussian data the reverse step with v = 0 and x drawn from p(x|z) is exact: check both moments."""
    data_var = 0.6
    lam, lam_next = scalar(-0.5), scalar(0.8)
    alpha, sigma = logsnr.alpha_sigma(lam)
    total = alpha**2 * data_var + sigma**2
    gain = alpha * data_var / total  # E[x|z] = gain z
    spread = data_var - gain * alpha * data_var  # Var[x|z]
    from_z, var = process.posterior(unit(1), unit(0), lam, lam_next)
    from_x, _ = process.posterior(unit(0), unit(1), lam, lam_next)
    got = (from_z + from_x * gain) ** 2 * total + from_x**2 * spread + var
    alpha_next, sigma_next = logsnr.alpha_sigma(lam_next)
    assert got.item() == pytest.approx((alpha_next**2 * data_var + sigma_next**2).item(), rel=1e-12, abs=0)


def test_float32_at_forty_stays_finite_and_right():
    z, x = torch.randn(3, 2), torch.randn(3, 2)
    for low, high in [(-40.0, -39.0), (-40.0, 40.0), (39.0, 40.0), (-0.001, 0.0)]:
        for function in (
            lambda z, x, low, high: process.posterior(z, x, low, high),
            lambda z, x, low, high: process.transition(z, high, low),
            lambda z, x, low, high: process.reverse(z, x, low, high, 0.3),
        ):
            single = function(z, x, low, high)
            double = function(z.double(), x.double(), low, high)
            for a, b in zip(single, double, strict=True):
                assert bool(a.isfinite().all())
                assert bool((a.isfinite() & ((a != 0) | (b == 0))).all())
                torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=0)


def test_one_level_a_sample_equals_one_at_a_time():
    z, x = torch.randn(6, 2, 3, dtype=F64), torch.randn(6, 2, 3, dtype=F64)
    lam = torch.linspace(-15, 10, 6, dtype=F64)
    lam_next = lam + torch.linspace(0.1, 5, 6, dtype=F64)
    mean, var = process.reverse(z, x, lam, lam_next, 0.3)
    for i in range(6):
        one_mean, one_var = process.reverse(z[i : i + 1], x[i : i + 1], lam[i], lam_next[i], 0.3)
        torch.testing.assert_close(mean[i : i + 1], one_mean)
        torch.testing.assert_close(var[i].reshape(()), one_var)


def test_diffuse_repeats_itself():
    x = torch.randn(4, 2)
    first = process.diffuse(x, 0.3, generator=Generator().manual_seed(2))
    assert torch.equal(first, process.diffuse(x, 0.3, generator=Generator().manual_seed(2)))
