"""Metrics against torchmetrics, scipy, brute force and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, stats
from scipy.spatial import distance
from sklearn.neighbors import NearestNeighbors
from torch import Generator, Tensor

from cfgtoy import GaussianMixture, NetDenoiser, Prediction, datasets, guidance, metrics, nets

F64 = torch.float64


def probabilities(n: int = 400, classes: int = 7, sharpness: float = 3.0) -> tuple[Tensor, Tensor]:
    logits = sharpness * torch.randn(n, classes, generator=Generator().manual_seed(0))
    return logits, logits.softmax(1)


# -- Inception Score -------------------------------------------------------------------------------------------------


def test_inception_score_is_its_definition():
    _, p = probabilities()
    marginal = p.double().mean(0).numpy()
    divergences = [stats.entropy(row, marginal) for row in p.double().numpy()]
    assert metrics.inception_score(p) == pytest.approx(math.exp(np.mean(divergences)), rel=1e-6)


def test_inception_score_is_torchmetrics():
    image = pytest.importorskip("torchmetrics.image.inception", reason="needs torchmetrics")
    logits, p = probabilities()

    class Logits(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return logits

    theirs = image.InceptionScore(feature=Logits(), splits=1, normalize=True)
    theirs.update(torch.zeros(len(logits), 3, 4, 4))
    assert metrics.inception_score(p) == pytest.approx(theirs.compute()[0].item(), rel=1e-4)


def test_inception_score_runs_from_one_to_the_number_of_classes():
    assert metrics.inception_score(torch.full((50, 10), 0.1)) == pytest.approx(1)
    assert metrics.inception_score(torch.eye(10).repeat(5, 1)) == pytest.approx(10)
    assert metrics.inception_score(torch.eye(10)[:1].repeat(5, 1)) == pytest.approx(1)


def test_class_entropy():
    _, p = probabilities()
    want = np.mean([stats.entropy(row) for row in p.double().numpy()])
    assert metrics.class_entropy(p) == pytest.approx(want, rel=1e-6)
    assert metrics.class_entropy(torch.eye(4)) == 0
    assert metrics.class_entropy(torch.full((3, 4), 0.25)) == pytest.approx(math.log(4))


# -- Fréchet distance ------------------------------------------------------------------------------------------------


def gaussian(d: int, seed: int) -> tuple[Tensor, Tensor]:
    g = Generator().manual_seed(seed)
    factor = torch.randn(d, d, generator=g, dtype=F64)
    return torch.randn(d, generator=g, dtype=F64), factor @ factor.mT + 0.1 * torch.eye(d, dtype=F64)


@pytest.mark.parametrize("d", [1, 2, 16])
def test_frechet_against_scipys_square_root(d):
    (mean_a, cov_a), (mean_b, cov_b) = gaussian(d, 0), gaussian(d, 1)
    root = linalg.sqrtm((cov_a @ cov_b).numpy()).real
    want = ((mean_a - mean_b) ** 2).sum().item() + np.trace((cov_a + cov_b).numpy() - 2 * root)
    assert metrics.frechet_from_moments(mean_a, cov_a, mean_b, cov_b) == pytest.approx(want, rel=1e-8)


def test_frechet_is_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid", reason="needs torchmetrics")
    g = Generator().manual_seed(0)
    a = torch.randn(500, 8, generator=g, dtype=F64) @ torch.randn(8, 8, generator=g, dtype=F64)
    b = torch.randn(300, 8, generator=g, dtype=F64) + 0.5
    theirs = fid._compute_fid(a.mean(0), torch.cov(a.mT), b.mean(0), torch.cov(b.mT)).item()
    assert metrics.frechet_distance(a, b) == pytest.approx(theirs, rel=1e-8)


def test_frechet_closed_forms():
    eye = torch.eye(3, dtype=F64)
    zero = torch.zeros(3, dtype=F64)
    assert metrics.frechet_from_moments(zero, 4 * eye, zero, 9 * eye) == pytest.approx(3 * (3 - 2) ** 2)
    assert metrics.frechet_from_moments(zero, eye, zero + 2, eye) == pytest.approx(12)
    a = torch.randn(100, 3)
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    flat = torch.diag(torch.tensor([1.0, 0.0, 0.0], dtype=F64))  # singular
    assert metrics.frechet_from_moments(zero, flat, zero, flat) == pytest.approx(0, abs=1e-9)


def test_moments_are_the_unbiased_ones():
    a = torch.randn(40, 3)
    mean, cov = metrics.moments(a)
    np.testing.assert_allclose(cov.numpy(), np.cov(a.double().numpy().T), rtol=1e-10)
    np.testing.assert_allclose(mean.numpy(), a.double().numpy().mean(0), rtol=1e-10)


def test_moments_from_parts_go_on_where_they_were():
    a, b = torch.randn(40, 3, dtype=F64), torch.randn(30, 3, dtype=F64) + 2
    first = metrics.Moments.of(a)
    kept = first.scatter.clone()
    again = metrics.Moments.from_parts(first.n, first.mean, first.scatter).update(b)
    np.testing.assert_allclose(again.cov.numpy(), np.cov(torch.cat([a, b]).numpy().T), rtol=1e-10)
    np.testing.assert_allclose(again.mean.numpy(), torch.cat([a, b]).numpy().mean(0), rtol=1e-10)
    assert torch.equal(first.scatter, kept)  # a copy: the parts stay as they were
    assert metrics.frechet_distance(again, torch.cat([a, b])) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(first, b) == pytest.approx(metrics.frechet_distance(a, b), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("n", (-1, torch.zeros(2), torch.eye(2))),
        ("n", (2.5, torch.zeros(2), torch.eye(2))),
        ("mean", (3, torch.zeros(2, 1), torch.eye(2))),
        ("mean", (3, torch.tensor([0.0, math.nan]), torch.eye(2))),
        ("scatter", (3, torch.zeros(2), torch.eye(3))),
        ("scatter", (3, torch.zeros(2), None)),
    ],
)
def test_moments_from_parts_that_do_not_fit(name, parts):
    with pytest.raises(ValueError, match=f"^{name}: got .*, takes "):
        metrics.Moments.from_parts(*parts)


# -- precision and recall --------------------------------------------------------------------------------------------


def covered_by_sklearn(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    radii = NearestNeighbors(n_neighbors=k + 1).fit(centres).kneighbors(centres)[0][:, k]
    distance = np.sqrt(((points[:, None] - centres[None]) ** 2).sum(-1))
    return float((distance <= radii).any(1).mean())


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("d", [1, 2, 10])
def test_precision_and_recall_by_brute_force(k, d):
    g = Generator().manual_seed(0)
    a = torch.randn(150, d, generator=g, dtype=F64)
    b = 0.6 * torch.randn(120, d, generator=g, dtype=F64) + 0.5
    got = metrics.precision_recall(a, b, k)
    assert got.precision == pytest.approx(covered_by_sklearn(b.numpy(), a.numpy(), k), abs=1e-12)
    assert got.recall == pytest.approx(covered_by_sklearn(a.numpy(), b.numpy(), k), abs=1e-12)
    assert 0.3 < got.precision <= 1


def test_precision_and_recall_at_their_ends():
    a = torch.randn(50, 2)
    assert metrics.precision_recall(a, a.clone()) == (1.0, 1.0)
    assert metrics.precision_recall(a, a + 100) == (0.0, 0.0)
    one_mode = torch.cat([a, a + 100])
    assert metrics.precision_recall(one_mode, a.clone()) == (1.0, 0.5)


def test_precision_survives_tight_clusters_in_float32():
    """Clusters 1e-3 wide at 30: distances by products would see rounding alone."""
    g = Generator().manual_seed(0)
    a = 30 + 1e-3 * torch.randn(300, 2, generator=g)
    b = 30 + 1e-3 * torch.randn(300, 2, generator=g)
    got = metrics.precision_recall(a, b)
    want = metrics.precision_recall(a.double(), b.double())
    assert got.precision == pytest.approx(want.precision, abs=0.01)
    assert got.recall == pytest.approx(want.recall, abs=0.01)
    assert got.precision > 0.9


def test_precision_in_many_dimensions_by_products():
    g = Generator().manual_seed(0)
    a, b = torch.randn(80, 100, generator=g, dtype=F64), 0.9 * torch.randn(90, 100, generator=g, dtype=F64)
    got = metrics.precision_recall(a, b, 5)
    assert got.precision == pytest.approx(covered_by_sklearn(b.numpy(), a.numpy(), 5), abs=1e-12)


@pytest.mark.parametrize("d", [10, 100, 256])
def test_precision_and_recall_of_float32_far_from_zero(d):
    """A thousand spreads from zero; the reference is the same numbers in float64, by brute force."""
    g = Generator().manual_seed(0)
    a = 1000 + torch.randn(300, d, generator=g)
    b = 1000 + 0.9 * torch.randn(250, d, generator=g)
    got = metrics.precision_recall(a, b, 5)
    assert got.precision == pytest.approx(
        covered_by_sklearn(b.double().numpy(), a.double().numpy(), 5), abs=0.01
    )
    assert got.recall == pytest.approx(
        covered_by_sklearn(a.double().numpy(), b.double().numpy(), 5), abs=0.01
    )
    assert got.precision > 0.3


def clusters(d: int, width: float, seed: int) -> Tensor:
    """Ten clusters of 30 at a distance of about 1 from each other: (300, d), float32."""
    centres = torch.randn(10, d, generator=Generator().manual_seed(7)) / math.sqrt(2 * d)
    noise = torch.randn(300, d, generator=Generator().manual_seed(seed))
    return centres.repeat(30, 1) + width / math.sqrt(2 * d) * noise


@pytest.mark.parametrize("d", [2, 8, 100, 256])
@pytest.mark.parametrize("width", [1e-2, 1e-3, 1e-4])
def test_precision_and_recall_of_tight_clusters_far_apart(d, width):
    """No origin lies near all of them: what the product form loses is measured again."""
    a, b = clusters(d, width, 0), clusters(d, 0.9 * width, 1)
    precision = covered_by_sklearn(b.double().numpy(), a.double().numpy(), 3)
    recall = covered_by_sklearn(a.double().numpy(), b.double().numpy(), 3)
    assert metrics.precision_recall(a, b) == pytest.approx((precision, recall), abs=0.01)
    again = metrics.precision_recall(metrics.Manifold(a, 3, chunk=70), b)
    assert again == pytest.approx((precision, recall), abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("d", [2, 100])
def test_precision_and_recall_of_repeated_samples(d, dtype):
    """Balls of radius zero hold their own point, wherever they lie, and no other."""
    points = 30 + torch.randn(20, d, generator=Generator().manual_seed(0)).to(dtype)
    a = points.repeat(5, 1)
    assert metrics.precision_recall(a, points[:10].repeat(6, 1)) == (1.0, 0.5)
    assert metrics.precision_recall(a, points.repeat(4, 1) * (1 + 1e-5)) == (0.0, 0.0)


def test_a_reference_is_measured_once(monkeypatch):
    a, b = torch.randn(60, 3), torch.randn(50, 3)
    manifold, want = metrics.Manifold(a, 4), metrics.precision_recall(a, b, 4)
    assert len(manifold) == 60
    made: list[Tensor] = []
    init = metrics.Manifold.__init__
    monkeypatch.setattr(
        metrics.Manifold, "__init__", lambda self, f, *r, **o: (made.append(f), init(self, f, *r, **o))[1]
    )
    assert metrics.precision_recall(manifold, b, 4) == want
    assert len(made) == 1
    assert made[0] is b
    with pytest.raises(ValueError, match=r"^k: got 3 with a manifold of k = 4, takes"):
        metrics.precision_recall(manifold, b, 3)


# -- energy distance -------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), shift=st.floats(-2, 2), n=st.integers(1, 60), m=st.integers(1, 60))
def test_energy_distance_is_scipys_in_one_dimension(seed, shift, n, m):
    g = Generator().manual_seed(seed)
    a = torch.randn(n, 1, generator=g, dtype=F64)
    b = torch.randn(m, 1, generator=g, dtype=F64) + shift
    want = stats.energy_distance(a[:, 0].numpy(), b[:, 0].numpy()) ** 2  # scipy returns the root
    assert metrics.energy_distance(a, b) == pytest.approx(want, abs=1e-10)


def test_energy_distance_by_brute_force_in_the_plane(monkeypatch):
    a, b = torch.randn(31, 2, dtype=F64), torch.randn(17, 2, dtype=F64) + 1

    def mean_gap(s: Tensor, t: Tensor) -> float:
        return float(np.mean([[math.dist(p, q) for q in t.tolist()] for p in s.tolist()]))

    want = 2 * mean_gap(a, b) - mean_gap(a, a) - mean_gap(b, b)
    assert metrics.energy_distance(a, b) == pytest.approx(want, rel=1e-10)
    monkeypatch.setattr("cfgtoy.metrics.distances._CHUNK", 5)
    assert metrics.energy_distance(a, b) == pytest.approx(want, rel=1e-10)
    assert metrics.energy_distance(a, a.clone()) == pytest.approx(0, abs=1e-12)


def test_energy_distance_of_long_vectors_far_from_zero():
    g = Generator().manual_seed(0)
    a, b = torch.randn(60, 100, generator=g, dtype=F64), 1.1 * torch.randn(50, 100, generator=g, dtype=F64)
    want = metrics.energy_distance(a, b)
    from_scipy = 2 * distance.cdist(a, b).mean() - distance.cdist(a, a).mean() - distance.cdist(b, b).mean()
    assert want == pytest.approx(from_scipy, rel=1e-7)
    assert metrics.energy_distance(a + 1e6, b + 1e6) == pytest.approx(want, rel=1e-6)


# -- Kullback–Leibler divergences ------------------------------------------------------------------------------------


def log_normal(mean: Tensor, cov: Tensor):
    law = torch.distributions.MultivariateNormal(mean, cov)
    return lambda x: law.log_prob(x.to(mean))


def gaussian_kl(mean_p: Tensor, cov_p: Tensor, mean_q: Tensor, cov_q: Tensor) -> float:
    gap = mean_q - mean_p
    inverse = torch.linalg.inv(cov_q)
    return (
        0.5
        * (
            (inverse @ cov_p).trace() + gap @ inverse @ gap - len(gap) + cov_q.logdet() - cov_p.logdet()
        ).item()
    )


P = (torch.tensor([0.3, -0.2], dtype=F64), torch.tensor([[0.5, 0.2], [0.2, 0.4]], dtype=F64))
Q = (torch.tensor([0.0, 0.4], dtype=F64), torch.tensor([[0.9, -0.1], [-0.1, 0.6]], dtype=F64))


def test_kl_by_quadrature_is_the_gaussian_closed_form():
    grid = metrics.grid_2d(-8, 8, 400, F64)
    got = metrics.kl_quadrature(log_normal(*P), log_normal(*Q), grid)
    assert got == pytest.approx(gaussian_kl(*P, *Q), rel=1e-8)
    shifted = metrics.kl_quadrature(lambda x: log_normal(*P)(x) + 5, lambda x: log_normal(*Q)(x) - 70, grid)
    assert shifted == pytest.approx(got, rel=1e-9)
    assert metrics.kl_quadrature(log_normal(*P), log_normal(*P), grid) == pytest.approx(0, abs=1e-12)


def test_kl_where_a_density_vanishes():
    grid = metrics.grid_2d(-1, 1, 20, F64)

    def left(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] < 0, 0.0, -math.inf)

    def everywhere(x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=F64)

    assert metrics.kl_quadrature(left, everywhere, grid) == pytest.approx(math.log(2))
    assert metrics.kl_quadrature(left, left, grid) == pytest.approx(0, abs=1e-12)
    assert metrics.kl_quadrature(everywhere, left, grid) == math.inf


def test_kl_from_samples_approaches_the_closed_form(generator):
    law = torch.distributions.MultivariateNormal(*P)
    torch.manual_seed(0)
    x = law.sample((8000,))
    assert metrics.kl_to_density(x, log_normal(*Q)) == pytest.approx(gaussian_kl(*P, *Q), abs=0.05)
    assert metrics.kl_to_density(x, log_normal(*P)) == pytest.approx(0, abs=0.05)
    one = torch.randn(8000, 1, generator=generator, dtype=F64)
    wide = log_normal(torch.zeros(1, dtype=F64), 4 * torch.eye(1, dtype=F64))
    assert metrics.kl_to_density(one, wide, k=3) == pytest.approx(math.log(2) - 0.375, abs=0.05)


def test_normalizer_of_the_tilted_density():
    m = datasets.three_gaussians(dtype=F64)
    grid = metrics.grid_2d(-6, 6, 300, F64)
    assert metrics.log_normalizer(lambda z: m.log_prob(z, 1.0, 0), grid) == pytest.approx(0, abs=1e-8)
    # w = 1 tilts p(z|c) by p(c|z): its mass is E_{p(z|c)} p(c|z), here from samples.
    mass = metrics.log_normalizer(lambda z: m.tilted_log_prob(z, 30.0, 0, 1.0), grid)
    x = m.sample(100_000, 0, Generator().manual_seed(0))
    assert math.exp(mass) == pytest.approx(m.class_log_prob(x, 30.0)[:, 0].exp().mean().item(), abs=0.005)


def test_grid_2d_lays_x_fastest_and_covers_the_square():
    grid = metrics.grid_2d(-1.0, 3.0, 4, F64)
    assert grid.points[:4].tolist() == [[-0.5, -0.5], [0.5, -0.5], [1.5, -0.5], [2.5, -0.5]]
    assert grid.cell * len(grid.points) == pytest.approx(16)
    assert torch.equal(grid.image(grid.points[:, 1])[:, 0], torch.tensor([-0.5, 0.5, 1.5, 2.5], dtype=F64))


# -- curl ------------------------------------------------------------------------------------------------------------


def field(function) -> NetDenoiser:
    return NetDenoiser(lambda z, lam, y: function(z), "eps")


def test_curl_of_known_fields():
    z = torch.randn(9, 2, dtype=F64)
    swirl = field(lambda z: torch.stack([-z[:, 1], z[:, 0]], 1))
    want = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=F64).expand(9, 2, 2)
    torch.testing.assert_close(metrics.curl(swirl, z, 0.0), want)
    gradient = field(lambda z: torch.stack([2 * z[:, 0] * z[:, 1], z[:, 0] ** 2], 1))  # of x²y
    torch.testing.assert_close(metrics.curl(gradient, z, 0.0), torch.zeros(9, 2, 2, dtype=F64))
    shear = field(lambda z: torch.stack([z[:, 1] ** 2, torch.zeros_like(z[:, 0])], 1))
    torch.testing.assert_close(metrics.curl(shear, z, 0.0)[:, 1, 0], -z[:, 1])


@pytest.mark.parametrize("d", [1, 3, 7])
def test_curl_of_a_linear_field_is_the_antisymmetric_part(d):
    matrix = torch.randn(d, d, dtype=F64)
    got = metrics.curl(field(lambda z: z @ matrix.mT), torch.randn(4, d, dtype=F64), 0.0)
    torch.testing.assert_close(got, (0.5 * (matrix - matrix.mT)).expand(4, d, d))


@pytest.mark.parametrize("w", [-1.0, 0.0, 3.0])
def test_exact_guidance_has_no_curl(random_mixture, w):
    m = random_mixture(dim=3)
    z = torch.randn(20, 3, dtype=F64)
    y = torch.arange(20) % 3
    for lam in (-5.0, 0.0, 5.0):
        got = metrics.curl(guidance.classifier_free(m, w=w), z, lam, y)
        assert got.abs().max().item() < 1e-10


def test_power_law_guidance_bends_an_exact_field(random_mixture):
    m = random_mixture()
    z, y = torch.randn(20, 2, dtype=F64), torch.arange(20) % 3
    assert metrics.curl(guidance.power_law(m, w=2.0, power=1.0), z, 0.0, y).abs().max().item() > 1e-3


def test_a_network_has_curl_and_two_measures_agree(generator):
    torch.manual_seed(0)
    net = nets.MLP(2, 3, width=16, depth=1).double()
    torch.nn.init.normal_(net.leave.weight)
    z, y = torch.randn(5, 2, dtype=F64), torch.tensor([0, 1, 2, -1, 0])
    whole = metrics.curl(NetDenoiser(net), z, 0.5, y)
    assert whole.flatten(1).norm(dim=1).min().item() > 1e-3
    torch.testing.assert_close(whole, -whole.mT)
    anti, _ = metrics.curl_norm(NetDenoiser(net), z, 0.5, y, probes=1, generator=generator)
    # In the plane ‖½(J − Jᵀ)u‖² is the same for every ±1 vector: one probe is exact.
    torch.testing.assert_close(anti, whole.flatten(1).norm(dim=1))


def test_curl_norm_estimates_frobenius_norms(generator):
    d = 6
    matrix = torch.randn(d, d, dtype=F64)
    anti, total = metrics.curl_norm(
        field(lambda z: z @ matrix.mT), torch.randn(3, d, dtype=F64), 0.0, probes=4000, generator=generator
    )
    torch.testing.assert_close(anti, (0.5 * (matrix - matrix.mT)).norm().expand(3), rtol=0.05, atol=0)
    torch.testing.assert_close(total, matrix.norm().expand(3), rtol=0.05, atol=0)


def test_curl_sees_the_field_of_an_image_shaped_denoiser():
    def denoiser(z, lam, y=None):
        return Prediction.from_eps(z, lam, z.flip(-1) * torch.tensor([1.0, -2.0], dtype=F64))

    got = metrics.curl(denoiser, torch.randn(2, 1, 1, 2, dtype=F64), 0.0)
    want = torch.tensor([[0.0, 1.5], [-1.5, 0.0]], dtype=F64).expand(2, 2, 2)
    torch.testing.assert_close(got, want)


def test_frechet_of_mixture_samples_approaches_the_exact_one(generator):
    m = datasets.overlapping(F64)
    exact = metrics.frechet_from_moments(*m.mean_cov(0), *m.mean_cov(1))
    got = metrics.frechet_distance(m.sample(50_000, 0, generator), m.sample(50_000, 1, generator))
    assert got == pytest.approx(exact, rel=0.03)
    same = GaussianMixture(m.means, m.covs, m.weights)
    assert metrics.frechet_from_moments(*m.mean_cov(), *same.mean_cov()) == pytest.approx(0, abs=1e-9)
