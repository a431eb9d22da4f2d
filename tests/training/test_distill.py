"""Students: what they are taught, against the teacher's own steps and against the rule; and their runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cfgtoy import artifacts, datasets, guidance, images, samplers
from cfgtoy.nets.unet import UNet
from cfgtoy.training import trainer
from cfgtoy.training.config import TrainConfig, preset
from cfgtoy.training.distill import landing
from tests.training.test_trainer import data, same

FEW: dict[str, Any] = {
    "images": 64, "images_halving": 64, "batch": 16, "warmup": 16, "checkpoint_every": 32, "log_every": 2,
    "progress": False, "device": "cpu", "weights": "float32", "ema_halflife": 32,
}  # fmt: skip


def tiny(out: Path, **options: Any) -> TrainConfig:
    return replace(preset("digits-student"), out=out, **(FEW | options))


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("between", [(0.5,), (-0.5, 0.2, 0.5)])
def test_one_step_lands_where_several_of_the_teacher_do(clean: bool, between: tuple[float, ...]) -> None:
    mixture = datasets.three_gaussians(dtype=torch.float64)
    z = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.arange(50) % 3
    levels = torch.tensor([-1.0, *between, torch.inf if clean else 2.0], dtype=torch.float64)
    x_hat = landing(mixture, z, [level.expand(50) for level in levels], y)
    if clean:
        several = samplers.sample(mixture, y, shape=(50, 2), grid=levels[:-1], method="ddim", z=z)
        torch.testing.assert_close(x_hat, several)
        return
    states = list(samplers.ddim(mixture, z, levels, y))
    alpha, sigma = torch.sigmoid(levels).sqrt(), torch.sigmoid(-levels).sqrt()
    one = alpha[-1] * x_hat + sigma[-1] * (z - alpha[0] * x_hat) / sigma[0]
    torch.testing.assert_close(one, states[len(levels) - 1].z)


def test_a_stride_takes_many_steps_at_once(tmp_path: Path) -> None:
    config = tiny(tmp_path, steps=2, halve_from=32, stride=4)
    assert [part.steps for part in config.parts()] == [0, 8, 2]
    student = artifacts.load_student(trainer.train(replace(config, halve_from=8), data()))
    assert student.steps == 2
    assert student.meta["made_by"]["images"] == 2 * 64
    for wrong in (16, 24, 4):
        with pytest.raises(
            ValueError, match=f"halve_from: got {wrong} for steps=2, takes 0, or .* 4, 16, 64"
        ):
            replace(config, halve_from=wrong)
    with pytest.raises(ValueError, match="stride: got 1"):
        replace(config, stride=1)


def test_grids_are_nested_and_rise() -> None:
    for steps in (1, 2, 8):
        torch.testing.assert_close(artifacts.student_grid(2 * steps)[::2], artifacts.student_grid(steps))
    torch.testing.assert_close(artifacts.student_grid(2)[1:], torch.zeros(1))
    with pytest.raises(ValueError, match="steps: got 0, takes"):
        artifacts.student_grid(0)
    with pytest.raises(ValueError, match="lo"):
        artifacts.student_grid(4, lo=9.0)


def test_the_first_part_begins_as_its_teacher_and_learns_the_rule(tmp_path: Path) -> None:
    config = tiny(tmp_path, steps=0)
    net = config.build(data())
    teacher = artifacts.load_denoiser("digits")
    z, lam, y = torch.randn(6, 1, 8, 8), torch.linspace(-4, 4, 6), torch.arange(6)
    w = torch.full((6,), 3.0)
    torch.testing.assert_close(net(z, lam, y, w), teacher(z, lam, y).v)
    x = torch.randn(2000, 1, 8, 8).clamp(-1, 1)

    class Rule(torch.nn.Module):
        def forward(self, z: Any, lam: Any, y: Any, w: Any) -> Any:
            return guidance.classifier_free(teacher, w=w)(z, lam, y).v

    perfect = config.losses(Rule(), x, torch.arange(2000) % 10, torch.Generator().manual_seed(1))
    unmoved = config.losses(net, x, torch.arange(2000) % 10, torch.Generator().manual_seed(1))
    assert perfect.max() < 1e-9
    assert unmoved.mean() > 1e-2


def test_parts_chain_resume_and_say_where_they_come_from(tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 2, "halve_from": 8}
    whole = trainer.train(tiny(tmp_path / "whole", **options), data())
    assert [part.name for part in sorted((tmp_path / "whole").glob("*/weights.safetensors"))] == [
        "weights.safetensors"
    ] * 2
    student = artifacts.load_student(whole)
    assert (student.steps, student.w_max) == (2, 4.0)
    made_by = student.meta["made_by"]
    assert made_by["images"] == 3 * 64
    assert made_by["started_from"]["started_from"]["config"]["steps"] == 0

    # stopped in the second part
    parts = tiny(tmp_path / "parts", **options)
    first, second, _ = parts.parts()
    trainer.train(first, data())
    trainer.train(replace(second, images=32), data())
    (second.out / "weights.safetensors").unlink()
    again = trainer.train(replace(parts, resume=True), data())
    assert same(whole, again)
    with pytest.raises(ValueError, match="holds a run"):
        trainer.train(parts, data())


def test_a_student_answers_for_each_weight_it_was_shown(tmp_path: Path) -> None:
    student = artifacts.load_student(trainer.train(tiny(tmp_path, steps=0), data()))
    for p in student.net.parameters():
        torch.nn.init.normal_(p, std=0.2, generator=torch.Generator().manual_seed(p.numel()))
    z, lam, y = torch.randn(3, 1, 8, 8), torch.tensor(0.5), torch.tensor([1, 2, -1])
    w = torch.tensor([0.0, 1.0, 4.0])
    many = student(z, lam, y, w=w)
    for i in range(3):
        one = student.at(w[i].item())(z[i : i + 1], lam, y[i : i + 1])
        torch.testing.assert_close(one.v, many.v[i : i + 1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(student(z, lam, y).v, student(z, lam, y, w=0.0).v)
    assert not torch.equal(student(z, lam, y, w=4.0).v, student(z, lam, y).v)
    for wrong in (-0.1, 4.5, float("nan")):
        with pytest.raises(ValueError, match=r"w: got .*takes numbers in \[0, 4\]"):
            student(z, lam, y, w=wrong)
    with pytest.raises(ValueError, match="w: got shape"):
        student(z, lam, y, w=torch.zeros(2))
    with pytest.raises(ValueError, match="holds a 'student', takes a 'noisy_classifier'"):
        artifacts.load_noisy_classifier(tmp_path / "weights.safetensors")


@pytest.mark.parametrize(("steps", "start"), [(4, 12), (4, 4), (3, 32), (0, 4)])
def test_steps_that_halving_does_not_lead_to(steps: int, start: int) -> None:
    if steps == 0:
        assert len(replace(preset("digits-student"), steps=0, halve_from=start).parts()) == 1
        return
    with pytest.raises(ValueError, match=f"halve_from: got {start} for steps={steps}"):
        replace(preset("digits-student"), steps=steps, halve_from=start)


def test_the_small_student_for_cifar_fits_a_page_and_trains(tmp_path: Path) -> None:
    net = UNet.preset("student", strength=True)
    assert sum(p.numel() for p in net.parameters()) < 4.5e6
    # the recipe as it is, but for its data, teacher and length
    config = replace(
        preset("cifar10-student"), dataset="digits", teacher="digits", out=tmp_path, precision="float32",
        grid_every=0, steps=1, halve_from=4, **FEW | {"images": 16, "images_halving": 16},
    )  # fmt: skip
    assert config.size == "student"
    path = trainer.train(config, data())
    student = artifacts.load_student(path)
    x = samplers.sample(
        student.at(1.0), torch.arange(2), shape=(2, 1, 8, 8), grid=student.grid, method="ddim"
    )
    assert x.isfinite().all()


def test_a_student_is_drawn_by_name_on_its_own_grid_and_told_w(tmp_path: Path) -> None:
    path = trainer.train(tiny(tmp_path, steps=2, halve_from=4), data())
    student, y = artifacts.load_denoiser(path), torch.arange(10)
    assert isinstance(student, artifacts.StudentDenoiser)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(10, 1, 8, 8, generator=generator)
    x = samplers.sample(student.at(2.0), y, shape=z.shape, grid=artifacts.student_grid(2), method="ddim", z=z)
    drawn = images.sample(path, y, w=2.0, seed=0)
    torch.testing.assert_close(drawn, x)
    with pytest.raises(ValueError, match="rule: got 'apg' for a student"):
        images.sample(path, y, rule="apg", w=2.0)
    for w in (-1.0, 4.5):
        with pytest.raises(ValueError, match=r"w: got .*, takes numbers in \[0, 4\]"):
            images.sample(path, y, w=w)
