"""Shapes and dtypes of the public functions, enforced by jaxtyping and beartype.

The signatures with shapes live here and not in ``cfgtoy``: its docstrings say the shapes in words, its annotations stay
short, and the typed twins below hold both to account. A dimension named twice must be the same number twice.
"""

import math

import pytest
import torch
from beartype import beartype
from jaxtyping import Float, Int64, TypeCheckError, jaxtyped
from torch import Generator, Tensor

from cfgtoy import (
    NULL,
    GaussianMixture,
    NetDenoiser,
    Prediction,
    classifiers,
    guidance,
    logsnr,
    metrics,
    nets,
    process,
    samplers,
    schedules,
    training,
)

typed = jaxtyped(typechecker=beartype)
Level = Float[Tensor, "#b"] | Float[Tensor, ""] | float
Classes = Int64[Tensor, " b"] | int | None


@typed
def alpha_sigma(lam: Float[Tensor, "*s"]) -> tuple[Float[Tensor, "*s"], Float[Tensor, "*s"]]:
    return logsnr.alpha_sigma(lam)


@typed
def diffuse(x: Float[Tensor, "b *d"], lam: Level) -> Float[Tensor, "b *d"]:
    return process.diffuse(x, lam)


@typed
def transition(z: Float[Tensor, "b *d"], a: Level, b: Level) -> tuple[Float[Tensor, "b *d"], Tensor]:
    return process.transition(z, a, b)


@typed
def posterior(
    z: Float[Tensor, "b *d"], x: Float[Tensor, "b *d"], lam: Level, lam_next: Level
) -> tuple[Float[Tensor, "b *d"], Tensor]:
    return process.posterior(z, x, lam, lam_next)


@typed
def reverse(
    z: Float[Tensor, "b *d"], x: Float[Tensor, "b *d"], lam: Level, lam_next: Level, v: float
) -> tuple[Float[Tensor, "b *d"], Tensor]:
    return process.reverse(z, x, lam, lam_next, v)


@typed
def log_prob(m: GaussianMixture, z: Float[Tensor, "b d"], lam: Level, y: Classes) -> Float[Tensor, " b"]:
    return m.log_prob(z, lam, y)


@typed
def score(m: GaussianMixture, z: Float[Tensor, "b d"], lam: Level, y: Classes) -> Float[Tensor, "b d"]:
    return m.score(z, lam, y)


@typed
def class_log_prob(
    m: GaussianMixture, z: Float[Tensor, "b d"], lam: Level
) -> Float[Tensor, "b {m.num_classes}"]:
    return m.class_log_prob(z, lam)


@typed
def tilted(m: GaussianMixture, z: Float[Tensor, "b d"], lam: Level, y: int, w: float) -> Float[Tensor, " b"]:
    return m.tilted_log_prob(z, lam, y, w)


@typed
def draw(m: GaussianMixture, n: int, y: Classes) -> Float[Tensor, "{n} {m.dim}"]:
    return m.sample(n, y)


@typed
def draw_labelled(m: GaussianMixture, n: int) -> tuple[Float[Tensor, "{n} {m.dim}"], Int64[Tensor, "{n}"]]:
    return m.sample_labeled(n)


@typed
def faces(
    p: Prediction, z: Float[Tensor, "b *d"]
) -> tuple[Float[Tensor, "b *d"], Float[Tensor, "b *d"], Float[Tensor, "b *d"], Float[Tensor, "b *d"]]:
    return p.x, p.eps, p.v, p.score


@typed
def classifier_grad(classifier, z: Float[Tensor, "b *d"], lam: Level, y: Classes) -> Float[Tensor, "b *d"]:
    return guidance.classifier_grad(classifier, z, lam, y)


@typed
def implicit(denoiser, z: Float[Tensor, "b *d"], lam: Level, y: Classes) -> Float[Tensor, "b *d"]:
    return guidance.implicit_classifier_grad(denoiser, z, lam, y)


@typed
def sample(
    denoiser, y: Classes, b: int, d: int, grid: Float[Tensor, " t"], method: str
) -> Float[Tensor, "{b} {d}"]:
    return samplers.sample(denoiser, y, shape=(b, d), grid=grid, method=method)


@typed
def levels(schedule: schedules.Schedule, n: int) -> tuple[Float[Tensor, "{n}"], Float[Tensor, "{n}"]]:
    return schedule.sample(n), schedule.grid(n)


@typed
def loss(
    denoiser, x: Float[Tensor, "b *d"], y: Int64[Tensor, " b"], schedule: schedules.Schedule
) -> Float[Tensor, " b"]:
    return training.diffusion_loss(denoiser, x, y, schedule=schedule)


@typed
def curl(denoiser, z: Float[Tensor, "b d"], lam: Level, y: Classes) -> Float[Tensor, "b d d"]:
    return metrics.curl(denoiser, z, lam, y)


@typed
def curl_norm(
    denoiser, z: Float[Tensor, "b *d"], lam: Level, y: Classes
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    return metrics.curl_norm(denoiser, z, lam, y, probes=2)


@typed
def moments(a: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    return metrics.moments(a)


RULES = {
    "cfg": lambda m: guidance.classifier_free(m, w=1.0),
    "classifier": lambda m: guidance.classifier(m, classifiers.ExactClassifier(m), w=1.0),
    "negative": lambda m: guidance.negative(m, w=1.0, y_negative=0),
    "auto": lambda m: guidance.auto(m, guidance.unconditional(m), w=1.0),
    "interval": lambda m: guidance.interval(guidance.classifier_free(m, w=1.0), m, lo=-1.0, hi=math.inf),
    "rescale": lambda m: guidance.rescale(guidance.classifier_free(m, w=1.0), m),
    "apg": lambda m: guidance.apg(m, w=1.0, threshold=1.0),
    "power law": lambda m: guidance.power_law(m, w=1.0, power=0.5),
    "zero star": lambda m: guidance.cfg_zero_star(m, w=1.0),
    "threshold": lambda m: guidance.dynamic_threshold(m),
    "pair": lambda m: guidance.pair(m, m),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [1, 2, 5, 20])
@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("per_sample", [False, True])
def test_points(random_mixture, dtype, dim, batch, per_sample):
    m = random_mixture(dim=dim, dtype=dtype)
    z = torch.randn(batch, dim, dtype=dtype)
    lam = torch.linspace(-2, 2, batch, dtype=dtype) if per_sample else torch.tensor(0.5, dtype=dtype)
    y = torch.arange(batch) % 4 - 1
    results = [
        *alpha_sigma(lam),
        diffuse(z, lam),
        *transition(z, lam, lam - 1),
        *posterior(z, z, lam, lam + 1),
        *reverse(z, z, lam, lam + 1, 0.3),
        log_prob(m, z, lam, y),
        log_prob(m, z, 0.5, None),
        score(m, z, lam, y),
        score(m, z, lam, 1),
        class_log_prob(m, z, lam),
        tilted(m, z, lam, 1, 2.0),
        draw(m, batch, y),
        draw_labelled(m, batch)[0],
        classifier_grad(m.class_log_prob, z, lam, y),
        classifier_grad(classifiers.ExactClassifier(m), z, lam, 1),
        implicit(m, z, lam, y),
        *curl_norm(m, z, lam, y),
        curl(m, z, lam, y),
    ]
    for rule in RULES.values():
        results += faces(rule(m)(z, lam, y), z)
    assert {r.dtype for r in results} == {dtype}
    for method in ("ancestral", "ddim", "heun", "dpm++2m"):
        got = sample(m, y, batch, dim, schedules.Cosine().grid(4, dtype=dtype), method)
        assert got.dtype == dtype


def test_the_rest():
    for schedule in (schedules.Uniform(), schedules.Cosine(), schedules.LinearBeta(), schedules.LogNormal()):
        levels(schedule, 7)
        levels(schedules.Shifted(schedule, 1.0), 1)
    net = NetDenoiser(nets.MLP(2, 3, width=8, depth=1))
    y = torch.tensor([0, 1, 2, NULL])
    loss(net, torch.randn(4, 2), y, schedules.Cosine())
    faces(net(torch.randn(4, 2), torch.tensor(0.0), y), torch.randn(4, 2))
    moments(torch.randn(9, 3))
    images = torch.randn(4, 3, 5, 5)
    denoiser = NetDenoiser(lambda z, lam, y: z.tanh())
    faces(guidance.apg(denoiser, w=torch.arange(4.0))(images, torch.zeros(4), y), images)
    loss(denoiser, images, y, schedules.Cosine())
    diffuse(images, torch.zeros(4))
    assert samplers.initial_noise((4, 3), Generator().manual_seed(0)).shape == (4, 3)


def test_the_checks_can_fail(monkeypatch, random_mixture):
    m = random_mixture()
    monkeypatch.setattr(GaussianMixture, "score", lambda self, z, lam, y=None: z[:, :1])
    with pytest.raises(TypeCheckError):
        score(m, torch.randn(3, 2), 0.0, None)
    monkeypatch.setattr(logsnr, "alpha_sigma", lambda lam: (lam, lam.long()))
    with pytest.raises(TypeCheckError):
        alpha_sigma(torch.zeros(3))
