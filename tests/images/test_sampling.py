"""Options, levels, rules and the loop that draws: repeatable, the same for any number of processes, on any denoiser."""

import copy
import math

import pytest
import torch

from cfgtoy import GaussianMixture, artifacts, guidance, samplers, schedules
from cfgtoy.classifiers import ExactClassifier
from cfgtoy.datasets import three_gaussians
from cfgtoy.evaluation import guide, sample_images
from cfgtoy.images import Sampling, Settings, draws, level_grid, sample
from cfgtoy.nets.mlp import MLP
from cfgtoy.nets.unet import UNet
from cfgtoy.prediction import NetDenoiser

# ---- levels and guidance ----


@pytest.mark.parametrize("levels", ["model", "cosine", "uniform", "linear-beta", "rectified-flow", "karras"])
def test_every_spread_of_levels_rises_between_its_ends(levels):
    grid = level_grid(Sampling(levels=levels, steps=9, lo=-6, hi=7), schedules.Cosine(-8, 8))
    assert len(grid) == 9
    assert (grid.diff() > 0).all()
    assert grid[[0, -1]].tolist() == pytest.approx([-6, 7], abs=1e-4)


def test_levels_as_the_model_trained_and_as_karras_wrote():
    schedule = schedules.Cosine(-8, 8)
    torch.testing.assert_close(level_grid(Sampling(steps=7, levels="model"), schedule), schedule.grid(7))
    sigma = (-level_grid(Sampling(levels="karras", steps=5), schedule) / 2).exp()
    expected = torch.linspace(math.exp(4) ** (1 / 7), math.exp(-4) ** (1 / 7), 5) ** 7
    torch.testing.assert_close(sigma, expected, rtol=1e-4, atol=0)
    assert level_grid(Sampling(), schedules.Cosine(-20, 20))[[0, -1]].tolist() == [-9, 12]
    assert level_grid(Sampling(), schedule)[[0, -1]].tolist() == [-8, 8]
    for bad in ({"lo": 3.0, "hi": 1.0}, {"lo": -9.0, "levels": "model"}):
        with pytest.raises(ValueError, match="lo"):
            level_grid(Sampling(**bad), schedule)
    for bad in ({"steps": 0}, {"v": 1.5}, {"interval": (2.0, 1.0)}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Sampling(**bad)


def test_w_0_and_minus_1_cost_and_say_what_the_plain_models_say():
    ready = Settings.load("digits", Sampling(guidance="classifier"))
    z, lam, y = torch.randn(4, 1, 8, 8), torch.tensor(0.3), torch.arange(4)
    conditional = ready.model(z, lam, y).eps
    for kind in ("cfg", "classifier"):
        assert guide(ready.model, 0.0, Sampling(guidance=kind), ready.classifier) is ready.model
    unconditional = guide(ready.model, -1.0, Sampling(guidance="classifier-unconditional"), ready.classifier)
    torch.testing.assert_close(unconditional(z, lam, y).eps, ready.model(z, lam).eps)
    outside = guide(ready.model, 2.0, Sampling(interval=(1.0, 2.0)))
    torch.testing.assert_close(outside(z, lam, y).eps, conditional)
    inside = guide(ready.model, 2.0, Sampling(interval=(0.0, 2.0)))
    torch.testing.assert_close(
        inside(z, lam, y).eps, 3 * conditional - 2 * ready.model(z, lam).eps, atol=2e-4, rtol=0
    )
    by_classifier = guide(ready.model, 2.0, ready.sampling, ready.classifier)(z, lam, y).eps
    assert (by_classifier - conditional).abs().max() > 1e-5
    with pytest.raises(ValueError, match="w"):
        guide(ready.model, math.inf, Sampling())
    with pytest.raises(ValueError, match="classifier"):
        guide(ready.model, 1.0, Sampling(guidance="classifier"))


# ---- samples ----


def test_samples_do_not_depend_on_ranks_and_batches_are_filled_up():
    ready = Settings.load("digits", Sampling(steps=3, sampler="ancestral"))
    y = torch.arange(11) % 10
    whole = [images for images, _ in sample_images(ready, 1.0, y, seed=5, batch=4)]
    assert [len(part) for part in whole] == [4, 4, 3]
    ranks = [list(sample_images(ready, 1.0, y, seed=5, batch=4, rank=r, world=2)) for r in range(2)]
    assert torch.equal(ranks[0][0][0], whole[0])
    assert torch.equal(ranks[1][0][0], whole[1])
    assert torch.equal(ranks[0][1][0], whole[2])
    assert ranks[0][1][1].tolist() == [8, 9, 0]
    other = next(sample_images(ready, 1.0, y, seed=6, batch=4))[0]
    assert not torch.equal(other, whole[0])
    with pytest.raises(ValueError, match="y"):
        next(sample_images(ready, 1.0, torch.tensor([10])))
    with pytest.raises(ValueError, match="batch"):
        next(sample_images(ready, 1.0, y, batch=0))


def test_the_first_batch_is_what_the_sampler_gives():
    ready = Settings.load("digits", Sampling(steps=4, sampler="ddim"))
    images, y = next(sample_images(ready, 0.0, torch.arange(5), seed=2, batch=5))
    generator = torch.Generator().manual_seed(2 * 1_000_003)
    x = samplers.sample(
        artifacts.load_denoiser("digits"),
        y,
        shape=(5, 1, 8, 8),
        grid=ready.grid,
        method="ddim",
        generator=generator,
    )
    assert torch.equal(images, ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))


def test_ratios_are_no_network_and_need_none_of_its_arithmetic():
    """ReCFG with the ratios that the data give, in bfloat16: close to float32."""
    y = torch.tensor([3])
    whole, half = (
        sample("digits", y, rule="recfg", w=1.0, steps=2, dtype=dtype).float()
        for dtype in ("float32", "bfloat16")
    )
    assert (whole - half).abs().mean() < 3  # of 255


def test_bfloat16_is_close_and_stays_inside_the_network():
    z, lam, y = torch.randn(4, 1, 8, 8), torch.tensor(0.3), torch.arange(4)
    full = Settings.load("digits", Sampling()).model(z, lam, y).estimate
    half = Settings.load("digits", Sampling(dtype="bfloat16")).model(z, lam, y).estimate
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(half, full, rtol=0, atol=0.1 * full.std().item())


# ---- any denoiser, any rule ----

GIVEN = {"negative": {"y_negative": 1}, "power-law": {"power": 0.5}, "interval": {"lo": -2.0, "hi": 2.0}}


def _mixture():
    return three_gaussians(), (2,), ExactClassifier(three_gaussians())


def _mlp():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = MLP(dim=2, num_classes=3, width=16, depth=1)
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.2)
    return NetDenoiser(net.eval().requires_grad_(False), "v"), (2,), ExactClassifier(three_gaussians())


def _digits():
    model = artifacts.load_denoiser("digits")
    return model, model.shape, artifacts.load_noisy_classifier("digits-noisy-classifier")


@pytest.mark.parametrize("make", [_mixture, _mlp, _digits], ids=lambda f: f.__name__.strip("_"))
@pytest.mark.parametrize("name", sorted(guidance.RULES))
def test_every_rule_draws_from_every_denoiser(name, make):
    """What the sampler gives when the rule's function is called by hand."""
    model, shape, classifier = make()
    bad = guidance.unconditional(model)
    options, y, w = GIVEN.get(name, {}), torch.tensor([0, 2, 1, -1]), -0.5
    parts = {
        "classifier": {"classifier": classifier},
        "auto": {"bad": bad},
        "total": {"bad": bad},
        "recfg": {"ratios": lambda lam, y: torch.full((len(y), *[1] * len(shape)), 0.1)},
    }.get(name, {})
    x = sample(model, y, rule=guidance.rule(name, **options, **parts), w=w, shape=shape, steps=5, seed=3)
    assert x.shape == (4, *shape)
    assert x.isfinite().all()
    grid = Settings.load(model, Sampling(steps=5), shape=shape).grid
    levels = {"grid": grid} if name == "cfg-plus-plus" else {}
    guided = guidance.RULES[name](model, w=w, **options, **parts, **levels)
    generator = torch.Generator().manual_seed(3 * 1_000_003)
    expected = samplers.sample(guided, y, shape=x.shape, grid=grid, method="dpm++2m", generator=generator)
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-5)


def test_a_guided_denoiser_is_one_too():
    model, y = artifacts.load_denoiser("digits"), torch.arange(6)
    by_rule = sample(model, y, rule="apg", w=2.0, steps=3)
    by_hand = sample(guidance.apg(model, w=2.0), y, shape=model.shape, steps=3, lo=-8.0, hi=8.0)
    torch.testing.assert_close(by_rule, by_hand)
    assert torch.equal(by_rule, sample("digits", y, rule="apg", w=2.0, steps=3, batch=6))
    with pytest.raises(ValueError, match="shape: got None"):
        sample(guidance.apg(model, w=2.0), y)
    with pytest.raises(ValueError, match="dtype, compile: got 'bfloat16'"):
        sample(guidance.apg(model, w=2.0), y, shape=model.shape, dtype="bfloat16")


def test_a_mixture_is_drawn_from_rightly():
    """At w = −1 the class no longer counts: the samples are those of p(x)."""
    mixture = three_gaussians()
    x = sample(mixture, torch.zeros(4000, dtype=torch.int64), w=-1.0, steps=60, batch=4000)
    mean, cov = mixture.mean_cov()
    torch.testing.assert_close(x.double().mean(0), mean.double(), rtol=0, atol=0.06)
    torch.testing.assert_close(x.T.double().cov(), cov.double(), rtol=0, atol=0.08)
    with pytest.raises(ValueError, match="y: got class 3"):
        sample(mixture, torch.tensor([3]))


def test_parts_come_by_name_or_with_the_model(tmp_path):
    model, y = artifacts.load_denoiser("digits"), torch.arange(5)
    weak = UNet(**model.net.args)
    torch.manual_seed(1)
    for p in weak.parameters():
        torch.nn.init.normal_(p, std=0.2)
    path = tmp_path / "weak.safetensors"
    artifacts.save(path, weak.state_dict(), model.meta)
    by_name = sample(model, y, rule=guidance.rule("auto", bad=str(path)), w=1.0, steps=3)
    by_hand = sample(model, y, rule=guidance.rule("auto", bad=artifacts.load_denoiser(path)), w=1.0, steps=3)
    assert torch.equal(by_name, by_hand)
    with pytest.raises(ValueError, match="bad: got nothing, takes weights"):
        sample(model, y, rule="auto", w=1.0)
    named = guidance.rule("classifier", classifier="digits-noisy-classifier")
    shipped = sample(model, y, rule="classifier", w=1.0, steps=3)
    assert torch.equal(shipped, sample(model, y, rule=named, w=1.0, steps=3))
    # The parts of a rule inside another one are found too.
    inside = sample(model, y, rule="classifier", w=1.0, steps=3, interval=(-99.0, 99.0))
    assert torch.equal(shipped, inside)
    # With the exact classifier, guiding the model without its class gives that with it.
    mixture = three_gaussians()
    alone = Sampling(rule=guidance.rule("classifier", unconditional=True), steps=20)
    ready = Settings.load(mixture, alone, classifier=ExactClassifier(mixture))
    exact = sample(mixture, y % 3, steps=20)
    torch.testing.assert_close(sample(ready, y % 3), exact, rtol=1e-3, atol=1e-3)


def test_the_callers_model_stays_as_and_where_it_is():
    model = artifacts.load_denoiser("digits")
    net, before = model.net, copy.deepcopy(model.net.state_dict())
    there = Settings.load(model, Sampling(dtype="bfloat16"), "meta")
    assert next(there.model.net.parameters()).device.type == "meta"
    assert model.net is net
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    here = Settings.load(model, Sampling())
    assert here.model.net is net  # no copy where none is needed
    mixture = GaussianMixture(torch.zeros(1, 2), 1.0)
    assert Settings.load(mixture, Sampling()).model is mixture


def test_a_model_is_built_once(monkeypatch):
    built = []

    def counted(make):
        def init(self, *args, **options):
            built.append(type(self).__name__)
            make(self, *args, **options)

        return init

    for kind in (UNet, artifacts.ImageDenoiser):
        monkeypatch.setattr(kind, "__init__", counted(kind.__init__))
    sample("digits", torch.arange(3), w=1.0, steps=2, dtype="bfloat16")
    assert sorted(built) == ["ImageDenoiser", "UNet"]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"rule": "apgg"}, "rule: got 'apgg', takes one of classifier-free"),
        ({"rule": guidance.RULES}, "rule: got"),
        ({"rule": {"name": "apg", "options": {"phi": 1.0}}}, "phi: got an option that apg does not have"),
        ({"sampler": "euler"}, "sampler: got 'euler', takes one of ancestral"),
        ({"levels": "linear"}, "levels: got 'linear', takes one of model"),
        ({"dtype": "fp8"}, "dtype: got 'fp8', takes one of float32, bfloat16"),
        ({"guidance": "apg"}, "guidance: got 'apg', takes one of cfg"),
        ({"classifier": "digits"}, "classifier: got an option that classifier-free does not have"),
    ],
)
def test_wrong_names_are_refused_at_construction(bad, says):
    with pytest.raises(ValueError, match=says):
        Sampling(**bad)
    with pytest.raises(ValueError, match=says):
        sample("digits", torch.arange(2), **bad)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"stepz": 3}, "stepz: got an option that does not exist, takes rule"),
        ({"w": math.nan}, "w: got nan"),
        ({"seed": -1}, "seed: got -1"),
        ({"batch": 0}, "batch: got 0"),
        ({"y": torch.tensor([10])}, "y: got class 10"),
        ({"y": torch.zeros(0, dtype=torch.int64)}, "y: got"),
        ({"y": 3}, "y: got 3"),
        ({"model": None}, "model: got NoneType"),
    ],
)
def test_what_else_is_wrong_is_said_at_the_call(bad, says):
    with pytest.raises(ValueError, match=says):
        sample(**({"model": "digits", "y": torch.arange(2), "steps": 2} | bad))


def test_the_generator_of_batches_checks_before_it_starts():
    ready = Settings.load("digits", Sampling(steps=2))
    with pytest.raises(ValueError, match="y: got class 10"):
        draws(ready, torch.tensor([10]))
    with pytest.raises(ValueError, match="options beside Settings"):
        sample(ready, torch.arange(2), steps=3)


def test_earlier_spellings_are_rules():
    assert Sampling(guidance="cfg") == Sampling()
    assert Sampling(guidance="classifier").rule == guidance.rule("classifier")
    assert Sampling(guidance="classifier", classifier="x").rule == guidance.rule("classifier", classifier="x")
    unconditional = Sampling(guidance="classifier-unconditional", interval=(-1.0, 2.0)).rule
    inside = guidance.rule("classifier", unconditional=True)
    assert unconditional == guidance.rule("interval", lo=-1.0, hi=2.0, of=inside)
    assert "guidance" not in Sampling().to_json()
    assert Sampling().but(guidance="classifier").rule.name == "classifier"
