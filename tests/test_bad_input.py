"""What cannot be computed is refused: a ``ValueError`` that names the argument, what it got and what it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cfgtoy import (
    NULL,
    GaussianMixture,
    NetDenoiser,
    Prediction,
    classifiers,
    datasets,
    guidance,
    logsnr,
    metrics,
    nets,
    process,
    samplers,
    schedules,
    training,
)

M = datasets.three_gaussians()
Z = torch.randn(4, 2)
Y = torch.tensor([0, 1, 2, NULL])
GRID = schedules.Cosine().grid(5)
NET = NetDenoiser(nets.MLP(2, 3, width=8, depth=1))


def refused(argument: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011, PT012  # the message is looked at below
        result = call()
        if hasattr(result, "__next__"):  # a generator speaks up at its first step
            next(result)
    message = str(caught.value)
    assert re.match(rf"{re.escape(argument)}: got .+, takes .+", message, re.DOTALL), message


not_finite = st.sampled_from([math.nan, math.inf, -math.inf])
not_a_number = st.one_of(not_finite, st.sampled_from(["2", None, [1.0, 2.0], 1j, torch.zeros(2)]))
not_a_share = st.one_of(
    not_a_number, st.floats(max_value=-1e-9, allow_nan=False), st.floats(min_value=1 + 1e-9, allow_nan=False)
)
not_a_count = st.one_of(st.integers(max_value=0), st.sampled_from([True, 2.0, "3", None, math.nan]))
not_positive = st.one_of(not_finite, st.floats(max_value=0, allow_nan=False))
not_a_class = st.one_of(st.integers(3, 2**40), st.integers(-(2**40), -2))
wrong_batch = st.integers(2, 40).filter(lambda n: n != len(Z))


def spoilt(shape: tuple[int, ...], value: float, at: int) -> Tensor:
    x = torch.zeros(shape)
    x.view(-1)[at % x.numel()] = value
    return x


# -- logsnr and process ----------------------------------------------------------------------------------------------


def test_logsnr():
    refused("lam", lambda: logsnr.alpha_sigma(torch.tensor([1.0, math.nan])))
    refused("lam", lambda: logsnr.alpha_sigma(torch.tensor([1, 2])))
    refused("lam", lambda: logsnr.alpha_sigma(0.5))
    for bad in (0.0, 1.0, -0.1, math.nan):
        refused("alpha_bar", lambda bad=bad: logsnr.from_alpha_bar(torch.tensor([0.5, bad])))


@given(lam=st.floats(-20, 20), back=st.floats(0, 40))
def test_process_refuses_steps_the_wrong_way(lam, back):
    refused("lam_next", lambda: process.posterior(Z, Z, lam, lam - back))
    refused("lam_next", lambda: process.reverse(Z, Z, lam, lam - back, 0.3))
    refused("lam_to", lambda: process.transition(Z, lam, lam + back))
    # One sample of the batch is enough.
    lams = torch.full((4,), lam)
    ahead = lams + torch.tensor([1.0, 1.0, -back, 1.0])
    refused("lam_next", lambda: process.posterior(Z, Z, lams, ahead))


@given(v=not_a_share)
def test_v_is_a_share(v):
    refused("v", lambda: process.reverse(Z, Z, 0.0, 1.0, v))
    refused("v", lambda: samplers.ancestral(M, Z, GRID, v=v))
    refused("v", lambda: samplers.sample(M, 0, shape=(4, 2), grid=GRID, v=v))


@given(value=not_finite, at=st.integers(0, 7))
def test_process_refuses_what_is_not_finite(value, at):
    bad = spoilt((4, 2), value, at)
    refused("x", lambda: process.diffuse(bad, 0.0))
    refused("noise", lambda: process.diffuse(Z, 0.0, bad))
    refused("z", lambda: process.transition(bad, 1.0, 0.0))
    refused("z", lambda: process.posterior(bad, Z, 0.0, 1.0))
    refused("x", lambda: process.posterior(Z, bad, 0.0, 1.0))
    refused("x_hat", lambda: process.reverse(Z, bad, 0.0, 1.0, 0.5))
    refused("lam", lambda: process.diffuse(Z, value))
    refused("lam", lambda: process.diffuse(Z, spoilt((4,), value, at)))
    refused("lam_next", lambda: process.posterior(Z, Z, 0.0, value))
    refused("lam_from", lambda: process.transition(Z, value, 0.0))


@given(n=wrong_batch)
def test_process_refuses_shapes_that_do_not_fit(n):
    refused("lam", lambda: process.diffuse(Z, torch.zeros(n)))
    refused("lam", lambda: process.diffuse(Z, torch.zeros(4, 1)))
    refused("noise", lambda: process.diffuse(Z, 0.0, torch.zeros(n, 2)))
    refused("x", lambda: process.posterior(Z, torch.zeros(n, 2), 0.0, 1.0))
    refused("x_hat", lambda: process.reverse(Z, torch.zeros(4, 2 + n), 0.0, 1.0, 0.5))
    refused("x", lambda: process.diffuse([1.0, 2.0], 0.0))
    refused("x", lambda: process.diffuse(torch.zeros(4, 2, dtype=torch.int64), 0.0))


# -- schedules -------------------------------------------------------------------------------------------------------


@given(lo=st.floats(-30, 30), gap=st.floats(0, 10), bad=not_a_number)
def test_schedules_refuse_ranges_that_do_not_rise(lo, gap, bad):
    for make in (schedules.Uniform, schedules.Cosine, schedules.RectifiedFlow):
        refused("lo", lambda make=make: make(lo, lo - gap))
        refused("hi", lambda make=make: make(0.0, bad))
        refused("lo", lambda make=make: make(bad, 0.0))
    refused("lo", lambda: schedules.LogNormal(lo=lo, hi=lo - gap))
    refused("lo", lambda: schedules.LogitNormal(lo=lo, hi=lo - gap))
    refused("shift", lambda: schedules.Shifted(schedules.Cosine(), bad))


@given(bad=not_positive)
def test_schedules_refuse_parameters_out_of_range(bad):
    refused("std", lambda: schedules.LogNormal(std=bad))
    refused("beta_max", lambda: schedules.LinearBeta(beta_max=bad))
    if bad != 0:
        refused("beta_min", lambda: schedules.LinearBeta(beta_min=bad))


def test_schedules_refuse_the_rest():
    refused("beta_max", lambda: schedules.LinearBeta(beta_min=3.0, beta_max=2.0))
    refused("mean", lambda: schedules.LogNormal(mean=-500.0))
    refused("base", lambda: schedules.Shifted("cosine", 1.0))
    refused("size", lambda: schedules.Shifted.for_resolution(schedules.Cosine(), 0))
    refused("reference", lambda: schedules.Shifted.for_resolution(schedules.Cosine(), 64, -1))
    refused("antithetic", lambda: schedules.Cosine().sample(4, stratified=True, antithetic=True))
    refused("steps", lambda: schedules.Uniform(10.0, 10.0001).grid(1000))


ALL_SCHEDULES = [schedules.Uniform(), schedules.Cosine(), schedules.LinearBeta(), schedules.LogNormal(),
                 schedules.RectifiedFlow(), schedules.Shifted(schedules.Cosine(), 1.0)]  # fmt: skip


@pytest.mark.parametrize("schedule", ALL_SCHEDULES, ids=lambda s: type(s).__name__)
@given(
    u=not_a_share.filter(lambda u: isinstance(u, float)),
    n=not_a_count,
    out=st.floats(1e-3, 100),
    bad=not_finite,
)
def test_schedule_methods(schedule, u, n, out, bad):
    refused("u", lambda: schedule.logsnr(torch.tensor([0.5, u], dtype=torch.float64)))
    refused("n", lambda: schedule.sample(n))
    refused("steps", lambda: schedule.grid(n))
    refused("logsnr", lambda: schedule.u(torch.tensor([schedule.hi + out], dtype=torch.float64)))
    refused("logsnr", lambda: schedule.u(torch.tensor([schedule.lo - out], dtype=torch.float64)))
    refused("logsnr", lambda: schedule.log_density(torch.tensor([0.0, bad])))
    refused("logsnr", lambda: schedule.log_density(0.0))


# -- predictions and networks ----------------------------------------------------------------------------------------


@given(n=wrong_batch)
def test_predictions(n):
    lam = torch.tensor(0.0)
    refused("estimate", lambda: Prediction.from_x(Z, lam, torch.zeros(n, 2)))
    refused("logsnr", lambda: Prediction.from_x(Z, torch.zeros(n), Z))
    refused("logsnr", lambda: Prediction.from_x(Z, torch.zeros(4, 1), Z))
    refused("kind", lambda: Prediction(Z, lam, Z, "noise"))
    refused("kind", lambda: Prediction.from_x(Z, lam, Z).as_kind("z"))
    refused("kind", lambda: NetDenoiser(NET.net, "noise"))
    refused("logsnr", lambda: NET(Z, torch.zeros(n)))
    refused("y", lambda: NET(Z, lam, torch.zeros(n, dtype=torch.int64)))
    refused("z", lambda: NET(torch.tensor(1.0), lam))
    refused("z", lambda: NET([[1.0, 2.0]], lam))


@given(c=not_a_class)
def test_classes_that_do_not_exist(c):
    y = torch.tensor([0, 1, 2, c])
    refused("y", lambda: NET(Z, torch.tensor(0.0), y))  # else the network would answer with ∅'s embedding
    for call in (M.log_prob, M.score, M.posterior_mean, M):
        refused("y", lambda call=call: call(Z, 0.0, y))
        refused("y", lambda call=call: call(Z, 0.0, c))
    refused("y", lambda: M.tilted_log_prob(Z, 0.0, y, 1.0))
    refused("y", lambda: M.sample(4, y))
    refused("y", lambda: M.mean_cov(c))
    refused("y", lambda: guidance.classifier_free(M, w=1.0)(Z, torch.tensor(0.0), y))
    refused("y", lambda: guidance.classifier_free(NET, w=1.0)(Z, torch.tensor(0.0), y))
    refused("y", lambda: guidance.negative(M, w=1.0, y_negative=c)(Z, torch.tensor(0.0), Y))
    refused(
        "y", lambda: guidance.classifier_grad(M.class_log_prob, Z, 0.0, torch.tensor([0, 1, 2, abs(c) + 3]))
    )
    refused("y", lambda: guidance.classifier(M, classifiers.ExactClassifier(M), w=1.0)(Z, 0.0, y))
    refused("y", lambda: guidance.implicit_classifier_grad(M, Z, 0.0, y))
    for method in ("ancestral", "ddim", "heun", "dpm++2m"):
        refused("y", lambda method=method: samplers.sample(M, y, shape=(4, 2), grid=GRID, method=method))


# -- mixtures --------------------------------------------------------------------------------------------------------


@given(value=not_finite, at=st.integers(0, 7))
def test_mixtures_refuse_what_is_not_finite(value, at):
    good = torch.zeros(4, 2)
    refused("means", lambda: GaussianMixture(spoilt((4, 2), value, at), 1.0))
    refused("covs", lambda: GaussianMixture(good, value))
    refused("covs", lambda: GaussianMixture(good, 1 + spoilt((4,), value, at)))
    refused("covs", lambda: GaussianMixture(good, torch.eye(2) + spoilt((4, 2, 2), value, at)))
    refused("weights", lambda: GaussianMixture(good, 1.0, 1 + spoilt((4,), value, at)))
    bad = spoilt((4, 2), value, at)
    for call in (M.log_prob, M.score, M.class_log_prob, M.posterior_mean, M):
        refused("z", lambda call=call: call(bad, 0.0))
    refused("logsnr", lambda: M(Z, value))
    refused("lam", lambda: M.score(Z, spoilt((4,), value, at)))
    refused("w", lambda: M.tilted_log_prob(Z, 0.0, 0, value))
    refused("w", lambda: M.tilted_log_prob(Z, 0.0, 0, spoilt((4,), value, at)))


@given(low=st.floats(-3, 0), angle=st.floats(0, math.pi))
def test_mixtures_refuse_covariances_that_are_not_positive_definite(low, angle):
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    cov = turn @ torch.diag(torch.tensor([1.0, low])) @ turn.mT
    refused("covs", lambda: GaussianMixture(torch.zeros(1, 2), 0.5 * (cov + cov.mT)[None]))
    refused("covs", lambda: GaussianMixture(torch.zeros(2, 2), torch.tensor([1.0, low])))
    refused("covs", lambda: GaussianMixture(torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [low, 1.0]])))
    refused("covs", lambda: GaussianMixture(torch.zeros(1, 2), low))
    refused("weights", lambda: GaussianMixture(torch.zeros(2, 2), 1.0, torch.tensor([1.0, low])))


def test_mixtures_refuse_shapes_that_do_not_fit():
    means = torch.zeros(3, 2)
    refused("covs", lambda: GaussianMixture(means, torch.tensor([[[1.0, 0.5], [0.1, 1.0]]]).expand(3, 2, 2)))
    for shape in [(2,), (2, 2), (3, 3), (2, 2, 2), (3, 2, 3), (3, 1), (1, 3, 2, 2)]:
        refused("covs", lambda shape=shape: GaussianMixture(means, torch.ones(shape)))
    refused("covs", lambda: GaussianMixture(means, "1"))
    refused("covs", lambda: GaussianMixture(means, [1.0, 1.0, 1.0]))
    for bad in (torch.zeros(3), torch.zeros(0, 2), torch.zeros(3, 0), torch.zeros(3, 2).long(), [[0.0, 1.0]]):
        refused("means", lambda bad=bad: GaussianMixture(bad, 1.0))
    refused("weights", lambda: GaussianMixture(means, 1.0, torch.ones(2)))
    refused("weights", lambda: GaussianMixture(means, 1.0, [1.0, 1.0, 1.0]))
    for bad in ([0, 2, 2], [0, 1, 3], [-1, 0, 1]):
        refused("labels", lambda bad=bad: GaussianMixture(means, 1.0, labels=torch.tensor(bad)))
    refused("labels", lambda: GaussianMixture(means, 1.0, labels=torch.tensor([0, 1])))
    refused("labels", lambda: GaussianMixture(means, 1.0, labels=torch.tensor([0.0, 1.0, 2.0])))
    refused("labels", lambda: GaussianMixture(means, 1.0, labels=[0, 1, 2]))


@given(n=wrong_batch)
def test_mixture_methods_refuse_shapes_that_do_not_fit(n):
    for call in (M.log_prob, M.score, M.class_log_prob, M.posterior_mean, M):
        level = "logsnr" if call in (M.posterior_mean, M) else "lam"
        refused("z", lambda call=call: call(torch.zeros(n, 3), 0.0))
        refused("z", lambda call=call: call(torch.zeros(2), 0.0))
        refused("z", lambda call=call: call(torch.tensor(1.0), 0.0))
        refused(level, lambda call=call, level=level: call(Z, torch.zeros(n)))
    for call in (M.log_prob, M.score, M):
        refused("y", lambda call=call: call(Z, 0.0, torch.zeros(n, dtype=torch.int64)))
        refused("y", lambda call=call: call(Z, 0.0, torch.zeros(4)))
        refused("y", lambda call=call: call(Z, 0.0, torch.zeros(4, 1, dtype=torch.int64)))
        refused("y", lambda call=call: call(Z, 0.0, 0.5))
    refused("y", lambda: M.tilted_log_prob(Z, 0.0, NULL, 1.0))
    refused("w", lambda: M.tilted_log_prob(Z, 0.0, 0, torch.zeros(n)))
    refused("w", lambda: M.tilted_log_prob(Z, 0.0, 0, torch.zeros(4, 1)))
    refused("z", lambda: M.tilted_log_prob(torch.tensor(1.0), 0.0, 0, 1.0))
    refused("y", lambda: M.sample(4, torch.zeros(n, dtype=torch.int64)))


@given(n=not_a_count)
def test_counts(n):
    refused("n", lambda: M.sample(n))
    refused("n", lambda: M.sample_labeled(n))
    refused("k", lambda: datasets.ring(n))
    refused("depth", lambda: datasets.tree(n))
    refused("dim", lambda: datasets.gaussian_pair(dim=n))
    refused("n", lambda: metrics.grid_2d(n=n))
    refused("k", lambda: metrics.precision_recall(Z, Z, n))
    refused("k", lambda: metrics.kl_to_density(Z, lambda x: x.sum(1), n))
    refused("probes", lambda: metrics.curl_norm(M, Z, 0.0, probes=n))
    batch = M.sample_labeled
    refused("steps", lambda: training.fit(NET.net, batch, steps=n))
    refused("batch_size", lambda: training.fit(NET.net, batch, steps=1, batch_size=n))
    net = nets.MLPClassifier(2, 3, width=8)
    refused("steps", lambda: classifiers.fit(net, batch, steps=n))
    refused("batch_size", lambda: classifiers.fit(net, batch, steps=1, batch_size=n))


@given(bad=not_positive)
def test_gallery(bad):
    refused("var_cond", lambda: datasets.gaussian_pair(var_cond=bad))
    refused("var_uncond", lambda: datasets.gaussian_pair(var_uncond=bad))
    if not math.isfinite(bad):
        for make in (datasets.three_gaussians, datasets.ring):
            refused("radius", lambda make=make: make(radius=bad))
            refused("std", lambda make=make: make(std=bad))


# -- guidance --------------------------------------------------------------------------------------------------------

WEIGHTED: dict[str, Callable[..., object]] = {
    "classifier_free": lambda w: guidance.classifier_free(M, w=w),
    "classifier": lambda w: guidance.classifier(M, M.class_log_prob, w=w),
    "negative": lambda w: guidance.negative(M, w=w, y_negative=0),
    "auto": lambda w: guidance.auto(M, M, w=w),
    "apg": lambda w: guidance.apg(M, w=w),
    "power_law": lambda w: guidance.power_law(M, w=w, power=0.5),
    "cfg_zero_star": lambda w: guidance.cfg_zero_star(M, w=w),
    "weight_schedule": lambda w: guidance.weight_schedule(M, w=w),
    "mambo_g": lambda w: guidance.mambo_g(M, w=w),
    "adaptive": lambda w: guidance.adaptive(M, w=w),
    "frequency_decoupled": lambda w: guidance.frequency_decoupled(M, w=w),
    "total": lambda w: guidance.total(M, M, w=w),
    "recfg": lambda w: guidance.recfg(M, w=w, ratios=lambda lam, y: torch.zeros(len(y), 1)),
    "tcfg": lambda w: guidance.tcfg(M, w=w),
}


@pytest.mark.parametrize("rule", list(WEIGHTED))
@given(bad=not_finite, n=wrong_batch)
def test_weights(rule, bad, n):
    refused("w", lambda: WEIGHTED[rule](bad))
    refused("w", lambda: WEIGHTED[rule]("1"))
    refused("w", lambda: WEIGHTED[rule](torch.tensor([1.0, bad])))
    refused("w", lambda: WEIGHTED[rule](torch.zeros(4, 1)))
    refused("w", lambda: WEIGHTED[rule](torch.zeros(n))(Z, torch.tensor(0.0), Y))


def test_w_is_keyword_only():
    with pytest.raises(TypeError):
        guidance.classifier_free(M, 1.0)


@given(bad=not_a_number, share=not_a_share, positive=not_positive)
def test_parameters_of_rules(bad, share, positive):
    refused("s", lambda: guidance.w_from_scale(bad))
    refused("w", lambda: guidance.scale_from_w(bad))
    refused("phi", lambda: guidance.rescale(M, M, phi=share))
    refused("quantile", lambda: guidance.dynamic_threshold(M, quantile=share))
    refused("floor", lambda: guidance.dynamic_threshold(M, floor=positive))
    refused("eta", lambda: guidance.apg(M, w=1.0, eta=bad))
    refused("scale", lambda: guidance.cfg_plus_plus(M, scale=bad, grid=GRID))
    refused("power", lambda: guidance.power_law(M, w=1.0, power=bad))
    if positive != math.inf:
        refused("threshold", lambda: guidance.apg(M, w=1.0, threshold=positive))
    refused("power", lambda: guidance.power_law(M, w=1.0, power=-1.0))


def test_names_and_parts_of_rules():
    refused("threshold", lambda: guidance.apg(M, w=1.0, threshold="a"))
    refused("on", lambda: guidance.rescale(M, M, on="w"))
    refused("kind", lambda: Prediction.from_x(Z, torch.tensor(0.0), Z).slope("w"))
    refused("kind", lambda: Prediction.from_x(Z, torch.tensor(0.0), Z).plus(Z, "w"))
    refused("bad", lambda: guidance.auto(M, None, w=1.0))
    refused("classifier", lambda: guidance.classifier(M, None, w=1.0))
    refused("y_negative", lambda: guidance.negative(M, w=1.0, y_negative="cat"))
    for w in (None, "1"):
        refused("w", lambda w=w: guidance.apg(M, w=w))


@given(lo=st.floats(-20, 20), gap=st.floats(1e-6, 40))
def test_intervals(lo, gap):
    refused("lo", lambda: guidance.interval(M, M, lo=lo, hi=lo - gap))
    refused("lo", lambda: guidance.interval(M, M, lo=math.nan, hi=lo))
    refused("lo", lambda: guidance.interval(M, M, lo=lo, hi=math.nan))
    refused("lo", lambda: guidance.interval(M, M, lo="a", hi=1.0))


@given(off=st.floats(0.05, 0.95))
def test_cfg_plus_plus_refuses_levels_between_its_own(off):
    guided = guidance.cfg_plus_plus(M, scale=0.5, grid=torch.arange(-3.0, 4.0))
    refused("logsnr", lambda: guided(Z, torch.tensor(1 + off), Y))
    refused("logsnr", lambda: guided(Z, torch.tensor([0.0, 1.0, 1 + off, 2.0]), Y))


@given(n=wrong_batch)
def test_guided_calls_refuse_shapes_that_do_not_fit(n):
    guided = guidance.classifier_free(M, w=1.0)
    lam = torch.tensor(0.0)
    refused("y", lambda: guided(Z, lam, torch.zeros(n, dtype=torch.int64)))
    refused("y", lambda: guided(Z, lam, torch.zeros(4)))
    refused("logsnr", lambda: guided(Z, torch.zeros(n), Y))
    refused("lam", lambda: guidance.implicit_classifier_grad(M, Z, torch.zeros(n), 0))
    refused("lam", lambda: guidance.classifier_grad(M.class_log_prob, Z, torch.zeros(n), 0))
    refused("z", lambda: guidance.classifier_grad(M.class_log_prob, torch.tensor(1.0), 0.0, 0))
    refused("z", lambda: guided(torch.tensor(1.0), lam, None))
    refused("classifier", lambda: guidance.classifier_grad(lambda z, lam: z.sum(1), Z, 0.0, Y))
    refused(
        "classifier",
        lambda: guidance.classifier_grad(lambda z, lam: z.expand(2, 4, 2).flatten(0, 1), Z, 0.0, Y),
    )


# -- samplers --------------------------------------------------------------------------------------------------------

METHODS = ("ancestral", "ddim", "heun", "dpm++2m")


@pytest.mark.parametrize("method", METHODS)
@given(at=st.integers(0, 3), drop=st.floats(0, 5), bad=not_finite)
def test_grids(method, at, drop, bad):
    falling = torch.arange(5.0)
    falling[at + 1] = falling[at] - drop
    for grid in (
        falling,
        GRID.flip(0),
        spoilt((5,), bad, at),
        torch.zeros(2, 3),
        torch.zeros(0),
        [1.0, 2.0],
        3.0,
    ):
        refused("grid", lambda grid=grid: samplers.trajectory(M, Z, grid, 0, method=method))
        refused("grid", lambda grid=grid: samplers.sample(M, 0, shape=(4, 2), grid=grid, method=method))
        refused("grid", lambda grid=grid: guidance.cfg_plus_plus(M, scale=0.5, grid=grid))


@pytest.mark.parametrize("method", METHODS)
@given(n=wrong_batch, bad=not_finite)
def test_samplers_refuse_shapes_that_do_not_fit(method, n, bad):
    def run(y: object = 0, shape: object = (4, 2), **more: object) -> Tensor:
        return samplers.sample(M, y, shape=shape, grid=GRID, method=method, **more)

    refused("shape", lambda: run(torch.zeros(n, dtype=torch.int64)))
    refused("y", lambda: run(torch.zeros(4)))
    refused("y", lambda: run(torch.zeros(4, 1, dtype=torch.int64)))
    refused("y", lambda: run(0.5))
    refused("y", lambda: run(-2))
    refused("z", lambda: run(z=torch.zeros(n, 2)))
    refused("z", lambda: run(z=[[0.0, 1.0]]))
    refused("z", lambda: run(z=spoilt((4, 2), bad, n)))
    for shape in ((), (0, 2), (4, -1), (4, 2.0), 4, None):
        refused("shape", lambda shape=shape: run(shape=shape))
    refused("method", lambda: samplers.sample(M, 0, shape=(4, 2), grid=GRID, method="euler"))


# -- training --------------------------------------------------------------------------------------------------------


@given(p=not_a_share)
def test_drop_probability_is_a_share(p):
    x, y = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    refused("p_uncond", lambda: training.drop_labels(y, p))
    for labels in (y, None):
        refused("p_uncond", lambda labels=labels: training.diffusion_loss(
            NET, x, labels, schedule=schedules.Cosine(), p_uncond=p
        ))  # fmt: skip
    refused("p_uncond", lambda: training.fit(NET.net, M.sample_labeled, steps=1, p_uncond=p))
    refused("decay", lambda: training.EMA(NET.net, p))


@given(bad=not_positive, n=wrong_batch)
def test_training(bad, n):
    refused("decay", lambda: training.EMA(NET.net, 1.0))
    refused("lr", lambda: training.fit(NET.net, M.sample_labeled, steps=1, lr=bad))
    refused("lr", lambda: classifiers.fit(nets.MLPClassifier(2, 3), M.sample_labeled, steps=1, lr=bad))
    refused("kind", lambda: training.fit(NET.net, M.sample_labeled, steps=1, kind="noise"))
    refused("kind", lambda: training.fit(NET.net, M.sample_labeled, steps=1, target="noise"))
    x, y, schedule = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), schedules.Cosine()
    refused("y", lambda: training.drop_labels(torch.zeros(4), 0.1))
    refused("y", lambda: training.drop_labels([0, 1], 0.1))
    refused(
        "y", lambda: training.diffusion_loss(NET, x, torch.zeros(n, dtype=torch.int64), schedule=schedule)
    )
    refused("y", lambda: training.diffusion_loss(NET, x, y.double(), schedule=schedule))
    refused("y", lambda: training.diffusion_loss(NET, x, y + 7, schedule=schedule, p_uncond=0.0))
    refused("x", lambda: training.diffusion_loss(NET, x.long(), y, schedule=schedule))
    refused("x", lambda: training.diffusion_loss(NET, torch.tensor(1.0), None, schedule=schedule))
    refused("logsnr", lambda: training.diffusion_loss(NET, x, y, schedule=schedule, logsnr=torch.zeros(n)))


# -- metrics ---------------------------------------------------------------------------------------------------------


@given(value=not_finite, at=st.integers(0, 7))
def test_metrics_refuse_what_is_not_finite(value, at):
    bad = spoilt((4, 2), value, at)
    for measure in (metrics.frechet_distance, metrics.energy_distance, metrics.precision_recall):
        refused("a", lambda measure=measure: measure(bad, Z))
        refused("b", lambda measure=measure: measure(Z, bad))
    refused("a", lambda: metrics.moments(bad))
    refused("class_probs", lambda: metrics.inception_score(bad))
    refused("class_probs", lambda: metrics.class_entropy(bad))
    refused("samples", lambda: metrics.kl_to_density(bad, lambda x: x.sum(1), 2))
    refused("z", lambda: metrics.curl(M, bad, 0.0))
    refused("z", lambda: metrics.curl_norm(M, bad, 0.0))
    refused("lam", lambda: metrics.curl(M, Z, value))
    eye, zero = torch.eye(2), torch.zeros(2)
    refused("cov_b", lambda: metrics.frechet_from_moments(zero, eye, zero, eye + spoilt((2, 2), value, at)))
    refused("mean_a", lambda: metrics.frechet_from_moments(spoilt((2,), value, at), eye, zero, eye))


@given(d=st.integers(3, 9), k=st.integers(4, 50), off=st.floats(0.01, 2))
def test_metrics_refuse_shapes_that_do_not_fit(d, k, off):
    for measure in (metrics.frechet_distance, metrics.energy_distance, metrics.precision_recall):
        refused("b", lambda measure=measure: measure(Z, torch.zeros(4, d)))
        refused("a", lambda measure=measure: measure(torch.zeros(4), Z))
        refused("a", lambda measure=measure: measure(Z.tolist(), Z))
    refused("a", lambda: metrics.frechet_distance(Z[:1], Z))
    refused("a", lambda: metrics.moments(Z[:1]))
    refused("k", lambda: metrics.precision_recall(Z, Z, k))
    refused("samples", lambda: metrics.kl_to_density(Z, lambda x: x.sum(1), k))
    for measure in (metrics.inception_score, metrics.class_entropy):
        refused("class_probs", lambda measure=measure: measure(torch.full((4, 2), 0.5 + off)))
        refused("class_probs", lambda measure=measure: measure(torch.tensor([[1 + off, -off]])))
        refused("class_probs", lambda measure=measure: measure(torch.tensor([0.5, 0.5])))
    eye, zero = torch.eye(2), torch.zeros(2)
    refused("cov_a", lambda: metrics.frechet_from_moments(zero, torch.eye(d), zero, eye))
    refused("mean_b", lambda: metrics.frechet_from_moments(zero, eye, torch.zeros(d), eye))
    refused("mean_a", lambda: metrics.frechet_from_moments(torch.tensor(0.0), eye, zero, eye))
    refused("lo", lambda: metrics.grid_2d(1.0, 1.0 - off))
    grid = metrics.grid_2d(n=4)
    refused("log_density", lambda: metrics.log_normalizer(lambda x: x[:, 0] * math.nan, grid))
    refused(
        "log_density",
        lambda: metrics.kl_quadrature(lambda x: torch.full((16,), -math.inf), lambda x: x[:, 0], grid),
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_classes_are_checked_on_the_gpu_too_by_mixtures():
    refused("y", lambda: M.to("cuda").score(Z.cuda(), 0.0, torch.tensor([0, 1, 2, 3]).cuda()))
