"""Guidance: identities bit for bit, the equalities that theory promises on mixtures, each rule against its source."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from cfgtoy import (
    NULL,
    GaussianMixture,
    NetDenoiser,
    Prediction,
    classifiers,
    datasets,
    guidance,
    logsnr,
    nets,
    samplers,
)
from tests.guidance.pyramid import pyramid_parts

F64 = torch.float64
LEVELS = [-20.0, -4.0, 0.0, 3.0, 12.0]


@pytest.fixture
def mixture(random_mixture):
    return random_mixture()


@pytest.fixture
def z() -> Tensor:
    return 1.5 * torch.randn(33, 2, generator=Generator().manual_seed(0), dtype=F64)


@pytest.fixture
def y(z) -> Tensor:
    return torch.arange(len(z)) % 3


class Network(torch.nn.Module):
    """An image-shaped toy whose output depends on everything it is told."""

    num_classes = 3

    def forward(self, z: Tensor, lam: Tensor, y: Tensor) -> Tensor:
        shape = (-1, *[1] * (z.ndim - 1))
        return torch.sin(z * (1 + y.reshape(shape)) + lam.reshape(shape) / 10) + 0.1 * z.flip(-1)


def mlp(kind: str = "eps") -> NetDenoiser:
    torch.manual_seed(0)
    net = nets.MLP(2, 3, width=32, depth=2)
    torch.nn.init.normal_(net.leave.weight, std=0.3)
    return NetDenoiser(net.eval(), kind)


# -- w = 0 and w = −1 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 7, 33, 1000])
@pytest.mark.parametrize(
    ("dim", "covariance"), [(1, "iso"), (2, "full"), (2, "diag"), (4, "full"), (20, "diag")]
)
def test_w_zero_and_minus_one_are_bitwise_on_a_mixture(random_mixture, dtype, size, dim, covariance):
    m = random_mixture(k=7, dim=dim, covariance=covariance, dtype=dtype)
    z, y = torch.randn(size, dim, dtype=dtype), torch.arange(size) % 3
    for lam in (-20.0, 0.3, torch.linspace(-20, 20, size, dtype=dtype)):
        conditional, unconditional = m(z, lam, y), m(z, lam)
        for weight in (0.0, torch.zeros(size)):
            assert torch.equal(guidance.classifier_free(m, w=weight)(z, lam, y).eps, conditional.eps)
            assert torch.equal(guidance.negative(m, w=weight, y_negative=1)(z, lam, y).eps, conditional.eps)
        for weight in (-1.0, -torch.ones(size)):
            assert torch.equal(guidance.classifier_free(m, w=weight)(z, lam, y).eps, unconditional.eps)
        exact = classifiers.ExactClassifier(m)
        assert torch.equal(guidance.classifier(m, exact, w=0.0)(z, lam, y).eps, conditional.eps)
        auto = guidance.auto(m, guidance.unconditional(m), w=0.0)
        assert torch.equal(auto(z, lam, y).eps, conditional.eps)
        auto = guidance.auto(m, guidance.unconditional(m), w=-1.0)
        assert torch.equal(auto(z, lam, y).eps, unconditional.eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_w_zero_and_minus_one_in_many_dimensions(random_mixture, dtype):
    """Above four dimensions full covariances take a matrix product, which rounds by the size of the batch."""
    m = random_mixture(dim=8, dtype=dtype)
    z, y = torch.randn(33, 8, dtype=dtype), torch.arange(33) % 3
    tight = {"rtol": 1e-13, "atol": 1e-13} if dtype == F64 else {"rtol": 1e-5, "atol": 1e-5}
    got = guidance.classifier_free(m, w=0.0)(z, 0.3, y).eps
    torch.testing.assert_close(got, m(z, 0.3, y).eps, **tight)
    got = guidance.classifier_free(m, w=-1.0)(z, 0.3, y).eps
    torch.testing.assert_close(got, m(z, 0.3).eps, **tight)


@pytest.mark.parametrize("kind", ["eps", "v", "x"])
@torch.no_grad()
def test_w_zero_and_minus_one_are_bitwise_on_a_network(kind):
    """Against the branches of one doubled batch: matrix products may round differently in batches of other sizes."""
    denoiser = mlp(kind)
    z, y = torch.randn(64, 2), torch.arange(64) % 3
    lam = torch.linspace(-20, 20, 64)
    both = denoiser(torch.cat([z, z]), torch.cat([lam, lam]), torch.cat([y, torch.full_like(y, NULL)]))
    conditional, unconditional = both.estimate.split(64)
    assert torch.equal(guidance.classifier_free(denoiser, w=0.0)(z, lam, y).estimate, conditional)
    assert torch.equal(guidance.classifier_free(denoiser, w=-1.0)(z, lam, y).estimate, unconditional)
    torch.testing.assert_close(conditional, denoiser(z, lam, y).estimate, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(unconditional, denoiser(z, lam, None).estimate, rtol=1e-5, atol=1e-6)


def test_cfg_makes_one_call_on_a_doubled_batch():
    calls = []

    def denoiser(z, lam, y=None):
        calls.append((len(z), y.tolist()))
        return Prediction.from_eps(z, lam, z)

    guidance.classifier_free(denoiser, w=2.0)(torch.randn(2, 2), torch.tensor(0.0), torch.tensor([1, 0]))
    assert calls == [(4, [1, 0, NULL, NULL])]


# -- what theory promises --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", LEVELS)
@pytest.mark.parametrize("w", [-1.0, 0.0, 0.7, 3.0, 20.0])
def test_classifier_guidance_by_the_exact_classifier_is_cfg(mixture, z, y, lam, w):
    cfg = guidance.classifier_free(mixture, w=w)(z, lam, y).score
    exact = classifiers.ExactClassifier(mixture)
    scale = 1e-8 * (1 + abs(w)) * (1 + cfg.abs())
    for chooser in (exact, mixture.class_log_prob):  # a closed-form gradient, and autograd
        got = guidance.classifier(mixture, chooser, w=w)(z, lam, y).score
        assert bool(((got - cfg).abs() <= scale).all())


@pytest.mark.parametrize("lam", LEVELS)
@pytest.mark.parametrize("w", [0.0, 1.0, 5.0])
def test_guiding_the_unconditional_with_w_plus_one_guides_the_conditional_with_w(mixture, z, y, lam, w):
    exact = classifiers.ExactClassifier(mixture)
    left = guidance.classifier(guidance.unconditional(mixture), exact, w=w + 1)(z, lam, y)
    right = guidance.classifier(mixture, exact, w=w)(z, lam, y)
    torch.testing.assert_close(left.eps, right.eps, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("lam", LEVELS)
def test_the_implicit_classifier_is_the_true_one(mixture, z, y, lam):
    leaf = z.clone().requires_grad_()
    log_class = mixture.class_log_prob(leaf, lam).gather(1, y[:, None]).sum()
    (true,) = torch.autograd.grad(log_class, leaf)
    implicit = guidance.implicit_classifier_grad(mixture, z, lam, y)
    torch.testing.assert_close(implicit, true, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(guidance.classifier_grad(mixture.class_log_prob, z, lam, y), true)
    own = classifiers.ExactClassifier(mixture)
    torch.testing.assert_close(guidance.classifier_grad(own, z, lam, y), true, rtol=1e-6, atol=1e-7)
    eps = mixture(z, lam, y).eps - mixture(z, lam).eps
    sigma = logsnr.alpha_sigma(torch.tensor(lam, dtype=F64))[1]
    torch.testing.assert_close(implicit, -eps / sigma, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("w", [0.0, 0.5, 4.0])
def test_the_guided_score_is_the_gradient_of_the_tilted_density(mixture, z, y, w):
    for lam in (-3.0, 0.0, 4.0):
        leaf = z.clone().requires_grad_()
        (grad,) = torch.autograd.grad(mixture.tilted_log_prob(leaf, lam, y, w).sum(), leaf)
        got = guidance.classifier_free(mixture, w=w)(z, lam, y).score
        torch.testing.assert_close(got, grad, rtol=1e-6, atol=1e-7)


def test_the_unconditional_score_need_not_be_trained(mixture, z, y):
    """Few classes: Σ_c p(c|z) ∇log p(z|c) is the unconditional score, so CFG can do without ∅."""
    lam = torch.tensor(0.5, dtype=F64)
    share = mixture.class_log_prob(z, lam).exp()

    def mixed(z, lam, y=None):
        eps = torch.stack([mixture(z, lam, c).eps for c in range(3)], 1)
        return Prediction.from_eps(z, lam, (share[..., None] * eps).sum(1))

    got = guidance.auto(mixture, mixed, w=2.0)(z, lam, y)
    torch.testing.assert_close(
        got.eps, guidance.classifier_free(mixture, w=2.0)(z, lam, y).eps, rtol=1e-7, atol=1e-8
    )


@pytest.mark.parametrize("kind", ["eps", "v", "x"])
@pytest.mark.parametrize("shape", [(6, 2), (6, 3, 4, 4)])
def test_cfg_is_its_formula_on_a_network_in_any_kind(kind, shape):
    denoiser = NetDenoiser(Network(), kind)
    z = torch.randn(shape, dtype=F64)
    lam = torch.linspace(-5, 5, 6, dtype=F64)
    y = torch.tensor([0, 1, 2, 0, NULL, 1])
    cond, uncond = denoiser(z, lam, y), denoiser(z, lam, None)
    got = guidance.classifier_free(denoiser, w=1.7)(z, lam, y)
    torch.testing.assert_close(got.eps, 2.7 * cond.eps - 1.7 * uncond.eps)
    torch.testing.assert_close(got.x, 2.7 * cond.x - 1.7 * uncond.x)
    torch.testing.assert_close(got.eps[4], uncond.eps[4])  # NULL stays NULL
    weights = torch.linspace(-1, 5, 6, dtype=F64)
    got = guidance.classifier_free(denoiser, w=weights)(z, lam, y)
    for i in range(6):
        torch.testing.assert_close(got.eps[i], (1 + weights[i]) * cond.eps[i] - weights[i] * uncond.eps[i])


@pytest.mark.parametrize("kind", ["eps", "v", "x", "score"])
def test_classifier_guidance_is_its_formula_in_any_kind(mixture, z, y, kind):
    lam = torch.linspace(-6, 6, len(z), dtype=F64)
    base = mixture(z, lam, y)

    def denoiser(z, lam, y=None):
        return Prediction(z, lam, base.as_kind(kind), kind)

    grad = mixture.score(z, lam, y) - mixture.score(z, lam)
    sigma = logsnr.alpha_sigma(lam)[1][:, None]
    got = guidance.classifier(denoiser, mixture.class_log_prob, w=1.3)(z, lam, y)
    assert got.kind == kind
    torch.testing.assert_close(got.eps, base.eps - 1.3 * sigma * grad, rtol=1e-6, atol=1e-7)


def test_a_null_sample_is_not_classified(mixture, z):
    y = torch.full((len(z),), NULL)
    for chooser in (classifiers.ExactClassifier(mixture), mixture.class_log_prob):
        assert not bool(guidance.classifier_grad(chooser, z, 0.0, y).any())
        assert torch.equal(guidance.classifier(mixture, chooser, w=3.0)(z, 0.0, y).eps, mixture(z, 0.0).eps)


def test_negative_guides_away_from_a_class(mixture, z):
    y = torch.zeros(len(z), dtype=torch.int64)
    got = guidance.negative(mixture, w=2.0, y_negative=1)(z, 0.5, y)
    torch.testing.assert_close(got.eps, 3 * mixture(z, 0.5, 0).eps - 2 * mixture(z, 0.5, 1).eps)
    same = guidance.negative(mixture, w=2.0, y_negative=NULL)(z, 0.5, y)
    assert torch.equal(same.eps, guidance.classifier_free(mixture, w=2.0)(z, 0.5, y).eps)


def test_auto_with_the_unconditional_as_bad_is_cfg(mixture, z, y):
    got = guidance.auto(mixture, guidance.unconditional(mixture), w=2.5)(z, 0.5, y)
    torch.testing.assert_close(got.eps, guidance.classifier_free(mixture, w=2.5)(z, 0.5, y).eps)
    # Two models that estimate different things.
    other = NetDenoiser(Network(), "x")
    got = guidance.auto(mixture, other, w=0.5)(z, 0.5, y)
    torch.testing.assert_close(
        got.eps, 1.5 * mixture(z, 0.5, y).eps - 0.5 * other(z, torch.tensor(0.5), y).eps
    )


def test_pair_answers_by_label(mixture, z):
    bad = NetDenoiser(Network(), "eps")
    both = guidance.pair(mixture, bad)
    y = torch.tensor([0, NULL, 2] * 11)
    lam = torch.tensor(0.5, dtype=F64)
    got = both(z, lam, y).eps
    torch.testing.assert_close(got[y != NULL], mixture(z, lam, y).eps[y != NULL])
    torch.testing.assert_close(got[y == NULL], bad(z, lam, None).eps[y == NULL])
    torch.testing.assert_close(both(z, lam).eps, bad(z, lam, None).eps)


def test_unconditional_ignores_the_class(mixture, z, y):
    assert torch.equal(guidance.unconditional(mixture)(z, 0.5, y).eps, mixture(z, 0.5).eps)


def test_scale_and_weight():
    assert guidance.w_from_scale(7.5) == 6.5
    assert guidance.scale_from_w(-1.0) == 0.0
    assert guidance.scale_from_w(guidance.w_from_scale(3.25)) == 3.25


# -- interval --------------------------------------------------------------------------------------------------------


def test_interval_switches_by_level(mixture, z, y):
    guided = guidance.classifier_free(mixture, w=3.0)
    switched = guidance.interval(guided, mixture, lo=-1.0, hi=2.0)
    for lam in (-1.5, -1.0, 0.0, 2.0, 2.5):
        want = guided if -1 <= lam <= 2 else mixture
        assert torch.equal(switched(z, torch.tensor(lam), y).eps, want(z, torch.tensor(lam), y).eps)
    lam = torch.linspace(-4, 4, len(z), dtype=F64)
    inside = (lam >= -1) & (lam <= 2)
    got = switched(z, lam, y).eps
    assert torch.equal(got[inside], guided(z, lam, y).eps[inside])
    assert torch.equal(got[~inside], mixture(z, lam, y).eps[~inside])
    everywhere = guidance.interval(guided, mixture, lo=-math.inf, hi=math.inf)
    assert torch.equal(everywhere(z, lam, y).eps, guided(z, lam, y).eps)


def test_interval_asks_only_whom_it_needs(mixture, z, y):
    def never(z, lam, y=None):
        raise AssertionError("asked outside its interval")

    guidance.interval(never, mixture, lo=0.0, hi=1.0)(z, torch.tensor(5.0), y)
    guidance.interval(mixture, never, lo=0.0, hi=1.0)(z, torch.tensor(0.5), y)


# -- rules that reshape the estimate: each written again here, sample by sample --------------------------------------

RULE_LEVELS = [-3.0, 0.0, 5.0]


def rows(mixture, z, y, lam):
    lam = torch.tensor(lam, dtype=F64)
    return mixture(z, lam, y), mixture(z, lam)


@pytest.mark.parametrize("lam", RULE_LEVELS)
def test_rescale_of_the_clean_estimate(mixture, z, y, lam):
    cond, _ = rows(mixture, z, y, lam)
    guided = guidance.classifier_free(mixture, w=4.0)
    raw = guided(z, lam, y).x
    for phi in (0.0, 0.4, 1.0):
        got = guidance.rescale(guided, mixture, phi=phi, on="x")(z, lam, y).x
        for i in range(len(z)):
            whole = raw[i] * (cond.x[i].norm() / raw[i].norm())
            torch.testing.assert_close(got[i], phi * whole + (1 - phi) * raw[i])
    full = guidance.rescale(guided, mixture, phi=1.0, on="x")(z, lam, y).x
    torch.testing.assert_close(full.norm(dim=1), cond.x.norm(dim=1))


@pytest.mark.parametrize("kind", ["x", "eps", "v", "flow"])
def test_rescale_of_the_models_own_output(kind):
    """Lin et al. match the standard deviation of what the network puts out, whatever that is."""
    denoiser = NetDenoiser(Network(), kind)
    z, y, lam = (
        torch.randn(5, 3, 4, 4, dtype=F64),
        torch.tensor([0, 1, 2, 0, 1]),
        torch.tensor(0.7, dtype=F64),
    )
    guided = guidance.classifier_free(denoiser, w=4.0)
    raw, cond = guided(z, lam, y).estimate, denoiser(z, lam, y).estimate
    for phi in (0.0, 0.4, 1.0):
        got = guidance.rescale(guided, denoiser, phi=phi)(z, lam, y)
        assert got.kind == kind
        for i in range(5):
            whole = raw[i] * (cond[i].std() / raw[i].std())
            torch.testing.assert_close(got.estimate[i], phi * whole + (1 - phi) * raw[i])


def test_rescale_leaves_a_sample_of_one_entry_alone(random_mixture):
    m = random_mixture(dim=1)
    z, y = torch.randn(4, 1, dtype=F64), torch.tensor([0, 1, 2, NULL])
    guided = guidance.classifier_free(m, w=3.0)
    torch.testing.assert_close(guidance.rescale(guided, m)(z, 0.5, y).x, guided(z, 0.5, y).x)


@pytest.mark.parametrize("lam", RULE_LEVELS)
def test_apg(mixture, z, y, lam):
    cond, uncond = rows(mixture, z, y, lam)
    plain = guidance.apg(mixture, w=2.0, eta=1.0)(z, lam, y)
    torch.testing.assert_close(plain.x, guidance.classifier_free(mixture, w=2.0)(z, lam, y).x)
    across = guidance.apg(mixture, w=2.0, eta=0.0)(z, lam, y)
    shift = across.x - cond.x
    assert ((shift * cond.x).sum(1).abs() <= 1e-9 * (1 + cond.x.norm(dim=1) * shift.norm(dim=1))).all()
    got = guidance.apg(mixture, w=2.0, eta=0.3, threshold=0.05)(z, lam, y).x
    for i in range(len(z)):
        delta = cond.x[i] - uncond.x[i]
        delta = delta * min(1.0, 0.05 / delta.norm().item())
        unit = cond.x[i] / cond.x[i].norm()
        along = (delta @ unit) * unit
        torch.testing.assert_close(got[i], cond.x[i] + 2 * ((delta - along) + 0.3 * along))


@pytest.mark.parametrize("method", ["ddim", "heun"])
def test_apgs_momentum_sums_over_levels(mixture, z, y, method):
    """Against a loop that keeps every Δ and sums them anew; a level that Heun asks at twice counts once."""
    grid, beta, made = torch.linspace(-3, 5, 6, dtype=F64), -0.4, {}

    def slow(z, lam, y):
        cond, uncond = rows(mixture, z, y, lam.item())
        made[lam.item()] = cond.x - uncond.x
        levels = [at for at in made if at <= lam.item()]
        total = sum(beta ** (len(levels) - 1 - i) * made[at] for i, at in enumerate(levels))
        unit = cond.x / cond.x.norm(dim=1, keepdim=True)
        along = (total * unit).sum(1, keepdim=True) * unit
        return Prediction.from_x(z, lam, cond.x + 2.0 * (total - along) + 2.0 * 0.3 * along)

    want = samplers.sample(slow, y, shape=z.shape, z=z, grid=grid, method=method)
    denoiser = guidance.apg(mixture, w=2.0, eta=0.3, momentum=beta)
    for _ in range(2):  # a second batch starts afresh
        got = samplers.sample(denoiser, y, shape=z.shape, z=z, grid=grid, method=method)
        torch.testing.assert_close(got, want)
    plain = samplers.sample(
        guidance.apg(mixture, w=2.0, eta=0.3), y, shape=z.shape, z=z, grid=grid, method=method
    )
    assert (got - plain).abs().max() > 0.01
    still = samplers.sample(
        guidance.apg(mixture, w=0.0, momentum=beta), y, shape=z.shape, z=z, grid=grid, method=method
    )
    torch.testing.assert_close(
        still, samplers.sample(mixture, y, shape=z.shape, z=z, grid=grid, method=method)
    )


@pytest.mark.parametrize("momentum", [1.0, -1.5, math.nan])
def test_a_momentum_that_does_not_fade_is_refused(mixture, momentum):
    with pytest.raises(ValueError, match=r"^momentum: got "):
        guidance.apg(mixture, w=1.0, momentum=momentum)


def test_zero_init_stands_still_in_the_first_steps(mixture, z, y):
    """Against Euler steps in t from the first level that moves, with the velocities written out."""
    t = torch.linspace(0.95, 0.02, 12, dtype=F64)
    grid = logsnr.from_flow_time(t)
    guided = guidance.classifier_free(mixture, w=1.5)
    for k in (0, 1, 3):
        until = grid[k - 1].item() if k else -math.inf
        denoiser = guidance.zero_init(guided, until=until)
        got = samplers.sample(denoiser, y, shape=z.shape, z=z, grid=grid, method="ddim")
        at = logsnr.to_flow(z, grid[0])  # z_t
        for i in range(k, len(t)):
            lam = grid[i]
            u = guided(logsnr.from_flow(at, lam), lam, y).flow
            at = at + ((t[i + 1] if i + 1 < len(t) else 0) - t[i]) * u
        torch.testing.assert_close(got, at)


def test_zero_init_sample_by_sample(mixture, z, y):
    lam = torch.linspace(-4, 4, len(z), dtype=F64)
    got = guidance.zero_init(mixture, until=0.0)(z, lam, y).flow
    assert (got[lam <= 0] == 0).all()
    torch.testing.assert_close(got[lam > 0], mixture(z, lam, y).flow[lam > 0])
    asked = []

    def noted(z, lam, y):
        asked.append(lam)
        return mixture(z, lam, y)

    guidance.zero_init(noted, until=0.0)(z, torch.tensor(-1.0, dtype=F64), y)
    assert not asked
    for until in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^until: got "):
            guidance.zero_init(mixture, until=until)


@pytest.mark.parametrize("lam", RULE_LEVELS)
def test_power_law(mixture, z, y, lam):
    cond, uncond = rows(mixture, z, y, lam)
    plain = guidance.power_law(mixture, w=2.0, power=0.0)(z, lam, y)
    torch.testing.assert_close(plain.eps, guidance.classifier_free(mixture, w=2.0)(z, lam, y).eps)
    for power in (-0.5, 0.9):
        got = guidance.power_law(mixture, w=2.0, power=power)(z, lam, y).score
        delta = cond.score - uncond.score
        for i in range(len(z)):
            torch.testing.assert_close(got[i], cond.score[i] + 2 * delta[i].norm() ** power * delta[i])


@pytest.mark.parametrize("power", [-0.5, 0.0, 2.0])
def test_power_law_where_the_branches_agree(z, power):
    same = NetDenoiser(lambda z, lam, y: torch.sin(z), "eps")
    got = guidance.power_law(same, w=3.0, power=power)(z, torch.tensor(0.0), torch.zeros(len(z), dtype=int))
    torch.testing.assert_close(got.eps, torch.sin(z))


@pytest.mark.parametrize("lam", RULE_LEVELS)
def test_cfg_zero_star(mixture, z, y, lam):
    cond, uncond = rows(mixture, z, y, lam)
    got = guidance.cfg_zero_star(mixture, w=2.0)(z, lam, y).flow
    for i in range(len(z)):
        fit = torch.linalg.lstsq(uncond.flow[i][:, None], cond.flow[i][:, None]).solution.item()
        torch.testing.assert_close(got[i], 3 * cond.flow[i] - 2 * fit * uncond.flow[i])
    assert torch.equal(guidance.cfg_zero_star(mixture, w=0.0)(z, lam, y).eps, cond.eps)


@given(quantile=st.floats(0, 1), floor=st.floats(0.1, 3), seed=st.integers(0, 100))
def test_dynamic_threshold(quantile, floor, seed):
    g = Generator().manual_seed(seed)
    x = 3 * torch.randn(4, 3, 5, generator=g, dtype=F64)
    z = torch.randn(4, 3, 5, generator=g, dtype=F64)

    def denoiser(z, lam, y=None):
        return Prediction.from_x(z, lam, x)

    got = guidance.dynamic_threshold(denoiser, quantile=quantile, floor=floor)(z, torch.tensor(0.3)).x
    for i in range(4):
        s = max(floor, torch.quantile(x[i].abs(), quantile).item())
        torch.testing.assert_close(got[i], x[i].clip(-s, s) / s * floor)
    assert got.abs().max().item() <= floor * (1 + 1e-12)


def test_dynamic_threshold_leaves_small_samples_alone(z):
    def denoiser(z, lam, y=None):
        return Prediction.from_x(z, lam, 0.2 * torch.tanh(z))

    got = guidance.dynamic_threshold(denoiser, floor=1.0)(z, torch.tensor(0.0)).x
    torch.testing.assert_close(got, 0.2 * torch.tanh(z))


@pytest.mark.parametrize("scale", [0.0, 0.4, 1.0])
def test_cfg_plus_plus_is_its_own_ddim_rule(mixture, scale):
    """The source's rule, written out: x̂ guided by interpolation, renoised with the unconditional ε̂."""
    grid = torch.linspace(-8, 8, 24, dtype=F64)
    z = torch.randn(17, 2, dtype=F64)
    y = torch.arange(17) % 3
    alpha, sigma = logsnr.alpha_sigma(grid)
    want = z
    for i, lam in enumerate(grid):
        cond, uncond = mixture(want, lam, y), mixture(want, lam)
        eps = uncond.eps + scale * (cond.eps - uncond.eps)
        x = (want - sigma[i] * eps) / alpha[i]
        want = x if i + 1 == len(grid) else alpha[i + 1] * x + sigma[i + 1] * uncond.eps
    guided = guidance.cfg_plus_plus(mixture, scale=scale, grid=grid)
    got = samplers.sample(guided, y, shape=(17, 2), grid=grid, method="ddim", z=z)
    torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-7)


def test_cfg_plus_plus_finds_its_level_from_either_side(mixture, z, y):
    grid = torch.linspace(-4, 4, 9)
    guided = guidance.cfg_plus_plus(mixture, scale=0.6, grid=grid)
    want = guided(z, torch.tensor(1.0), y).eps
    for lam in (1.0 - 2e-7, 1.0 + 2e-7):
        torch.testing.assert_close(guided(z, torch.tensor(lam, dtype=F64), y).eps, want, rtol=1e-5, atol=1e-5)
    each = guided(z, grid[torch.arange(len(z)) % 9], y).eps
    torch.testing.assert_close(each[5::9], want[5::9])


@pytest.mark.parametrize(
    "rule",
    [
        lambda m: guidance.apg(m, w=0.0),
        lambda m: guidance.power_law(m, w=0.0, power=0.5),
        lambda m: guidance.rescale(guidance.classifier_free(m, w=0.0), m, phi=1.0),
        lambda m: guidance.dynamic_threshold(m, quantile=1.0, floor=1e6),
        lambda m: guidance.interval(guidance.classifier_free(m, w=9.0), m, lo=50.0, hi=60.0),
    ],
    ids=["apg", "power-law", "rescale", "dynamic-threshold", "interval"],
)
def test_every_rule_reduces_to_the_conditional_model(mixture, z, y, rule):
    for lam in (-5.0, 0.0, 5.0):
        torch.testing.assert_close(rule(mixture)(z, lam, y).x, mixture(z, lam, y).x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "rule",
    [
        lambda m: guidance.classifier_free(m, w=2.0),
        lambda m: guidance.classifier(m, m.class_log_prob, w=2.0),
        lambda m: guidance.negative(m, w=2.0, y_negative=0),
        lambda m: guidance.auto(m, guidance.unconditional(m), w=2.0),
        lambda m: guidance.interval(guidance.classifier_free(m, w=2.0), m, lo=-1.0, hi=1.0),
        lambda m: guidance.rescale(guidance.classifier_free(m, w=2.0), m),
        lambda m: guidance.apg(m, w=2.0, threshold=1.0),
        lambda m: guidance.power_law(m, w=2.0, power=0.5),
        lambda m: guidance.cfg_plus_plus(m, scale=0.5, grid=torch.tensor([-6.0, -3.0, 0.0, 3.0])),
        lambda m: guidance.cfg_zero_star(m, w=2.0),
        lambda m: guidance.dynamic_threshold(guidance.classifier_free(m, w=2.0)),
    ],
    ids=[
        "cfg",
        "cg",
        "negative",
        "auto",
        "interval",
        "rescale",
        "apg",
        "power-law",
        "cfg++",
        "cfg-zero*",
        "threshold",
    ],
)
def test_one_level_a_sample_equals_one_at_a_time_for_every_rule(mixture, rule):
    z = torch.randn(4, 2, dtype=F64)
    lam = torch.tensor([-6.0, -3.0, 0.0, 3.0], dtype=F64)
    y = torch.tensor([0, 1, 2, NULL])
    guided = rule(mixture)
    together = guided(z, lam, y).eps
    for i in range(4):
        alone = guided(z[i : i + 1], lam[i], y[i : i + 1]).eps[0]
        torch.testing.assert_close(together[i], alone, rtol=1e-9, atol=1e-9)


def test_gaussian_pair_is_two_exact_gaussians():
    pair = datasets.gaussian_pair(1.0, 2.0, dtype=F64)
    z = torch.linspace(-3, 3, 7, dtype=F64)[:, None]
    lam = torch.tensor(0.4, dtype=F64)
    alpha2, sigma2 = torch.sigmoid(lam), torch.sigmoid(-lam)
    zeros = torch.zeros(7, dtype=torch.int64)
    torch.testing.assert_close(pair(z, lam, zeros).score, -z / (alpha2 + sigma2))
    torch.testing.assert_close(pair(z, lam).score, -z / (2 * alpha2 + sigma2))


# -- tangential damping ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", LEVELS)
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_tcfg_is_the_singular_value_decomposition(random_mixture, lam, dim):
    m = random_mixture(dim=dim)
    z, y = 1.5 * torch.randn(40, dim, dtype=F64), torch.arange(40) % 3
    cond, uncond = m(z, lam, y).eps, m(z, lam).eps
    d = torch.linalg.svd(torch.stack([cond, uncond], 1), full_matrices=False).Vh[:, 0]
    damped = (uncond * d).sum(1, keepdim=True) * d
    torch.testing.assert_close(guidance.tcfg(m, w=2.0)(z, lam, y).eps, cond + 2.0 * (cond - damped))
    assert torch.equal(guidance.tcfg(m, w=0.0)(z, lam, y).eps, cond)


def test_tcfg_where_the_branches_point_apart():
    """Opposed branches share one line: nothing is dropped."""
    z, y = torch.randn(6, 4, dtype=F64), torch.zeros(6, dtype=torch.int64)

    def opposed(z, lam, y=None):
        sign = torch.where((torch.full((len(z),), NULL) if y is None else y) >= 0, 1.0, -1.0)
        return Prediction(z, lam, sign[:, None] * z, "eps")

    torch.testing.assert_close(guidance.tcfg(opposed, w=2.0)(z, torch.tensor(0.0), y).eps, 5 * z)


# -- a weight that shrinks with the difference -----------------------------------------------------------------------


@pytest.mark.parametrize("lam", LEVELS)
def test_mambo_g(mixture, z, y, lam):
    cond, uncond = mixture(z, lam, y).flow, mixture(z, lam).flow
    ratio = (cond - uncond).norm(dim=1, keepdim=True) / uncond.norm(dim=1, keepdim=True)
    got = guidance.mambo_g(mixture, w=2.0, alpha=3.0)(z, lam, y).flow
    torch.testing.assert_close(got, cond + 2.0 * torch.exp(-3.0 * ratio) * (cond - uncond))
    plain = guidance.classifier_free(mixture, w=2.0)(z, lam, y).x
    torch.testing.assert_close(guidance.mambo_g(mixture, w=2.0, alpha=0.0)(z, lam, y).x, plain)
    assert torch.equal(guidance.mambo_g(mixture, w=0.0)(z, lam, y).eps, mixture(z, lam, y).eps)


# -- a weight over the noise levels ----------------------------------------------------------------------------------

# At the start, a quarter, the middle and the end of the range.
SHAPES = {
    "constant": (1.0, 1.0, 1.0, 1.0),
    "linear": (0.0, 0.5, 1.0, 2.0),
    "cosine": (0.0, 1 - math.sqrt(0.5), 1.0, 2.0),
    "falling": (2.0, 1.5, 1.0, 0.0),
    "beta": (0.0, 1.125, 1.5, 0.0),
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_weight_schedule(mixture, z, y, shape):
    """CFG at the weight of the level, one level for all and one a sample; the ends hold outside the range."""
    guided = guidance.weight_schedule(mixture, w=3.0, shape=shape, lo=-4.0, hi=8.0)
    start, quarter, middle, end = SHAPES[shape]
    levels = {-4.0: start, -1.0: quarter, 2.0: middle, 8.0: end, -30.0: start, 11.0: end}
    for lam, share in levels.items():
        want = guidance.classifier_free(mixture, w=3.0 * share)(z, lam, y)
        torch.testing.assert_close(guided(z, lam, y).x, want.x)
    lam = torch.tensor(list(levels), dtype=F64).repeat(6)[: len(z)]
    w = 3.0 * torch.tensor(list(levels.values()), dtype=F64).repeat(6)[: len(z)]
    want = guidance.classifier_free(mixture, w=w)(z, lam, y)
    torch.testing.assert_close(guided(z, lam, y).x, want.x)
    unguided = guidance.weight_schedule(mixture, w=0.0, shape=shape)(z, lam, y)
    assert torch.equal(unguided.eps, mixture(z, lam, y).eps)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_a_weight_schedules_mean_is_w(shape):
    """Branches that differ by one: the push is the weight itself; midpoints of the range."""
    levels = -4 + 12 * (torch.arange(4000, dtype=F64) + 0.5) / 4000
    z, y = torch.zeros(4000, 1, dtype=F64), torch.zeros(4000, dtype=torch.int64)

    def denoiser(z, lam, y):
        return Prediction(z, lam, (y >= 0).to(z)[:, None], "eps")

    got = guidance.weight_schedule(denoiser, w=3.0, shape=shape, lo=-4.0, hi=8.0)(z, levels, y).eps
    torch.testing.assert_close(got.mean().item(), 1 + 3.0, rtol=1e-6, atol=0)


# -- until the answers agree -----------------------------------------------------------------------------------------


def counted(denoiser):
    asked = []

    def counting(z, lam, y=None):
        asked.append(len(z))
        return denoiser(z, lam, y)

    return counting, asked


def test_adaptive_is_cfg_sample_by_sample_until_it_is_the_model(mixture, z, y):
    """Beside a loop that decides for each sample by hand."""
    model, asked = counted(mixture)
    guided = guidance.adaptive(model, w=2.0, threshold=0.95)
    done, price = torch.zeros(len(z), dtype=torch.bool), 0
    for lam in (-6.0, -2.0, 0.0, 1.0, 2.0, 4.0, 9.0):
        cond, uncond = mixture(z, lam, y), mixture(z, lam)
        plain = guidance.classifier_free(mixture, w=2.0)(z, lam, y).x
        want = torch.where(done[:, None], cond.x, plain)
        price += 2 * len(z) - int(done.sum())
        torch.testing.assert_close(guided(z, lam, y).x, want)
        done |= torch.cosine_similarity(cond.x, uncond.x) > 0.95
    assert sum(asked) == price < 2 * 7 * len(z)
    # A lower level is another run.
    asked.clear()
    plain = guidance.classifier_free(mixture, w=2.0)(z, -6.0, y).x
    torch.testing.assert_close(guided(z, -6.0, y).x, plain)
    assert asked == [2 * len(z)]


def test_adaptive_on_noise_stops_before_it_starts(mixture, z, y):
    """In pure noise both ε are z: they agree, though x̂ do not."""
    cond, uncond = mixture(z, -18.0, y), mixture(z, -18.0)
    for on in ("eps", "x"):
        model, asked = counted(mixture)
        guided = guidance.adaptive(model, w=2.0, on=on)
        guided(z, -18.0, y)
        guided(z, -4.0, y)
        agree = torch.cosine_similarity(getattr(cond, on), getattr(uncond, on)) > 0.991
        assert asked == [2 * len(z), 2 * len(z) - int(agree.sum())]
        assert bool(agree.all()) == (on == "eps")


@pytest.mark.parametrize("w", [0.0, 2.0])
def test_adaptive_that_never_agrees_is_cfg(mixture, z, y, w):
    guided = guidance.adaptive(mixture, w=w, threshold=1.0)
    for lam in LEVELS:
        plain = guidance.classifier_free(mixture, w=w)(z, lam, y).x
        torch.testing.assert_close(guided(z, lam, y).x, plain)


# -- two bands of frequency ------------------------------------------------------------------------------------------


def pyramid_matrix(n: int) -> Tensor:
    """Blur, halve, double, blur of n pixels in a row, (n, n)."""
    down, up = pyramid_parts(n)
    return up @ down


@pytest.mark.parametrize("w", [0.0, 3.0])
def test_frequency_decoupled(w):
    z, a, b = torch.randn(3, 4, 2, 8, 12, dtype=F64)

    def denoiser(z, lam, y):
        reps = len(z) // 4
        known = (y >= 0)[:, None, None, None]
        return Prediction(z, lam, torch.where(known, a.repeat(reps, 1, 1, 1), b.repeat(reps, 1, 1, 1)), "v")

    y, lam = torch.zeros(4, dtype=torch.int64), torch.tensor(0.3, dtype=F64)
    got = guidance.frequency_decoupled(denoiser, w=w, low=0.2)(z, lam, y).estimate
    coarse = pyramid_matrix(8) @ (a - b) @ pyramid_matrix(12).mT
    torch.testing.assert_close(got, a + w * (a - b - coarse) + 0.2 * w * coarse)
    plain = guidance.frequency_decoupled(denoiser, w=w, low=1.0)(z, lam, y).estimate
    torch.testing.assert_close(plain, a + w * (a - b))


def test_points_have_no_frequencies(mixture, z, y):
    got = guidance.frequency_decoupled(mixture, w=2.0, low=0.5)(z, 0.3, y).x
    torch.testing.assert_close(got, guidance.classifier_free(mixture, w=1.0)(z, 0.3, y).x)


# -- sums of pushes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", LEVELS)
def test_total_lies_between_cfg_and_autoguidance(mixture, random_mixture, z, y, lam):
    bad = random_mixture(k=5)
    got = guidance.total(mixture, bad, w=2.0, share=0.25)(z, lam, y).eps
    cond, uncond, worse = mixture(z, lam, y).eps, mixture(z, lam).eps, bad(z, lam, y).eps
    torch.testing.assert_close(got, cond + 1.5 * (cond - uncond) + 0.5 * (cond - worse))
    ends = guidance.classifier_free(mixture, w=2.0), guidance.auto(mixture, bad, w=2.0)
    for share, end in zip((0.0, 1.0), ends, strict=True):
        got = guidance.total(mixture, bad, w=2.0, share=share)(z, lam, y).x
        torch.testing.assert_close(got, end(z, lam, y).x)
    assert torch.equal(guidance.total(mixture, bad, w=0.0)(z, lam, y).eps, cond)


def pair_of_conditions(tied: bool):
    """Four components at (±1, ±1); condition 1 is the first sign, condition 2 the second."""
    means = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=F64)
    weights = torch.tensor([0.4, 0.1, 0.1, 0.4] if tied else [0.25] * 4, dtype=F64)
    whole = GaussianMixture(means, 0.1, weights, torch.zeros(4, dtype=torch.int64))

    def part(own):
        return GaussianMixture(means[own], 0.1, weights[own], torch.zeros(len(own), dtype=torch.int64))

    return whole, [part([0, 1]), part([0, 2])], part([0])


@pytest.mark.parametrize("lam", [-4.0, 0.0, 3.0])
def test_several_conditions_are_exact_where_noise_leaves_them_independent(lam):
    z = torch.randn(50, 2, dtype=F64)
    for tied in (False, True):
        whole, each, both = pair_of_conditions(tied)
        got = guidance.several(whole, each, w=[0.0, 0.0])(z, lam).eps
        gap = (got - both(z, lam).eps).abs().max().item()
        assert gap < 1e-9 if not tied else gap > 1e-2


# -- coefficients from data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [-20.0, -2.0, 0.0, 3.0])
def test_recfg_does_nothing_between_centred_gaussians(lam):
    """ε_c = (v/v_c) z σ and ε_∅ likewise: the fit is perfect, so no weight guides."""
    m = datasets.gaussian_pair(dtype=F64)
    x = torch.randn(500, 1, dtype=F64)
    z, y, level = (
        torch.randn(9, 1, dtype=F64),
        torch.zeros(9, dtype=torch.int64),
        torch.tensor(lam, dtype=F64),
    )
    ratios = guidance.Ratios(m, x, torch.zeros(500, dtype=torch.int64))
    got = guidance.recfg(m, w=5.0, ratios=ratios)(z, level, y).x
    torch.testing.assert_close(got, m(z, level, y).x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("lam", [-3.0, 0.0, 2.0])
def test_recfgs_ratio_is_the_exact_one(mixture, lam):
    """E[ε_c ε_∅] = −σ² E[∂s_∅] over the class, by parts: no conditional estimate comes into it."""
    level = torch.tensor(lam, dtype=F64)
    alpha, sigma = logsnr.alpha_sigma(level)
    x = mixture.sample(200_000, 1, Generator().manual_seed(0))
    y = torch.ones(len(x), dtype=torch.int64)
    ratios = guidance.Ratios(mixture, x, y, n=len(x))
    z = (
        alpha * x + sigma * torch.randn(x.shape, generator=Generator().manual_seed(7), dtype=F64)
    ).requires_grad_()
    score = mixture(z, level).score
    slopes = [torch.autograd.grad(score[:, i].sum(), z, retain_graph=True)[0][:, i] for i in range(2)]
    want = -torch.stack([s.mean() for s in slopes]) / score.detach().square().mean(0)
    slope = mixture(z.detach()[:1], level, y[:1]).slope("eps")
    got = 1 - slope * ratios(level, y[:1])[0]
    torch.testing.assert_close(got.squeeze(), want, rtol=0.02, atol=0.02)
    with pytest.raises(ValueError, match=r"^y: got class 2, takes"):
        ratios(level, y[:1] + 1)


def test_recfg_with_nothing_to_add_is_cfg(mixture, z, y):
    plain = guidance.classifier_free(mixture, w=2.0)(z, 0.3, y).x
    got = guidance.recfg(mixture, w=2.0, ratios=lambda lam, y: torch.zeros(len(y), 1))(z, 0.3, y).x
    torch.testing.assert_close(got, plain)
