"""The browser's mathematics against the package's: the same mixture, λ, w and points, 1e-5 relative."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cfgtoy import GaussianMixture, guidance, metrics, process, samplers, schedules
from cfgtoy.classifiers import ExactClassifier
from cfgtoy.prediction import Prediction

pytestmark = pytest.mark.browser
F64 = torch.float64
many = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def close(js: Any, py: Tensor, what: str, scale: Tensor | float | None = None) -> None:
    """Every entry within 1e-5 of the truth's size: the vector's norm for vectors, unless ``scale`` is given."""
    ours = torch.tensor(js, dtype=F64).reshape(py.shape)
    if scale is None:
        scale = py.norm(dim=-1, keepdim=True) if py.ndim > 1 else py.abs()
    error = (ours - py).abs() / (torch.as_tensor(scale) + 1e-9)
    assert error.nan_to_num(math.inf).max() <= 1e-5, f"{what}: off by {error.max():.1e}\n{ours}\n{py}"


@st.composite
def mixtures(draw: st.DrawFn) -> dict[str, Any]:
    """One to twelve components with any orientation, in one to as many classes, as the browser takes them."""
    k = draw(st.integers(1, 12))
    number = st.floats(-4, 4, allow_nan=False).map(lambda x: round(x, 3))
    means = [[draw(number), draw(number)] for _ in range(k)]
    covs = []
    for _ in range(k):
        big, small = draw(st.floats(0.01, 4)), draw(st.floats(0.01, 4))
        angle = draw(st.floats(0, math.pi))
        c, s = math.cos(angle), math.sin(angle)
        covs.append(
            [
                [big * c * c + small * s * s, (big - small) * c * s],
                [(big - small) * c * s, big * s * s + small * c * c],
            ]
        )
    labels = [min(i, draw(st.integers(0, i))) for i in range(k)]
    labels = [sorted(set(labels)).index(label) for label in labels]
    weights = [draw(st.floats(0.05, 1)) for _ in range(k)]
    return {"means": means, "covs": covs, "weights": weights, "labels": labels}


def as_torch(m: dict[str, Any]) -> GaussianMixture:
    tensors = [torch.tensor(m[name], dtype=F64) for name in ("means", "covs", "weights")]
    return GaussianMixture(*tensors, torch.tensor(m["labels"]))


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    m = draw(mixtures())
    point = st.floats(-8, 8, allow_nan=False)
    return {
        "mixture": m,
        "lam": draw(st.floats(-20, 19)),
        "step": draw(st.floats(0.05, 6)),
        "w": draw(st.floats(-2, 10)),
        "v": draw(st.floats(0, 1)),
        "y": draw(st.integers(0, max(m["labels"]))),
        "z": [[draw(point), draw(point)] for _ in range(4)],
        "noise": [[draw(st.floats(-3, 3)), draw(st.floats(-3, 3))] for _ in range(4)],
    }


@many
@given(case=cases())
def test_densities_and_predictions(core: Any, case: dict[str, Any]) -> None:
    js = core.run(
        """
        const level = new m.mixture.Mixture(d.mixture).at(d.lam), out = new Float64Array(2);
        const vectors = (f) => d.z.map(([x, y]) => (f(x, y, out), [...out]));
        return {
          logP: d.z.map(([x, y]) => level.logProb(x, y)),
          logC: d.z.map(([x, y]) => level.logProb(x, y, d.y)),
          posterior: d.z.map(([x, y]) => [...level.classLogProb(x, y)]),
          tilted: d.z.map(([x, y]) => level.tiltedLogProb(x, y, d.y, d.w)),
          score: vectors((x, y) => level.score(x, y, -1, 0, out)),
          scoreC: vectors((x, y) => level.score(x, y, d.y, 0, out)),
          mean: vectors((x, y) => level.x(x, y, d.y, 0, out)),
          eps: vectors((x, y) => level.eps(x, y, d.y, d.w, out)),
          classifierEps: vectors((x, y) => m.guidance.classifierGuidedEps(level, x, y, d.y, d.w, out)),
          classifierGrad: vectors((x, y) => m.guidance.classifierGradient(level, x, y, d.y, out)),
        };""",
        **case,
    )
    mix, z, lam, y, w = (
        as_torch(case["mixture"]),
        torch.tensor(case["z"], dtype=F64),
        case["lam"],
        case["y"],
        case["w"],
    )
    close(js["logP"], mix.log_prob(z, lam), "log p(z)")
    close(js["logC"], mix.log_prob(z, lam, y), "log p(z|c)")
    posterior = mix.class_log_prob(z, lam)
    close(js["posterior"], posterior, "log p(c|z)", posterior.abs())
    close(js["tilted"], mix.tilted_log_prob(z, lam, y, w), "tilted")
    plain, cond = mix.score(z, lam), mix.score(z, lam, y)
    close(js["score"], plain, "score")
    close(js["scoreC"], cond, "score given c")
    close(js["mean"], mix.posterior_mean(z, lam, y), "E[x|z, c]", 1 + z.norm(dim=1, keepdim=True))
    guided = guidance.classifier_free(mix, w=w)
    lam_t = torch.tensor(lam, dtype=F64)
    branches = ((1 + abs(w)) * mix(z, lam_t, y).eps.norm(dim=1) + abs(w) * mix(z, lam_t).eps.norm(dim=1))[
        :, None
    ]
    close(js["eps"], guided(z, lam_t, torch.full((4,), y)).eps, "guided ε", branches)
    by_classifier = guidance.classifier(mix, ExactClassifier(mix), w=w)(z, lam_t, torch.full((4,), y))
    close(js["classifierEps"], by_classifier.eps, "classifier-guided ε", branches)
    close(js["classifierGrad"], cond - plain, "∇ log p(c|z)", (cond.norm(dim=1) + plain.norm(dim=1))[:, None])


@many
@given(case=cases())
def test_one_step_of_each_sampler(core: Any, case: dict[str, Any]) -> None:
    js = core.run(
        """
        const mix = new m.mixture.Mixture(d.mixture), next = d.lam + d.step, out = new Float64Array(2);
        const here = mix.at(d.lam), there = mix.at(next), result = {};
        for (const sampler of m.samplers.SAMPLERS) {
          const step = m.samplers.stepCoefficients(sampler, d.lam, next, d.v), z = Float64Array.from(d.z.flat());
          d.noise.forEach(([n1, n2], i) =>
            m.samplers.advance(step, sampler, here, there, d.y, d.w, d.w, z, 2 * i, n1, n2, out));
          result[sampler] = [...z];
        }
        return result;""",
        **case,
    )
    mix, z = as_torch(case["mixture"]), torch.tensor(case["z"], dtype=F64)
    guided = guidance.classifier_free(mix, w=case["w"])
    grid = torch.tensor([case["lam"], case["lam"] + case["step"]], dtype=F64)
    y = torch.full((4,), case["y"])
    first = guided(z, grid[0], y)
    size = 1 + z.norm(dim=1, keepdim=True) + first.eps.norm(dim=1, keepdim=True)
    mean, var = process.reverse(z, first.x, grid[0], grid[1], case["v"])
    close(js["ancestral"], mean + var.sqrt() * torch.tensor(case["noise"], dtype=F64), "ancestral", size)
    for name, sampler in (("ddim", samplers.ddim), ("heun", samplers.heun)):
        states = list(sampler(guided, z, grid, y))
        close(js[name], states[1].z, name, size + states[1].z.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("method", ["ancestral", "ddim", "heun"])
@pytest.mark.parametrize("between", [None, (-1.0, 5.0)])
def test_whole_runs(core: Any, method: str, between: tuple[float, float] | None) -> None:
    """Sixteen levels from pure noise to the returned estimate, guidance in an interval or everywhere."""
    from cfgtoy import datasets

    mix = datasets.three_gaussians(dtype=F64)
    json = {
        "means": mix.means.tolist(), "covs": mix.covs.tolist(), "weights": mix.weights.tolist(), "labels": [0, 1, 2]
    }  # fmt: skip
    grid = schedules.Uniform().grid(16, dtype=F64)
    y = torch.arange(30) // 10
    generator = torch.Generator().manual_seed(3)
    draws = torch.randn(16, 30, 2, generator=generator, dtype=F64)
    js = core.run(
        """return [...m.samplers.sample(new m.mixture.Mixture(d.mixture), {
             classes: Int32Array.from(d.y), start: d.start, noise: Float64Array.from(d.noise), v: 0.3,
             grid: m.schedules.grid(m.schedules.uniform(), 16), sampler: d.method,
             weight: m.guidance.weightRule(2, d.between) })];""",
        mixture=json, y=y.tolist(), start=draws[0].flatten().tolist(), noise=draws[1:].flatten().tolist(),
        method=method, between=between,
    )  # fmt: skip
    denoiser = guidance.classifier_free(mix, w=2.0)
    if between:
        denoiser = guidance.interval(denoiser, mix, lo=between[0], hi=between[1])
    z = draws[0]
    if method == "ancestral":
        for lam, after, noise in zip(grid[:-1], grid[1:], draws[1:], strict=False):
            mean, var = process.reverse(z, denoiser(z, lam, y).x, lam, after, 0.3)
            z = mean + var.sqrt() * noise
        z = denoiser(z, grid[-1], y).x
    else:
        z = samplers.sample(denoiser, y, shape=(30, 2), grid=grid, method=method, z=z)
    close(js, z, method, 1 + z.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("method", ["ancestral", "ddim", "heun"])
@pytest.mark.parametrize("mixed", [False, True], ids=["class by class", "classes mixed"])
def test_runs_as_the_explorers_make_them(core: Any, method: str, mixed: bool) -> None:
    """Many particles on the noise that the explorers keep: none for the ODE, and read round and round in a long run."""
    from cfgtoy import datasets

    mix = datasets.overlapping(F64)
    json = {name: getattr(mix, name).tolist() for name in ("means", "covs", "weights", "labels")}
    n, steps = 300, 12
    y = torch.arange(n) % 2 if mixed else torch.arange(n) * 2 // n
    kept = 2 * n * 3 + 26  # noise for three steps, and a few particles more
    js = core.run(
        """const draw = (size, seed) => m.random.fillNormal(new Float64Array(size), seed), size = 2 * d.y.length;
           const start = draw(size, 2), noise = d.method === "ancestral" ? draw(d.kept, 1) : new Float32Array(2);
           const path = new Float32Array((d.steps + 1) * size);
           const points = m.samplers.sample(new m.mixture.Mixture(d.mixture), {
             classes: Int32Array.from(d.y), start, noise, v: 0.3, path, sampler: d.method,
             grid: m.schedules.grid(m.schedules.uniform(), d.steps), weight: m.guidance.weightRule(2) });
           return { points: [...points], start: [...start], noise: [...noise], path: [...path] };""",
        mixture=json, y=y.tolist(), method=method, steps=steps, kept=kept,
    )  # fmt: skip
    noise = torch.tensor(js["noise"], dtype=F64)
    z = torch.tensor(js["start"], dtype=F64).reshape(n, 2)

    def handed(like: Tensor, step: int) -> Tensor:
        at = (step - 1) * 2 * n + torch.arange(2 * n)
        return noise[at % len(noise)].reshape(n, 2)

    states = list(
        samplers.trajectory(
            guidance.classifier_free(mix, w=2.0), z, schedules.Uniform().grid(steps, dtype=F64), y,
            method=method, noise=handed,
        )
    )  # fmt: skip
    close(js["points"], states[-1].z, method, 1 + states[-1].z.norm(dim=1, keepdim=True))
    path = torch.stack([state.z for state in states])
    close(js["path"], path, f"{method}, on the way", 1 + path.norm(dim=2, keepdim=True))


SCHEDULES = {
    "cosine": schedules.Cosine(), "uniform": schedules.Uniform(), "linear": schedules.LinearBeta(),
    "lognormal": schedules.LogNormal(),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("shift", [0.0, -2.5])
def test_schedules(core: Any, name: str, shift: float) -> None:
    schedule = schedules.Shifted(SCHEDULES[name], shift)
    u = torch.linspace(0, 1, 41, dtype=F64)
    lam = torch.linspace(schedule.lo, schedule.hi, 43, dtype=F64)
    js = core.run(
        """const s = m.schedules.shifted(m.schedules.SCHEDULES[d.name].make(), d.shift);
           return { ends: [s.lo, s.hi], lam: d.u.map(s.logsnr), u: d.lam.map(s.u), p: d.lam.map(s.density),
                    grid: [...m.schedules.grid(s, 9)] };""",
        name=name, shift=shift, u=u.tolist(), lam=lam.tolist(),
    )  # fmt: skip
    close(js["ends"], torch.tensor([schedule.lo, schedule.hi], dtype=F64), "ends")
    close(js["lam"], schedule.logsnr(u), "λ(u)", 1.0)
    close(js["u"], schedule.u(lam), "u(λ)", 1.0)
    close(js["p"], schedule.log_density(lam).exp(), "density")
    close(js["grid"], schedule.grid(9, dtype=F64), "grid", 1.0)


@settings(many, max_examples=60)
@given(m=mixtures(), seed=st.integers(0, 10**6))
def test_metrics_and_moments(core: Any, m: dict[str, Any], seed: int) -> None:
    mix = as_torch(m)
    generator = torch.Generator().manual_seed(seed)
    x = mix.means[0] + 1.5 * torch.randn(50, 2, generator=generator, dtype=F64)
    js = core.run(
        """const mix = new m.mixture.Mixture(d.mixture);
           const points = Float64Array.from(d.x.flat()), zero = new Int32Array(50);
           const [mean, cov] = mix.moments(), own = m.metrics.sampleMoments(points, zero);
           const { score, shares } = m.metrics.inceptionScore(mix, points);
           return { mean, cov: cov.flat(), own: own[1].flat(), frechet: m.metrics.frechet(own, [mean, cov]),
                    score, shares: [...shares] };""",
        mixture=m, x=x.tolist(),
    )  # fmt: skip
    mean, cov = mix.mean_cov()
    close(js["mean"], mean, "mean", 1.0)
    close(js["cov"], cov, "covariance", cov.norm())
    sample_cov = torch.cov(x.T)
    close(js["own"], sample_cov, "sample covariance", sample_cov.norm())
    eigenvalues = torch.linalg.eigvals(sample_cov @ cov).real.clamp(min=0)
    frechet = (
        ((x.mean(0) - mean) ** 2).sum() + sample_cov.trace() + cov.trace() - 2 * eigenvalues.sqrt().sum()
    )
    close([js["frechet"]], frechet[None], "Fréchet", 1.0 + cov.trace())
    probs = mix.class_log_prob(x * math.sqrt(1 / (1 + math.exp(-20))), 20.0).exp()
    close([js["score"]], torch.as_tensor(metrics.inception_score(probs), dtype=F64)[None], "Inception Score")
    close(js["shares"], probs.mean(0), "class shares", 1.0)


def test_far_away_and_at_both_ends(core: Any) -> None:
    """Fifty standard deviations out, at λ = ±20, everything is finite and agrees."""
    m = {"means": [[0, 0], [1, 0]], "covs": [[[0.01, 0], [0, 0.01]]] * 2, "weights": [1, 1], "labels": [0, 1]}
    z = torch.tensor([[50.0, -50.0], [1e3, 1e3], [0.5, 0.0]], dtype=F64)
    for lam in (-20.0, 20.0):
        js = core.run(
            """const level = new m.mixture.Mixture(d.mixture).at(d.lam), out = new Float64Array(2);
               return d.z.map(([x, y]) => (level.eps(x, y, 0, 3, out), [level.logProb(x, y), ...out]));""",
            mixture=m, z=z.tolist(), lam=lam,
        )  # fmt: skip
        mix = as_torch(m)
        guided: Prediction = guidance.classifier_free(mix, w=3.0)(
            z, torch.tensor(lam, dtype=F64), torch.zeros(3, dtype=torch.int64)
        )
        close([row[0] for row in js], mix.log_prob(z, lam), "log p")
        close([row[1:] for row in js], guided.eps, "guided ε")


def test_random_numbers_are_normal_and_seeded(core: Any) -> None:
    js = core.run("return [1, 1, 2].map((seed) => [...m.random.fillNormal(new Float64Array(20001), seed)]);")
    a, again, other = (torch.tensor(x, dtype=F64) for x in js)
    assert torch.equal(a, again)
    assert not torch.equal(a, other)
    assert abs(a.mean()) < 4 / 141
    assert abs(a.var() - 1) < 4 * math.sqrt(2 / 20001)
    assert abs((a[:-1] * a[1:]).mean()) < 4 / 141
    assert abs((a**4).mean() - 3) < 4 * math.sqrt(96 / 20001)


@pytest.mark.parametrize("to", [-6.0, 2.37])
def test_one_particle_with_its_arrows_and_its_twin(core: Any, to: float) -> None:
    """The ODE to either side, the SDE on given noise, x̂ on the way and the three arrows, by the package's samplers."""
    from cfgtoy import datasets

    mix, w, y, lo = datasets.three_gaussians(dtype=F64), 3.0, torch.tensor([1]), -1.0
    json = {name: getattr(mix, name).tolist() for name in ("means", "covs", "weights", "labels")}
    draws = torch.randn(60, 2, generator=torch.Generator().manual_seed(5), dtype=F64)
    js = core.run(
        """const mix = new m.mixture.Mixture(d.mixture), noise = Float64Array.from(d.noise);
           const given = { start: d.z, from: d.lo, to: d.to, w: d.w, y: 1, noise };
           const run = (sampler) => m.particle.way(mix, { ...given, sampler });
           const told = ({ z, x, grid }) => ({ z: [...z], x: [...x], grid: [...grid] });
           return { ode: told(run("heun")), sde: d.to > d.lo ? told(run("ancestral")) : null,
                    arrows: Object.values(m.particle.arrowsAt(mix.at(d.to), ...d.z, 1, d.w)) };""",
        mixture=json, noise=draws.flatten().tolist(), z=[0.7, -0.4], lo=lo, to=to, w=w,
    )  # fmt: skip
    guided, start = guidance.classifier_free(mix, w=w), torch.tensor([[0.7, -0.4]], dtype=F64)
    grid = torch.tensor(js["ode"]["grid"], dtype=F64)
    assert grid[0] == lo
    assert grid[-1] == to
    assert (grid.diff().abs() <= 0.1 + 1e-9).all()
    ways = torch.tensor(js["ode"]["z"], dtype=F64).reshape(-1, 2)
    truths = torch.cat([guided(z[None], lam, y).x for z, lam in zip(ways, grid, strict=True)])
    close(js["ode"]["x"], truths, "x̂ on the way", 1 + truths.norm(dim=1, keepdim=True))
    # The package's Heun steps rise; what went back must come back to the start, up to the steps' own error.
    begin, rising = (start, grid) if to > lo else (ways[-1:], grid.flip(0))
    states = list(samplers.trajectory(guided, begin, rising, y, method="heun"))[: len(grid)]
    if to > lo:
        close(js["ode"]["z"], torch.cat([state.z for state in states]), "ODE", 1 + start.norm())
    else:
        assert (states[-1].z - start).norm() < 1e-3
        assert (ways[-1] - start).norm() > 0.1
    level = torch.tensor(to, dtype=F64)
    scores = [mix(start, level, y), mix(start, level), guided(start, level, y)]
    truth = torch.cat([torch.sigmoid(-level).sqrt() * p.score for p in scores])
    close(js["arrows"], truth, "arrows", 1 + start.norm())
    if js["sde"]:
        z = start
        for k, lam in enumerate(grid[:-1]):
            mean, var = process.reverse(z, guided(z, lam, y).x, lam, grid[k + 1], 0.5)
            z = mean + var.sqrt() * draws[k]
        close(js["sde"]["z"][-2:], z[0], "SDE", 1 + z.norm())
