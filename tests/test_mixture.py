"""The exact mixture against independent truths: autograd, torch.distributions, quadrature over x, histograms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Generator, Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from cfgtoy import NULL, GaussianMixture, datasets, logsnr

F64 = torch.float64
LEVELS = [-20.0, -6.0, -1.0, 0.0, 2.0, 7.0, 20.0]
SHAPES = [
    (1, "iso"),
    (1, "full"),
    (2, "iso"),
    (2, "diag"),
    (2, "full"),
    (5, "full"),
    (5, "diag"),
    (20, "full"),
]


def other_implementation(m: GaussianMixture, lam: float, y: int | None = None) -> MixtureSameFamily:
    """p(z_λ | y) by torch.distributions, from the mixture's public attributes."""
    keep = torch.ones_like(m.labels, dtype=torch.bool) if y is None else m.labels == y
    alpha2, sigma2 = torch.sigmoid(torch.tensor(lam, dtype=F64)), torch.sigmoid(-torch.tensor(lam, dtype=F64))
    covs = alpha2 * m.covs[keep].double() + sigma2 * torch.eye(m.dim, dtype=F64)
    return MixtureSameFamily(
        Categorical(m.weights[keep].double()),
        MultivariateNormal(alpha2.sqrt() * m.means[keep].double(), covs, validate_args=False),
    )


def points(m: GaussianMixture, lam: float, n: int = 40) -> Tensor:
    """Some where the mass is, some well outside."""
    g = Generator().manual_seed(4)
    alpha, sigma = logsnr.alpha_sigma(torch.tensor(lam, dtype=m.means.dtype))
    z = alpha * m.sample(n, generator=g)
    z = z + sigma * torch.randn(z.shape, generator=g, dtype=z.dtype)
    return torch.cat([z, 4 * torch.randn(n // 4, m.dim, generator=g, dtype=z.dtype)])


@pytest.mark.parametrize(("dim", "covariance"), SHAPES)
@pytest.mark.parametrize("lam", LEVELS)
@pytest.mark.parametrize("y", [None, 1])
def test_log_prob_and_score_agree_with_torch_distributions(random_mixture, dim, covariance, lam, y):
    m = random_mixture(dim=dim, covariance=covariance)
    z = points(m, lam).requires_grad_()
    log_prob = other_implementation(m, lam, y).log_prob(z)
    (score,) = torch.autograd.grad(log_prob.sum(), z)
    torch.testing.assert_close(m.log_prob(z.detach(), lam, y), log_prob.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(m.score(z.detach(), lam, y), score, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("dim", "covariance"), SHAPES)
@pytest.mark.parametrize("lam", LEVELS)
def test_score_is_the_gradient_of_log_prob(random_mixture, dim, covariance, lam):
    m = random_mixture(dim=dim, covariance=covariance)
    z = points(m, lam).requires_grad_()
    for y in (None, 0, 2):
        (grad,) = torch.autograd.grad(m.log_prob(z, lam, y).sum(), z)
        torch.testing.assert_close(m.score(z.detach(), lam, y), grad, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("lam", [-4.0, 0.0, 3.0])
@pytest.mark.parametrize("y", [None, 0])
def test_marginal_by_quadrature_over_clean_data(random_mixture, lam, y):
    """p(z) = ∫ q(z|x) p(x) dx, with p(x) written here from scipy's normal densities."""
    m = random_mixture(k=4, dim=1, classes=2, covariance="iso")
    keep = [i for i in range(4) if y is None or m.labels[i] == y]
    weight = np.array([m.weights[i].item() for i in keep])
    weight /= weight.sum()
    alpha, sigma = (1 / (1 + math.exp(-lam))) ** 0.5, (1 / (1 + math.exp(lam))) ** 0.5

    def clean(x: float) -> float:
        return sum(
            w * stats.norm.pdf(x, m.means[i, 0], m.covs[i, 0, 0] ** 0.5)
            for w, i in zip(weight, keep, strict=True)
        )

    for z in (-1.3, 0.0, 0.9):
        want, _ = integrate.quad(
            lambda x, z=z: clean(x) * stats.norm.pdf(z, alpha * x, sigma), -8, 8, limit=200, epsabs=1e-12
        )
        got = m.log_prob(torch.tensor([[z]], dtype=F64), lam, y).exp().item()
        assert got == pytest.approx(want, rel=1e-8)
        mean, _ = integrate.quad(
            lambda x, z=z: x * clean(x) * stats.norm.pdf(z, alpha * x, sigma), -8, 8, limit=200, epsabs=1e-12
        )
        got_mean = m.posterior_mean(torch.tensor([[z]], dtype=F64), lam, y).item()
        assert got_mean == pytest.approx(mean / want, rel=1e-7, abs=1e-10)


def test_density_integrates_to_one_in_the_plane():
    m = datasets.overlapping(F64)
    axis = torch.linspace(-7, 7, 561, dtype=F64)
    grid = torch.cartesian_prod(axis, axis)
    for lam in (-2.0, 0.0, 4.0):
        for y in (None, 0, 1):
            total = m.log_prob(grid, lam, y).exp().sum() * (axis[1] - axis[0]) ** 2
            assert total.item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("lam", LEVELS)
def test_prediction_follows_from_the_score(random_mixture, lam):
    """Tweedie: E[x|z] = (z + σ² ∇log p)/α, and ε = −σ ∇log p."""
    m = random_mixture()
    z = points(m, lam)
    score = m.score(z, lam, 1)
    prediction = m(z, torch.tensor(lam, dtype=F64), torch.tensor(1))
    alpha2, sigma2 = torch.sigmoid(torch.tensor(lam, dtype=F64)), torch.sigmoid(-torch.tensor(lam, dtype=F64))
    torch.testing.assert_close(prediction.eps, -sigma2.sqrt() * score, rtol=1e-7, atol=1e-8)
    if lam > -10:  # below, the difference below loses what the mixture's own form keeps
        torch.testing.assert_close(prediction.x, (z + sigma2 * score) / alpha2.sqrt(), rtol=1e-6, atol=1e-6)


def test_posterior_mean_at_the_noisy_end_is_the_prior_mean(random_mixture):
    m = random_mixture(dtype=torch.float32)
    z = torch.randn(50, 2)
    for y in (None, 0):
        want = m.mean_cov(y)[0].expand(50, 2)
        torch.testing.assert_close(m.posterior_mean(z, -20.0, y), want, rtol=0, atol=1e-3)


@pytest.mark.parametrize("lam", LEVELS)
def test_class_log_prob_is_bayes(random_mixture, lam):
    m = random_mixture()
    z = points(m, lam)
    got = m.class_log_prob(z, lam)
    prior = torch.stack([m.weights[m.labels == c].sum() for c in range(3)])
    joint = torch.stack([other_implementation(m, lam, c).log_prob(z) for c in range(3)], 1) + prior.log()
    torch.testing.assert_close(got, joint - joint.logsumexp(1, keepdim=True), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(got.exp().sum(1), torch.ones(len(z), dtype=F64))
    torch.testing.assert_close(m.class_weights, prior)


def test_unconditional_density_is_the_sum_over_classes(random_mixture):
    m = random_mixture()
    z = points(m, 1.0)
    by_class = torch.stack([m.log_prob(z, 1.0, c) for c in range(3)], 1) + m.class_weights.log()
    torch.testing.assert_close(m.log_prob(z, 1.0), by_class.logsumexp(1))
    shares = m.class_log_prob(z, 1.0).exp()[..., None]
    scores = torch.stack([m.score(z, 1.0, c) for c in range(3)], 1)
    torch.testing.assert_close(m.score(z, 1.0), (shares * scores).sum(1))


@pytest.mark.parametrize("w", [-1.0, 0.0, 0.5, 4.0])
def test_tilted_log_prob_is_its_definition(random_mixture, w):
    m = random_mixture()
    z = points(m, 0.5)
    p_z, p_zc = other_implementation(m, 0.5).log_prob(z), other_implementation(m, 0.5, 2).log_prob(z)
    log_class = p_zc + m.class_weights[2].log() - p_z
    torch.testing.assert_close(m.tilted_log_prob(z, 0.5, 2, w), p_zc + w * log_class)
    each = m.tilted_log_prob(z, 0.5, 2, torch.full((len(z),), w, dtype=F64))
    torch.testing.assert_close(each, p_zc + w * log_class)


def test_null_none_and_missing_are_the_same(random_mixture):
    m = random_mixture()
    z = points(m, 0.0)
    want = m.score(z, 0.0)
    assert torch.equal(m.score(z, 0.0, NULL), want)
    assert torch.equal(m.score(z, 0.0, torch.full((len(z),), NULL)), want)
    mixed = torch.tensor([0, NULL, 2] * len(z))[: len(z)]
    got = m.score(z, 0.0, mixed)
    for i in range(6):
        assert torch.equal(got[i], m.score(z[i : i + 1], 0.0, int(mixed[i]))[0])


# -- one λ a sample, kinds of covariance, precision, distance --------------------------------------------------------


@pytest.mark.parametrize(("dim", "covariance"), SHAPES)
def test_a_level_a_sample_equals_one_level(random_mixture, dim, covariance):
    m = random_mixture(dim=dim, covariance=covariance)
    lams = torch.tensor(LEVELS, dtype=F64)
    z = torch.randn(len(LEVELS), dim, dtype=F64)
    y = torch.tensor([0, 1, 2, NULL, 0, 1, NULL])
    for name in ("log_prob", "score", "posterior_mean"):
        together = getattr(m, name)(z, lams, y)
        for i, lam in enumerate(LEVELS):
            alone = getattr(m, name)(z[i : i + 1], lam, int(y[i]))[0]
            torch.testing.assert_close(together[i], alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dim", [1, 2, 5, 20])
def test_isotropic_diagonal_and_full_agree(dim):
    g = Generator().manual_seed(0)
    means = torch.randn(4, dim, generator=g, dtype=F64)
    var = 0.1 + torch.rand(4, generator=g, dtype=F64)
    eye = torch.eye(dim, dtype=F64)
    z = torch.randn(30, dim, generator=g, dtype=F64)
    forms = [
        GaussianMixture(means, var),
        GaussianMixture(means, var[:, None].expand(4, dim)),
        GaussianMixture(means, var[:, None, None] * eye),
    ]
    for lam in (-5.0, 0.0, 8.0):
        for form in forms[1:]:
            torch.testing.assert_close(form.log_prob(z, lam), forms[0].log_prob(z, lam))
            torch.testing.assert_close(form.score(z, lam, 2), forms[0].score(z, lam, 2))
            torch.testing.assert_close(form(z, lam).x, forms[0](z, lam).x)
    diagonal = 0.1 + torch.rand(4, dim, generator=g, dtype=F64)
    torch.testing.assert_close(
        GaussianMixture(means, diagonal).score(z, 1.0),
        GaussianMixture(means, torch.diag_embed(diagonal)).score(z, 1.0),
    )
    if dim > 1:  # one number for all
        torch.testing.assert_close(
            GaussianMixture(means, 0.1).score(z, 1.0),
            GaussianMixture(means, 0.1 * eye.expand(4, dim, dim)).score(z, 1.0),
        )


def test_a_rotation_of_everything_rotates_the_score(random_mixture):
    m = random_mixture(dim=3)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=Generator().manual_seed(0), dtype=F64))
    turned = GaussianMixture(m.means @ turn.mT, turn @ m.covs @ turn.mT, m.weights, m.labels)
    z = points(m, 0.0)
    torch.testing.assert_close(turned.score(z @ turn.mT, 0.0, 1), m.score(z, 0.0, 1) @ turn.mT)


@pytest.mark.parametrize("lam", LEVELS)
@pytest.mark.parametrize("gallery", list(datasets.GALLERY))
def test_finite_at_fifty_standard_deviations_in_float32(gallery, lam):
    m = datasets.GALLERY[gallery]()
    angle = torch.linspace(0, 2 * math.pi, 65)[:-1]
    alpha, sigma = logsnr.alpha_sigma(torch.tensor(lam))
    widest = (alpha**2 * torch.linalg.eigvalsh(m.covs).max() + sigma**2).sqrt()
    for direction in (50.0, 10.0):
        z = alpha * m.means[:1] + direction * widest * torch.stack([angle.cos(), angle.sin()], 1)
        truth = m.to(dtype=F64)
        for y in (None, 0, m.num_classes - 1):
            prediction = m(z, lam, y)
            values = {
                "log_prob": (m.log_prob(z, lam, y), truth.log_prob(z.double(), lam, y)),
                "score": (m.score(z, lam, y), truth.score(z.double(), lam, y)),
                "x": (prediction.x, truth(z.double(), lam, y).x),
                "eps": (prediction.eps, truth(z.double(), lam, y).eps),
            }
            for name, (got, want) in values.items():
                assert bool(got.isfinite().all()), name
                if got.ndim == 1:
                    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-3)
        assert bool((m.class_log_prob(z, lam).exp().sum(1) - 1 < 1e-5).all())
        assert not bool(m.class_log_prob(z, lam).isnan().any())
        assert not bool(m.tilted_log_prob(z, lam, 0, 5.0).isnan().any())


@pytest.mark.parametrize("lam", LEVELS)
def test_float32_error_of_a_hundred_full_covariances(random_mixture, lam):
    single = random_mixture(k=100, classes=10, dtype=torch.float32)
    double = single.to(dtype=F64)
    z = points(single, lam, 2000)
    got, want = single.score(z, lam).double(), double.score(z.double(), lam)
    # Relative to the score's length, or to a typical one where it passes through zero.
    scale = want.norm(dim=1).clamp(min=0.1 * want.norm(dim=1).median().item())
    assert ((got - want).norm(dim=1) / scale).max().item() <= 1e-4
    log_prob = single.log_prob(z, lam).double()
    torch.testing.assert_close(log_prob, double.log_prob(z.double(), lam), rtol=1e-5, atol=1e-4)


def test_no_cancellation_far_from_the_origin():
    """Means at 1000 with unit spread: expanded squares would lose six digits in float32."""
    means = torch.tensor([[1000.0, 1000.0], [1002.0, 1000.0]])
    m = GaussianMixture(means, torch.tensor([[[1.0, 0.3], [0.3, 0.5]]]).expand(2, 2, 2))
    z = means[:1] + torch.randn(100, 2, generator=Generator().manual_seed(0))
    want = m.to(dtype=F64).log_prob(z.double(), 30.0)
    # At λ = 30 α rounds to one: what is left is the rounding of z itself.
    torch.testing.assert_close(m.log_prob(z, 30.0).double(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("per_sample", [False, True])
def test_slices_of_a_large_batch_change_nothing(random_mixture, monkeypatch, per_sample):
    m = random_mixture(k=7)
    z = points(m, 0.0, 400)
    lam = torch.linspace(-5, 5, len(z), dtype=F64) if per_sample else 0.3
    y = torch.arange(len(z)) % 4 - 1
    whole = [m.log_prob(z, lam, y), m.score(z, lam), m.class_log_prob(z, lam), m(z, lam, y).x]
    monkeypatch.setattr("cfgtoy.mixture._PAIRS", 7 * 61)
    parts = [m.log_prob(z, lam, y), m.score(z, lam), m.class_log_prob(z, lam), m(z, lam, y).x]
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


# -- samples and moments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["iso", "diag", "full"])
def test_samples_have_the_mixtures_moments(random_mixture, generator, covariance):
    m = random_mixture(covariance=covariance)
    n = 200_000
    for y in (None, 1):
        x = m.sample(n, y, generator)
        mean, cov = m.mean_cov(y)
        error = (x.mean(0) - mean).abs() / (cov.diagonal() / n).sqrt()
        assert error.max().item() < 5
        torch.testing.assert_close(torch.cov(x.mT), cov, rtol=0.03, atol=0.01)


def test_samples_pass_a_kolmogorov_test(random_mixture, generator):
    m = random_mixture(k=4, dim=1, classes=2, covariance="iso")
    x = m.sample(20_000, 1, generator)[:, 0].numpy()

    def cdf(at: np.ndarray) -> np.ndarray:
        keep = (m.labels == 1).nonzero()[:, 0].tolist()
        weights = m.weights[keep] / m.weights[keep].sum()
        return sum(
            w.item() * stats.norm.cdf(at, m.means[i, 0].item(), m.covs[i, 0, 0].sqrt().item())
            for w, i in zip(weights, keep, strict=True)
        )

    assert stats.kstest(x, cdf).pvalue > 1e-3


def test_labelled_samples_carry_the_class_they_came_from(random_mixture, generator):
    m = random_mixture(spread=20.0)  # so far apart that the nearest mean tells
    x, y = m.sample_labeled(5000, generator)
    nearest = torch.cdist(x, m.means).argmin(1)
    assert torch.equal(m.labels[nearest], y)
    share = torch.bincount(y, minlength=3) / len(y)
    torch.testing.assert_close(share.double(), m.class_weights, rtol=0, atol=0.03)


def test_sampling_by_a_label_a_sample(random_mixture):
    m = random_mixture(spread=20.0)
    y = torch.arange(300) % 3
    x = m.sample(300, y, Generator().manual_seed(0))
    assert torch.equal(m.labels[torch.cdist(x, m.means).argmin(1)], y)
    assert torch.equal(x, m.sample(300, y, Generator().manual_seed(0)))


def test_moments_by_quadrature():
    m = datasets.overlapping(F64)
    axis = torch.linspace(-5, 5, 501, dtype=F64)
    grid = torch.cartesian_prod(axis, axis)
    for y in (None, 0):
        mass = m.log_prob(grid, 40.0, y).softmax(0)[:, None]
        mean = (mass * grid).sum(0)
        cov = ((grid - mean) * mass).mT @ (grid - mean)
        torch.testing.assert_close(m.mean_cov(y)[0], mean, rtol=0, atol=1e-6)
        torch.testing.assert_close(m.mean_cov(y)[1], cov, rtol=0, atol=1e-6)


def test_python_numbers_keep_float64_precision():
    m = GaussianMixture(torch.zeros(1, 2, dtype=F64), 0.1)
    assert m.covs[0, 0, 0].item() == 0.1


def test_to_changes_dtype_and_keeps_the_law(random_mixture):
    m = random_mixture()
    single = m.to(dtype=torch.float32)
    assert single.means.dtype == single.score(torch.randn(3, 2), 0.0).dtype == torch.float32
    torch.testing.assert_close(single.covs.double(), m.covs, rtol=1e-5, atol=1e-6)
    z = torch.randn(9, 2, dtype=F64)
    torch.testing.assert_close(
        single.log_prob(z.float(), 0.0).double(), m.log_prob(z, 0.0), rtol=1e-4, atol=1e-4
    )


@given(seed=st.integers(0, 10_000), dim=st.integers(1, 6), lam=st.floats(-20, 20), scale=st.floats(0.1, 10))
def test_score_is_the_gradient_anywhere(seed, dim, lam, scale):
    g = Generator().manual_seed(seed)
    factor = torch.randn(3, dim, dim, generator=g, dtype=F64)
    m = GaussianMixture(
        scale * torch.randn(3, dim, generator=g, dtype=F64),
        factor @ factor.mT + 0.1 * torch.eye(dim, dtype=F64),
        0.1 + torch.rand(3, generator=g, dtype=F64),
    )
    z = (scale * torch.randn(4, dim, generator=g, dtype=F64)).requires_grad_()
    (grad,) = torch.autograd.grad(m.log_prob(z, lam).sum(), z)
    torch.testing.assert_close(m.score(z.detach(), lam), grad, rtol=1e-7, atol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_agrees_with_the_cpu(random_mixture):
    m = random_mixture(k=50, classes=5, dtype=torch.float32)
    z = torch.randn(3000, 2, generator=Generator().manual_seed(0))
    y = torch.arange(3000) % 6 - 1
    on_gpu = m.to("cuda")
    for lam in (-10.0, 0.0, 10.0):
        torch.testing.assert_close(
            on_gpu.score(z.cuda(), lam, y.cuda()).cpu(), m.score(z, lam, y), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(
            on_gpu(z.cuda(), lam, y.cuda()).x.cpu(), m(z, lam, y).x, rtol=1e-4, atol=1e-4
        )
    assert on_gpu.sample(5).device.type == "cuda"


def test_the_denoiser_knows_pure_noise(random_mixture):
    """At λ = −∞ nothing is known of x but its class: the posterior mean is the class's mean, the score −z."""
    m = random_mixture()
    z, y = torch.randn(4, 2, dtype=torch.float64), torch.tensor([0, 1, 2, NULL])
    means = torch.stack([m.mean_cov(c)[0] for c in (0, 1, 2)] + [m.mean_cov()[0]])
    for lam in (torch.tensor(-math.inf), torch.tensor([-math.inf, -60.0, -math.inf, -math.inf])):
        torch.testing.assert_close(m(z, lam, y).x, means)
        torch.testing.assert_close(m(z, lam, y).score, -z)
    for bad in (math.inf, math.nan):
        with pytest.raises(ValueError, match=r"^logsnr: got"):
            m(z, torch.tensor(bad), y)
