"""Signal and noise, against definitions computed by Decimal in 120 digits."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from cfgtoy import logsnr

getcontext().prec = 120


def exact(lam: float) -> tuple[float, float]:
    lam = Decimal(lam)
    return float((1 / (1 + (-lam).exp())).sqrt()), float((1 / (1 + lam.exp())).sqrt())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(lam=st.floats(-40, 40, width=32))
def test_alpha_sigma_keep_relative_precision_out_to_forty(dtype, lam):
    alpha, sigma = logsnr.alpha_sigma(torch.tensor(lam, dtype=dtype))
    want_alpha, want_sigma = exact(lam)
    # e^{λ/2} carries the rounding of its exponent: |λ|/2 units in the last place.
    eps = torch.finfo(dtype).eps * (2 + abs(lam) / 2)
    assert alpha.item() == pytest.approx(want_alpha, rel=eps, abs=0)
    assert sigma.item() == pytest.approx(want_sigma, rel=eps, abs=0)


def test_variance_is_preserved_and_lambda_is_the_log_ratio():
    lam = torch.linspace(-20, 20, 401, dtype=torch.float64)
    alpha, sigma = logsnr.alpha_sigma(lam)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(lam), rtol=1e-14, atol=0)
    torch.testing.assert_close(2 * (alpha.log() - sigma.log()), lam, rtol=0, atol=1e-13)
    assert bool((alpha.diff() > 0).all())


def test_alpha_bar_of_ddpm_is_alpha_squared():
    alpha_bar = torch.tensor([0.9999, 0.5, 4e-5], dtype=torch.float64)
    lam = logsnr.from_alpha_bar(alpha_bar)
    torch.testing.assert_close(logsnr.alpha_sigma(lam)[0] ** 2, alpha_bar, rtol=1e-13, atol=0)


@example(x=-0.7)
@example(x=-5.0)
@example(x=-20.0)
@example(x=-36.0)
@given(x=st.floats(-700, -1e-40))
def test_log1mexp_against_decimal(x):
    want = float((1 - Decimal(x).exp()).ln()) if x > -130 else -math.exp(x)
    assert logsnr.log1mexp(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(
        want, rel=1e-14, abs=0
    )


def test_log1mexp_has_finite_gradients_on_both_branches():
    x = torch.tensor([-1e-8, -0.5, -0.6931, -0.6932, -5.0, -80.0], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(logsnr.log1mexp(x).sum(), x)
    torch.testing.assert_close(grad, -1 / torch.expm1(-x.detach()), rtol=1e-9, atol=0)


def test_a_python_number_keeps_its_float64_precision():
    like = torch.zeros(3, 2, dtype=torch.float64)
    assert logsnr.as_logsnr("lam", 0.1, like).item() == 0.1


def test_levels_align_with_samples_of_any_shape():
    like = torch.zeros(4, 3, 8, 8)
    assert logsnr.per_sample(torch.ones(4), like).shape == (4, 1, 1, 1)
    assert logsnr.per_sample(torch.ones(()), like).shape == ()
    assert logsnr.as_logsnr("lam", torch.ones(1), like).shape == ()
