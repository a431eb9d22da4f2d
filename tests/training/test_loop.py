"""Training: the objective against hand-written ones and its known optimum, the average of weights, nets that learn."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Generator, Tensor

from cfgtoy import NULL, GaussianMixture, NetDenoiser, Prediction, classifiers, datasets, nets, training
from cfgtoy.schedules import Cosine, LogNormal, Uniform

F64 = torch.float64


# -- dropping labels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_labels_are_dropped_at_the_stated_rate(p, generator):
    y = torch.arange(50_000) % 7
    dropped = training.drop_labels(y, p, generator)
    gone = dropped == NULL
    assert gone.double().mean().item() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / len(y)))
    assert torch.equal(dropped[~gone], y[~gone])
    if 0 < p < 1:  # whatever the class, and sample by sample
        for c in range(7):
            assert gone[y == c].double().mean().item() == pytest.approx(p, abs=0.03)
        both = (gone[1:] & gone[:-1]).double().mean().item()
        assert both == pytest.approx(p * p, abs=0.02)


def test_the_loss_drops_labels(generator):
    seen = []

    def denoiser(z, lam, y=None):
        seen.append(y)
        return Prediction.from_eps(z, lam, z)

    y = torch.arange(4000) % 3
    training.diffusion_loss(
        denoiser, torch.randn(4000, 2), y, schedule=Cosine(), p_uncond=0.25, generator=generator
    )
    assert (seen[0] == NULL).double().mean().item() == pytest.approx(0.25, abs=0.035)
    training.diffusion_loss(denoiser, torch.randn(4000, 2), None, schedule=Cosine(), generator=generator)
    assert seen[1] is None


# -- the objective ---------------------------------------------------------------------------------------------------


def replay(x: Tensor, lam: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """z and ε as the loss draws them when λ is given: the noise is the generator's first draw."""
    noise = torch.randn(x.shape, generator=Generator().manual_seed(seed), dtype=x.dtype)
    return torch.sigmoid(lam).sqrt()[:, None] * x + torch.sigmoid(-lam).sqrt()[:, None] * noise, noise


@pytest.mark.parametrize("kind", ["eps", "v", "x"])
@pytest.mark.parametrize("target", ["eps", "v", "x", "score", "flow"])
def test_the_loss_is_the_squared_error_of_its_target(kind, target):
    x = torch.randn(64, 2, dtype=F64)
    lam = torch.linspace(-5, 5, 64, dtype=F64)
    denoiser = NetDenoiser(lambda z, lam, y: torch.sin(z), kind)
    loss = training.diffusion_loss(
        denoiser, x, schedule=Cosine(), target=target, logsnr=lam, generator=Generator().manual_seed(4)
    )
    z, noise = replay(x, lam, 4)
    alpha, sigma = torch.sigmoid(lam).sqrt()[:, None], torch.sigmoid(-lam).sqrt()[:, None]
    truth = {
        "eps": noise,
        "x": x,
        "v": alpha * noise - sigma * x,
        "score": -noise / sigma,
        "flow": noise - x,
    }[target]
    want = (denoiser(z, lam).as_kind(target) - truth).square().mean(1)
    torch.testing.assert_close(loss.double(), want, rtol=1e-4, atol=1e-6)


def test_targets_differ_by_known_weights():
    """One error, three scales: ‖ε̂−ε‖² = α² ‖v̂−v‖² and ‖x̂−x‖² = σ² ‖v̂−v‖² at each level."""
    x = torch.randn(64, 3, dtype=F64)
    lam = torch.linspace(-6, 6, 64, dtype=F64)
    denoiser = NetDenoiser(lambda z, lam, y: torch.cos(z), "v")
    eps, v, clean = (
        training.diffusion_loss(
            denoiser, x, schedule=Cosine(), target=t, logsnr=lam, generator=Generator().manual_seed(0)
        ).double()
        for t in ("eps", "v", "x")
    )
    torch.testing.assert_close(eps, torch.sigmoid(lam) * v, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(clean, torch.sigmoid(-lam) * v, rtol=1e-5, atol=1e-9)
    weighted = training.diffusion_loss(
        denoiser, x, schedule=Cosine(), target="v", weighting=torch.sigmoid, logsnr=lam,
        generator=Generator().manual_seed(0),
    )  # fmt: skip
    torch.testing.assert_close(weighted.double(), eps, rtol=1e-5, atol=1e-9)


def test_the_exact_denoiser_is_the_optimum():
    """At E[ε|z] the loss has no slope along any direction, and stands at E Var[ε|z] (known for one Gaussian)."""
    var = 0.4
    m = GaussianMixture(torch.zeros(1, 1, dtype=F64), var)
    n = 200_000
    x = m.sample(n, generator=Generator().manual_seed(0))
    lam = torch.full((n,), 0.7, dtype=F64)

    def loss(push: Tensor) -> Tensor:
        def denoiser(z, lam, y=None):
            eps = m(z, lam).eps
            return Prediction.from_eps(z, lam, eps + push[0] + push[1] * z + push[2] * z**2)

        return training.diffusion_loss(
            denoiser, x, schedule=Cosine(), logsnr=lam, generator=Generator().manual_seed(1)
        ).mean()

    push = torch.zeros(3, dtype=F64, requires_grad=True)
    value = loss(push)
    (slope,) = torch.autograd.grad(value, push)
    assert slope.abs().max().item() < 0.02
    alpha2, sigma2 = torch.sigmoid(lam[0]).item(), torch.sigmoid(-lam[0]).item()
    assert value.item() == pytest.approx(alpha2 * var / (alpha2 * var + sigma2), rel=0.02)
    for direction in torch.eye(3, dtype=F64):
        for sign in (-0.2, 0.2):
            assert loss(sign * direction).item() > value.item()


def test_the_loss_draws_levels_from_the_schedule():
    seen = []

    def denoiser(z, lam, y=None):
        seen.append(lam)
        return Prediction.from_eps(z, lam, z)

    schedule = LogNormal()
    x = torch.zeros(5000, 1)
    training.diffusion_loss(denoiser, x, schedule=schedule, generator=Generator().manual_seed(0))
    u = schedule.u(seen[0].double()).sort().values
    torch.testing.assert_close(u, (torch.arange(5000, dtype=F64) + 0.5) / 5000, rtol=0, atol=3e-4)


def test_the_loss_differentiates_to_the_network():
    net = nets.MLP(2, 3, width=8, depth=1)
    y = torch.arange(32) % 3
    loss = training.diffusion_loss(NetDenoiser(net), torch.randn(32, 2), y, schedule=Uniform()).mean()
    loss.backward()
    assert net.leave.weight.grad.abs().sum().item() > 0


# -- the average of the weights --------------------------------------------------------------------------------------


def test_ema_is_a_hand_loop():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    ema = training.EMA(net, 0.9)
    mine = [p.detach().clone() for p in net.parameters()]
    for step in range(1, 200):
        with torch.no_grad():
            for p in net.parameters():
                p.add_(torch.randn_like(p))
            net[1].running_mean.add_(1.0)
        ema.update()
        decay = min(0.9, (1 + step) / (10 + step))
        mine = [decay * a + (1 - decay) * p.detach() for a, p in zip(mine, net.parameters(), strict=True)]
    for a, p in zip(mine, ema.net.parameters(), strict=True):
        torch.testing.assert_close(p, a, rtol=1e-4, atol=1e-5)
    assert torch.equal(ema.net[1].running_mean, net[1].running_mean)
    assert ema.step == 199
    assert not ema.net.training
    assert not any(p.requires_grad for p in ema.net.parameters())


# -- the loop --------------------------------------------------------------------------------------------------------


def eps_error(net: torch.nn.Module, m: GaussianMixture) -> float:
    """Root mean square of ε_net − ε_exact over classes, ∅ and levels at which samples stand."""
    x, y = m.sample_labeled(4000, Generator().manual_seed(9))
    lam = Cosine().sample(len(x), Generator().manual_seed(8), stratified=True)
    noise = torch.randn(x.shape, generator=Generator().manual_seed(7))
    z = torch.sigmoid(lam).sqrt()[:, None] * x + torch.sigmoid(-lam).sqrt()[:, None] * noise
    y = torch.where(torch.arange(len(y)) % 4 == 0, NULL, y)
    with torch.no_grad():
        error = NetDenoiser(net, "v")(z, lam, y).eps - m(z, lam, y).eps
    return error.square().mean().sqrt().item()


def test_a_trained_network_approaches_the_exact_score():
    torch.manual_seed(0)
    m = datasets.three_gaussians()
    net = nets.MLP(2, 3, width=48, depth=2)
    generator = Generator().manual_seed(0)
    errors = [eps_error(net, m)]
    for record in training.fit(
        net, m.sample_labeled, steps=600, batch_size=256, kind="v", generator=generator
    ):
        if record.step in (60, 600):
            errors.append(eps_error(record.ema.net, m))
    assert errors[0] > 2 * errors[1]
    assert errors[1] > 1.5 * errors[2]
    assert errors[2] < 0.12


def test_fit_repeats_itself_and_counts():
    def run() -> tuple[list[float], list[Tensor]]:
        torch.manual_seed(0)
        net = nets.MLP(2, 3, width=8, depth=1)
        m = datasets.three_gaussians()
        steps = list(
            training.fit(net, m.sample_labeled, steps=5, batch_size=16, generator=Generator().manual_seed(0))
        )
        assert [r.step for r in steps] == [1, 2, 3, 4, 5]
        return [r.loss.item() for r in steps], [p.detach().clone() for p in net.parameters()]

    (first, weights), (second, again) = run(), run()
    assert first == second
    for a, b in zip(weights, again, strict=True):
        assert torch.equal(a, b)


def test_a_loss_that_is_not_finite_stops_training():
    net = nets.MLP(2, 3, width=8, depth=1)
    before = copy.deepcopy(net.state_dict())

    def batch(n: int, generator: Generator | None) -> tuple[Tensor, Tensor]:
        return torch.full((n, 2), math.nan), torch.zeros(n, dtype=torch.int64)

    with pytest.raises(ValueError, match="loss: got nan at step 100"):
        list(training.fit(net, batch, steps=150, batch_size=4))
    with pytest.raises(ValueError, match="loss: got nan at step 7"):
        list(training.fit(net, batch, steps=7, batch_size=4))
    assert before.keys() == net.state_dict().keys()


@pytest.mark.parametrize("bad", [{"steps": 0}, {"batch_size": 2.5}, {"lr": -1.0}])
def test_bad_input_is_refused_at_the_call(bad):
    m, (name,) = datasets.three_gaussians(), bad
    for fit, net in ((training.fit, nets.MLP(2, 3)), (classifiers.fit, nets.MLPClassifier(2, 3))):
        with pytest.raises(ValueError, match=f"{name}: got"):
            fit(net, m.sample_labeled, **({"steps": 1} | bad))


def test_a_classifier_learns(generator):
    torch.manual_seed(0)
    m = datasets.three_gaussians()
    net = nets.MLPClassifier(2, 3, width=32)
    x, _ = m.sample_labeled(2000, Generator().manual_seed(5))

    def gap(level: float) -> float:
        """Mean KL from the Bayes classifier to the network's."""
        lam = torch.full((len(x),), level)
        z = torch.sigmoid(lam[0]).sqrt() * x + torch.sigmoid(-lam[0]).sqrt() * torch.randn(
            x.shape, generator=Generator().manual_seed(6)
        )
        with torch.no_grad():
            mine = net(z, lam)
        exact = m.class_log_prob(z, lam)
        return (exact.exp() * (exact - mine)).sum(1).mean().item()

    torch.testing.assert_close(net(x, torch.tensor(0.0)).exp().sum(1), torch.ones(len(x)))
    before = [gap(level) for level in (-2.0, 0.0, 4.0)]
    losses = [r.loss.item() for r in classifiers.fit(net, m.sample_labeled, steps=300, generator=generator)]
    after = [gap(level) for level in (-2.0, 0.0, 4.0)]
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])
    for a, b in zip(after, before, strict=True):
        assert a < 0.3 * b
        assert a < 0.02


# -- the networks ----------------------------------------------------------------------------------------------------


def test_the_mlp_tells_classes_levels_and_null_apart():
    torch.manual_seed(0)
    net = nets.MLP(3, 4, width=16, depth=1)
    torch.nn.init.normal_(net.leave.weight)
    z = torch.randn(1, 3).expand(5, 3)
    out = net(z, torch.zeros(5), torch.tensor([0, 1, 2, 3, NULL]))
    assert out.shape == (5, 3)
    assert len({tuple(row.tolist()) for row in out}) == 5
    out = net(z, torch.tensor([-20.0, -1.0, 0.0, 1.0, 20.0]), torch.zeros(5, dtype=torch.int64))
    assert len({tuple(row.tolist()) for row in out}) == 5


def test_an_untrained_mlp_answers_zero_weights_with_its_bias():
    net = nets.MLP(2, 3)
    out = net(torch.randn(4, 2), torch.zeros(4), torch.zeros(4, dtype=torch.int64))
    assert torch.equal(out, net.leave.bias.expand(4, 2))
