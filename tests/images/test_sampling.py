"""Options, levels, rules and the loop that draws: repeatable, the same for any number of processes, on any denoiser."""

import math

import pytest
import torch

from cfgtoy import artifacts, samplers, schedules
from cfgtoy.evaluation import guide, sample_images
from cfgtoy.images import Sampling, Settings, level_grid

# ---- levels and guidance ----


@pytest.mark.parametrize("levels", ["model", "cosine", "uniform", "linear-beta", "karras"])
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


def test_bfloat16_is_close_and_stays_inside_the_network():
    z, lam, y = torch.randn(4, 1, 8, 8), torch.tensor(0.3), torch.arange(4)
    full = Settings.load("digits", Sampling()).model(z, lam, y).estimate
    half = Settings.load("digits", Sampling(dtype="bfloat16")).model(z, lam, y).estimate
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(half, full, rtol=0, atol=0.1 * full.std().item())
