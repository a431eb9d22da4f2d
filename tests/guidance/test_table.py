"""Rules as data: the table, a rule with its options, its record."""

from __future__ import annotations

import json
import math

import pytest
import torch

from cfgtoy import NULL, classifiers, guidance
from cfgtoy.guidance import RULES, Rule, rule

F64 = torch.float64
GRID = torch.tensor([-4.0, 0.0, 4.0], dtype=F64)
OPTIONS = {
    "negative": {"y_negative": 1},
    "interval": {"lo": -1.0, "hi": 2.0},
    "power-law": {"power": 0.5},
}


@pytest.fixture
def mixture(random_mixture):
    return random_mixture()


def parts(mixture):
    return {"grid": GRID, "bad": guidance.unconditional(mixture), "classifier": mixture.class_log_prob}


@pytest.mark.parametrize("name", list(RULES))
def test_a_rule_is_its_function(mixture, name):
    z, y, lam = torch.randn(5, 2, dtype=F64), torch.tensor([0, 1, 2, NULL, 0]), torch.tensor(0.0, dtype=F64)
    options, given = OPTIONS.get(name, {}), parts(mixture)
    got = rule(name, **options)(mixture, w=1.5, **given)(z, lam, y)
    own = {part: given[part] for part in Rule.parts(name)}
    assert torch.equal(got.x, RULES[name](mixture, w=1.5, **options, **own)(z, lam, y).x)
    assert rule(name.replace("-", "_"), **options) == rule(name, **options)
    assert getattr(guidance, name.replace("-", "_")) is RULES[name]


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
    assert listed == {"eta": (float, 0.0), "threshold": (float, math.inf)}
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
        ("grid", lambda m: rule("cfg-plus-plus", grid=torch.tensor([1.0, 0.0]))),
        ("bad", lambda m: rule("auto", bad=3)),
        ("bad", lambda m: rule("auto")(m, w=1.0)),
        ("bad", lambda m: rule("auto", bad="weak")(m, w=1.0)),
        ("classifier", lambda m: rule("classifier")(m, w=0.0, classifier=None)),
        ("gird", lambda m: rule("apg")(m, w=1.0, gird=GRID)),
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
