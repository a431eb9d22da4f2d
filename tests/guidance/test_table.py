"""Rules as data: the table, a rule with its options, its record."""

from __future__ import annotations

import json
import math

import pytest
import torch

from cfgtoy import NULL, NetDenoiser, artifacts, classifiers, guidance, nets, samplers
from cfgtoy.guidance import RULES, Rule, rule

F64 = torch.float64
GRID = torch.tensor([-4.0, 0.0, 4.0], dtype=F64)
OPTIONS = {
    "negative": {"y_negative": 1},
    "interval": {"lo": -1.0, "hi": 2.0},
    "power-law": {"power": 0.5},
    "mambo-g": {"alpha": 0.5},
    "weight-schedule": {"shape": "beta"},
}


@pytest.fixture
def mixture(random_mixture):
    return random_mixture()


def parts(denoiser):
    """A worse model, a classifier and a grid for whatever is denoised."""

    def classify(z, lam):
        return torch.stack([z.flatten(1).mean(1), torch.zeros(len(z)), z.flatten(1)[:, 0]], 1).log_softmax(1)

    def ratios(lam, y):
        axes = getattr(denoiser, "shape", (1,))
        return torch.full((len(y), *[1] * len(axes)), 0.1)

    bad = guidance.unconditional(denoiser)
    return {"grid": GRID, "bad": bad, "classifier": classify, "ratios": ratios}


@pytest.fixture(scope="module")
def mlp():
    torch.manual_seed(0)
    net = nets.MLP(2, 3, width=16, depth=1)
    torch.nn.init.normal_(net.leave.weight, std=0.3)
    return NetDenoiser(net.eval(), "flow")


@pytest.fixture(scope="module")
def digits():
    return artifacts.load_denoiser("digits")


@pytest.mark.parametrize("name", list(RULES))
@pytest.mark.parametrize("model", ["mixture", "mlp", "digits"])
@torch.no_grad()
def test_every_rule_guides_every_denoiser(request, model, name):
    denoiser = request.getfixturevalue(model)
    shape, dtype = (
        ((4, 1, 8, 8) if model == "digits" else (4, 2)),
        (F64 if model == "mixture" else torch.float32),
    )
    z, y, lam = torch.randn(shape, dtype=dtype), torch.tensor([0, 1, 2, NULL]), torch.tensor(0.0, dtype=dtype)
    options, given = OPTIONS.get(name, {}), parts(denoiser)
    guided = rule(name, **options)(denoiser, w=1.5, **given)
    got = guided(z, lam, y)
    assert got.kind == denoiser(z, lam, y).kind
    assert got.estimate.shape == z.shape
    assert got.estimate.dtype == dtype
    # The rule is the table's function of the same denoiser and options, at one level or one a sample.
    own = {part: given[part] for part in Rule.parts(name)}
    assert torch.equal(got.x, RULES[name](denoiser, w=1.5, **options, **own)(z, lam, y).x)
    torch.testing.assert_close(guided(z, lam.expand(4), y).x, got.x)
    assert (got.x - denoiser(z, lam, y).x)[:3].abs().amax().item() > 1e-3
    # And it is a denoiser, so it can be sampled from.
    drawn = samplers.sample(guided, y, shape=shape, grid=GRID.to(dtype), method="ddim", z=z)
    assert bool(drawn.isfinite().all())


@pytest.mark.parametrize("name", list(RULES))
def test_every_rule_starts_from_pure_noise(mixture, name):
    """λ = −∞, the first level of a zero-terminal-SNR grid; only a score, as classifiers give, says nothing there."""
    grid, given = torch.tensor([-math.inf, 0.0], dtype=F64), parts(mixture)
    z, y = torch.randn(4, 2, dtype=F64), torch.tensor([0, 1, 2, NULL])
    guided = rule(name, **OPTIONS.get(name, {}))(mixture, w=1.5, **given | {"grid": grid})
    if name == "classifier":
        with pytest.raises(ValueError, match=r"^logsnr: got −inf for an estimate of score, takes .+"):
            guided(z, grid[0], y)
        return
    got = guided(z, grid[0], y)
    assert bool(got.x.isfinite().all())
    torch.testing.assert_close(got.eps, z)
    nearby = rule(name, **OPTIONS.get(name, {}))(mixture, w=1.5, **given | {"grid": grid.clamp(min=-60)})
    torch.testing.assert_close(got.x, nearby(z, grid[0].clamp(min=-60), y).x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", list(RULES))
def test_a_rule_has_one_name(name):
    assert getattr(guidance, name.replace("-", "_")) is RULES[name]
    assert rule(name.replace("-", "_"), **OPTIONS.get(name, {})) == rule(name, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", list(RULES))
def test_a_rule_survives_its_record(name):
    made = rule(name, **OPTIONS.get(name, {}))
    record = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert rule(record) == Rule.from_json(record) == made == rule(made)


def test_the_record_says_what_was_given():
    assert rule("apg", eta=0.2).to_json() == {"name": "apg", "options": {"eta": 0.2}}
    inside = rule("interval", of="apg", lo=-math.inf, hi=2)
    want = {"of": {"name": "apg", "options": {}}, "lo": "-inf", "hi": 2}
    assert inside.to_json() == {"name": "interval", "options": want}
    assert rule(inside.to_json()) == inside
    # Any object with a name.
    named = type("Named", (), {"name": "weak", "__call__": lambda self, *_: None})()
    assert rule("auto", bad=named).to_json()["options"] == {"bad": "weak"} == rule("auto", bad="weak").options
    with pytest.raises(ValueError, match=r"^bad: got function"):
        rule("auto", bad=lambda *_: None).to_json()


@pytest.mark.parametrize("name", sorted(guidance.UNGUIDED_AT_ZERO))
def test_no_guidance_is_the_model_itself(mixture, name):
    z, y, lam = torch.randn(5, 2, dtype=F64), torch.tensor([0, 1, 2, NULL, 0]), torch.tensor(0.0, dtype=F64)
    made = rule(name, **OPTIONS.get(name, {}))
    assert made(mixture, **parts(mixture)) is mixture
    per_sample = made(mixture, w=torch.zeros(5, dtype=F64), **parts(mixture))
    torch.testing.assert_close(per_sample(z, lam, y).x, mixture(z, lam, y).x)


def test_what_is_not_the_model_at_zero_is_asked_for(mixture):
    z, y, lam = torch.randn(5, 2, dtype=F64), torch.zeros(5, dtype=torch.int64), torch.tensor(0.0, dtype=F64)
    exact = classifiers.ExactClassifier(mixture)
    for name in ("cfg-plus-plus", "dynamic-threshold"):
        assert rule(name)(mixture, w=0.0, grid=GRID) is not mixture
    alone = rule("classifier", unconditional=True)(mixture, w=0.0, classifier=exact)
    assert alone is not mixture
    torch.testing.assert_close(alone(z, lam, y).x, mixture(z, lam, y).x)
    # Around a rule that guides the model without its class, "unguided" is that model.
    inside = rule("interval", of=rule("classifier", unconditional=True), lo=-1, hi=1)
    outside = inside(mixture, w=3.0, classifier=exact)(z, lam + 3, y)
    torch.testing.assert_close(outside.x, mixture(z, lam + 3).x)


def test_parts_reach_the_rule_inside(mixture):
    made = rule("rescale", of=rule("auto", bad="weak"))
    assert made.needs == {"bad"}
    z, y, lam = torch.randn(5, 2, dtype=F64), torch.zeros(5, dtype=torch.int64), torch.tensor(0.0, dtype=F64)
    weak = guidance.unconditional(mixture)
    got = made(mixture, w=2.0, bad=weak)(z, lam, y)
    want = guidance.rescale(guidance.auto(mixture, weak, w=2.0), mixture)(z, lam, y)
    assert torch.equal(got.x, want.x)


def test_parameters_are_the_functions_own():
    listed = {p.name: (p.annotation, p.default) for p in Rule.parameters("apg")}
    assert listed == {"eta": (float, 0.0), "threshold": (float, math.inf), "momentum": (float, 0.0)}
    assert Rule.parts("classifier") == ["classifier"]
    assert [p.name for p in Rule.parameters("classifier")] == ["unconditional"]


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("rule", lambda m: rule("apgg")),
        ("rule", lambda m: rule(3)),
        ("rule", lambda m: rule({"rule": "apg"})),
        ("rule", lambda m: Rule.parameters("apgg")),
        ("et", lambda m: rule("apg", et=1)),
        ("w", lambda m: rule("apg", w=1)),
        ("eta", lambda m: rule("apg", eta="a")),
        ("y_negative", lambda m: rule("negative")),
        ("y_negative", lambda m: rule("negative", y_negative=None)),
        ("rule", lambda m: rule("interval", of="apgg", lo=1, hi=2)),
        ("lo", lambda m: rule("interval", lo=3, hi=2)),
        ("lo", lambda m: rule("weight-schedule", lo=3, hi=3)),
        ("shape", lambda m: rule("weight-schedule", shape="square")),
        ("alpha", lambda m: rule("mambo-g", alpha=-1)),
        ("threshold", lambda m: rule("adaptive", threshold=2)),
        ("on", lambda m: rule("adaptive", on="v")),
        ("low", lambda m: rule("frequency-decoupled", low="a")),
        ("share", lambda m: rule("total", share=2)),
        ("bad", lambda m: rule("total", bad=3)),
        ("ratios", lambda m: rule("recfg")(m, w=1.0)),
        ("w", lambda m: guidance.several(m, [m], w=[])),
        ("grid", lambda m: rule("cfg-plus-plus", grid=torch.tensor([1.0, 0.0]))),
        ("bad", lambda m: rule("auto", bad=3)),
        ("bad", lambda m: rule("auto")(m, w=1.0)),
        ("bad", lambda m: rule("auto", bad="weak")(m, w=1.0)),
        ("classifier", lambda m: rule("classifier")(m, w=0.0, classifier=None)),
        ("levels", lambda m: rule("apg")(m, w=1.0, levels=GRID)),
        ("w", lambda m: rule("apg")(m, w="a")),
        ("w", lambda m: guidance.interval(m, lo=1, hi=2)),
        ("w", lambda m: guidance.rescale(m, m, w=1.0)),
        ("w", lambda m: guidance.cfg_plus_plus(m, 0.5, w=1.0, grid=GRID)),
        ("scale", lambda m: guidance.cfg_plus_plus(m, grid=GRID)),
    ],
)
def test_bad_rules(mixture, argument, call):
    with pytest.raises(ValueError, match=rf"^{argument}: got .+, takes .+"):
        call(mixture)
