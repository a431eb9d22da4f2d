"""The trainer: that it learns, that a resumed run is the same run, and what it does when things go wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Generator, Tensor, nn

from cfgtoy import artifacts
from cfgtoy._ranks import Ranks
from cfgtoy.datasets import digits
from cfgtoy.nets.evaluator import Evaluator
from cfgtoy.training import checkpoint, optimizers, trainer
from cfgtoy.training.config import TrainConfig, preset

_spec = importlib.util.spec_from_file_location("training_run", Path(__file__).with_name("run.py"))
assert _spec is not None
assert _spec.loader is not None
run_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run_module)
tiny, data = run_module.tiny, run_module.data


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples that are drawn when a run ends take as long as these runs do: one test has them drawn."""
    monkeypatch.setattr(trainer.Trainer, "grid", lambda self, path: None)


def same(a: Path, b: Path) -> bool:
    one, two = load_file(a), load_file(b)
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


# -- it learns -------------------------------------------------------------------------------------


def test_denoiser_learns_digits_and_its_file_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # with its sheet of samples
    config = tiny(tmp_path, images=64 * 60, batch=64, checkpoint_every=10_000, dropout=0.0, decay=0.5)
    path = trainer.train(config, digits.load("train"))
    losses = [line["loss"] for line in lines(tmp_path) if "loss" in line]
    assert losses[-1] < 0.65 * losses[0]
    denoiser = artifacts.load_denoiser(path)
    assert denoiser.shape == (1, 8, 8)
    assert denoiser.kind == "v"
    assert denoiser.schedule == config.noise_schedule()
    prediction = denoiser(torch.randn(2, 1, 8, 8), torch.zeros(2), torch.tensor([3, -1]))
    assert prediction.x.isfinite().all()
    made_by = denoiser.meta["made_by"]
    assert made_by["images"] == 64 * 60
    assert made_by["seed"] == made_by["gpus"] == 0
    assert {"command", "commit", "device", "minutes", "config"} <= made_by.keys()
    assert "out" not in made_by["config"]
    assert (tmp_path / "grid.png").read_bytes()[:4] == b"\x89PNG"


def test_noisy_classifier_beats_chance(tmp_path: Path) -> None:
    config = replace(
        preset("digits-noisy-classifier"), out=tmp_path, images=64 * 60, batch=64, warmup=640, progress=False
    )
    path = trainer.train(config)
    classifier = artifacts.load_noisy_classifier(path)
    assert classifier(torch.randn(2, 1, 8, 8), torch.zeros(2)).exp().sum(1).tolist() == pytest.approx([1, 1])
    made_by = classifier.meta["made_by"]
    assert made_by["test_accuracy_at_logsnr_8"] > 0.7
    assert made_by["test_accuracy_at_logsnr_8"] > made_by["test_accuracy_at_logsnr_0"] > 0.2


def test_evaluator_is_the_extractor(tmp_path: Path) -> None:
    config = replace(preset("digits-evaluator"), out=tmp_path, images=10_000, progress=False)
    path = trainer.train(config)
    extractor = artifacts.load_evaluator(path)
    assert extractor.accuracy(digits.load("test")) > 0.9  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Negatives(TrainConfig):
    """A kind of run that the package does not know: a classifier of negatives."""

    network = Evaluator
    role = "evaluator"

    model: Literal["negatives"] = "negatives"
    strength: float = 1.0

    def losses(self, net: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        return F.cross_entropy(net(-self.strength * x), y, reduction="none")


def test_another_kind_of_run_is_one_class(tmp_path: Path) -> None:
    few = {
        "size": "digits",
        "images": 32,
        "batch": 16,
        "device": "cpu",
        "precision": "float32",
        "progress": False,
    }
    config = TrainConfig(model="negatives", strength=0.5, out=tmp_path, **few)
    assert isinstance(config, Negatives)
    said = artifacts.load(trainer.train(config, data())).meta
    assert (said["role"], said["net"]["class"]) == ("evaluator", "Evaluator")
    assert TrainConfig.from_json(said["made_by"]["config"]) == replace(
        config, out=TrainConfig.out, progress=True
    )
    with pytest.raises(ValueError, match="strength: got 1, takes nothing in a run of model='unet'"):
        TrainConfig(strength=1)


@pytest.mark.parametrize("kind", ["eps", "x", "v", "score", "flow"])
@pytest.mark.parametrize("weighting", ["none", "min-snr", "sigmoid"])
def test_weightings_mean_the_same_whatever_is_predicted(kind: str, weighting: str) -> None:
    """A weight on the error in v, x or ε, told as a weight on the error in ε."""
    config = tiny(Path("unused"), kind=kind, weighting=weighting)
    lam = torch.linspace(-6, 8, 15)
    weight = config.weight()
    if weighting == "none":
        assert weight is None
        return
    assert weight is not None
    alpha, sigma, snr = torch.sigmoid(lam).sqrt(), torch.sigmoid(-lam).sqrt(), lam.exp()
    # ε of an estimate is affine in it: |ε̂−ε| over |error in kind|
    slope = {"eps": lam**0, "v": alpha, "x": alpha / sigma, "score": sigma, "flow": alpha / (alpha + sigma)}[
        kind
    ]
    on_eps = weight(lam) / slope**2
    expected = (5 / snr).clamp(max=1.0) if weighting == "min-snr" else torch.sigmoid(2 - lam)
    torch.testing.assert_close(on_eps, expected)


def test_learning_rate_rises_stays_and_falls() -> None:
    config = tiny(Path("unused"), images=10_000, batch=100, warmup=1000, decay=0.4)
    rate = [optimizers.rate(images, config) for images in (0, 400, 900, 5900, 6000, 8000, 9900)]
    assert rate == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0, 0.5, 0.025])


# -- the same run, interrupted ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a run that nothing interrupted, in its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "grid", lambda self, path: None)
        torch.manual_seed(0)
        return trainer.train(tiny(tmp_path_factory.mktemp("runs") / "whole"), data())


def test_resume_is_bitwise(tmp_path: Path, whole: Path) -> None:
    trainer.train(tiny(tmp_path / "parts", images=160), data())
    parts = trainer.train(tiny(tmp_path / "parts", resume=True), data())
    assert same(whole, parts)
    one, two = (checkpoint.newest(folder / "checkpoints") for folder in (whole.parent, tmp_path / "parts"))
    assert one is not None
    assert two is not None
    assert one.tensors.keys() == two.tensors.keys()
    assert all(
        torch.equal(one.tensors[k], two.tensors[k]) for k in one.tensors
    )  # optimizer and random states too


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    a = trainer.train(tiny(tmp_path / "a", images=32), data())
    b = trainer.train(tiny(tmp_path / "b", images=32, seed=1), data())
    assert not same(a, b)


def test_sigterm_saves_and_ends_with_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    update = trainer.Trainer.update

    def interrupted(self: trainer.Trainer) -> tuple[Tensor, Tensor]:
        found = update(self)
        if self.images == 112:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(trainer.Trainer, "update", interrupted)
    with pytest.raises(SystemExit) as stopped:
        trainer.train(tiny(tmp_path / "parts"), data())
    assert stopped.value.code == 0
    assert signal.getsignal(signal.SIGTERM) == before
    found = checkpoint.newest(tmp_path / "parts" / "checkpoints")
    assert found is not None
    assert found.state["images"] == 112
    monkeypatch.undo()
    assert same(whole, trainer.train(tiny(tmp_path / "parts", resume=True), data()))


def test_a_finished_run_is_not_overwritten(tmp_path: Path) -> None:
    trainer.train(tiny(tmp_path, images=32), data())
    with pytest.raises(ValueError, match="resume"):
        trainer.train(tiny(tmp_path, images=32), data())


def test_resuming_another_run(tmp_path: Path) -> None:
    trainer.train(tiny(tmp_path, images=32), data())
    with pytest.raises(ValueError, match=r"kind: got 'eps'.*'v'"):
        trainer.train(tiny(tmp_path, images=64, kind="eps", resume=True), data())


@pytest.mark.parametrize(("name", "value"), [("logsnr_max", 9.0), ("lognormal_mean", 0.0), ("seed", 1)])
def test_resuming_under_another_noise_law(name: str, value: float, tmp_path: Path) -> None:
    trainer.train(tiny(tmp_path, images=32), data())
    with pytest.raises(ValueError, match=rf"{name}: got {value}, but .* was made with"):
        trainer.train(tiny(tmp_path, images=64, resume=True, **{name: value}), data())


def test_options_that_changed_on_the_way_are_recorded(tmp_path: Path) -> None:
    """The weights say what held until when, however often the run was resumed since; a run that kept them, nothing."""
    path = trainer.train(tiny(tmp_path, images=64), data())
    assert "stages" not in artifacts.load(path).meta["made_by"]
    trainer.train(tiny(tmp_path, images=96, lr=1e-3, p_uncond=0.3, resume=True), data())
    last = tiny(tmp_path, images=96, lr=1e-3, p_uncond=0.3, keep=3, log_every=1, resume=True)
    made_by = artifacts.load(trainer.train(last, data())).meta["made_by"]
    assert made_by["stages"] == [{"until": 64, "images": 64, "lr": 2e-3, "p_uncond": 0.1}]
    assert made_by["config"]["p_uncond"] == 0.3
    path = trainer.train(replace(last, images=128, lr=2e-3), data())
    assert artifacts.load(path).meta["made_by"]["stages"][1:] == [{"until": 96, "images": 96, "lr": 1e-3}]


def test_dropout_and_noise_are_independent(tmp_path: Path) -> None:
    run = trainer.Trainer(tiny(tmp_path), data())
    dropout, noise = torch.rand(1000), torch.rand(1000, generator=run.generator)
    assert torch.corrcoef(torch.stack([dropout, noise]))[0, 1].abs() < 0.15


def test_with_another_number_of_processes_all_streams_are_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dropout of GPUs too, which draws from their own generators."""
    trainer.train(tiny(tmp_path, images=80), data())
    run = trainer.Trainer(tiny(tmp_path, resume=True), data())
    same_number = torch.rand(4), torch.rand(4, generator=run.generator)
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    run.load(replace(found, state=found.state | {"world": 2}))
    assert seeds == [torch.initial_seed()]
    for before, after in zip(
        same_number, (torch.rand(4), torch.rand(4, generator=run.generator)), strict=True
    ):
        assert not torch.equal(before, after)


def test_init_starts_from_weights_and_counts_their_images(tmp_path: Path) -> None:
    first = trainer.train(tiny(tmp_path / "a", images=64), data())
    run = trainer.Trainer(tiny(tmp_path / "b", images=32, init=first), data())
    for name, value in load_file(first).items():
        assert torch.equal(run.net.state_dict()[name], value)
        assert torch.equal(run.ema.net.state_dict()[name], value)
    made_by = artifacts.load(run.run()).meta["made_by"]
    assert made_by["images"] == 96
    assert made_by["started_from"]["images"] == 64
    more = trainer.train(tiny(tmp_path / "b", images=48, resume=True), data())  # without init: it is known
    assert artifacts.load(more).meta["made_by"]["images"] == 112


def test_accumulated_parts_are_one_batch(tmp_path: Path) -> None:
    weights = []
    for parts in (1, 4):
        run = trainer.Trainer(
            tiny(tmp_path / str(parts), images=64, accumulate=parts, dropout=0.0, optimizer="sgd"), data()
        )
        run.losses = run_module.plain
        weights.append(load_file(run.run()))
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-3, atol=1e-6)


# -- faults ----------------------------------------------------------------------------------------


def test_a_bad_checkpoint_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, whole: Path
) -> None:
    trainer.train(tiny(tmp_path / "parts", images=160), data())
    newest = checkpoint.paths(tmp_path / "parts" / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        parts = trainer.train(tiny(tmp_path / "parts", resume=True), data())
    assert newest.name in caplog.text
    assert same(whole, parts)


def test_no_good_checkpoint_left(tmp_path: Path) -> None:
    trainer.train(tiny(tmp_path, images=32), data())
    for path in checkpoint.paths(tmp_path / "checkpoints"):
        path.write_bytes(b"\0" * 50)
    with pytest.raises(ValueError, match="none of its checkpoints is whole"):
        trainer.train(tiny(tmp_path, resume=True), data())


def test_loss_that_is_not_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update = trainer.Trainer.update

    def poisoned(self: trainer.Trainer) -> tuple[Tensor, Tensor]:
        if self.images == 192:
            with torch.no_grad():
                next(self.net.parameters())[0] = float("nan")
        return update(self)

    monkeypatch.setattr(trainer.Trainer, "update", poisoned)
    with pytest.raises(trainer.Diverged, match=r"not finite at step 13; the last good state is .*step-0000"):
        trainer.train(tiny(tmp_path), data())
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None
    assert found.state["images"] == 160
    assert all(t.isfinite().all() for t in found.tensors.values() if t.is_floating_point())


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    run = trainer.Trainer(tiny(tmp_path), data())
    run.update()
    run.save()
    with torch.no_grad():
        next(run.net.parameters())[0] = float("inf")
    run.step += 1
    with pytest.raises(trainer.Diverged, match="a weight"):
        run.save()
    assert len(checkpoint.paths(tmp_path / "checkpoints")) == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Denied")])
def test_a_checkpoint_that_cannot_be_written(
    error: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk, or a folder that cannot be written any more, in the middle of a run."""
    real = checkpoint.write_atomically

    def full(path: Path, content: bytes) -> str:
        if "000000010" in path.name and path.suffix == ".safetensors":
            raise error
        return real(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    with caplog.at_level(logging.ERROR):
        trainer.train(tiny(tmp_path, keep=10), data())
    assert str(error) in caplog.text
    steps = [int(p.stem[5:]) for p in checkpoint.paths(tmp_path / "checkpoints")]
    assert steps == [5, 15, 20]  # all but the tenth; the run went on
    assert all(checkpoint.read(p) for p in checkpoint.paths(tmp_path / "checkpoints"))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        trainer.train(tiny(tmp_path / "file" / "run"), data())


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known before the first step, and what lies there stays."""

    def held() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}

    trainer.train(tiny(tmp_path, images=160), data())
    before = held()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write anywhere
    with pytest.raises(PermissionError, match="cannot be written"):
        trainer.train(tiny(tmp_path, resume=True), data())
    assert held() == before


def test_batch_that_does_not_divide(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch: got 16"):
        trainer.train(tiny(tmp_path, accumulate=3), data())


def test_a_rank_touches_no_gpu_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[Any] = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", touched.append)
    monkeypatch.setattr(torch, "zeros", lambda *_, device, **__: touched.append(device))
    for name in ("cuda", "auto", "cuda:0"):
        assert Ranks(name).device == torch.device("cuda", 1)
    assert {str(device) for device in touched} == {"cuda:1"}


# -- processes -------------------------------------------------------------------------------------

SCRIPT = str(Path(__file__).with_name("run.py"))


def environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": ""}


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


class Runs:
    """Trainings in processes of their own, forked from one that has imported everything; see ``run.py serve``."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        with errors.open("w") as file:
            self.server = subprocess.Popen(
                [sys.executable, SCRIPT, "serve"], env=environment(), text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file,
            )  # fmt: skip

    def _answer(self) -> list[int]:
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        assert line, self.errors.read_text()
        return json.loads(line)

    def start(self, options: dict[str, Any], ranks: int = 1) -> list[int]:
        """The process numbers of a training, with as many ranks as a torchrun would have started."""
        meeting = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
        environments = [meeting | {"RANK": str(rank)} for rank in range(ranks)] if ranks > 1 else [{}]
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps({"options": options, "environments": environments}) + "\n")
        self.server.stdin.flush()
        return self._answer()

    def codes(self) -> list[int]:
        """Wait for all of them, and return their exit codes."""
        return self._answer()

    def run(self, options: dict[str, Any], ranks: int = 1) -> None:
        self.start(options, ranks)
        assert self.codes() == [0] * ranks, self.errors.read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    found = Runs(tmp_path_factory.mktemp("runs") / "errors")
    yield found
    with contextlib.suppress(ProcessLookupError):
        os.killpg(found.server.pid, signal.SIGKILL)
    found.server.wait()


@pytest.mark.slow
def test_killed_ten_times(tmp_path: Path, runs: Runs) -> None:
    """SIGKILL at random moments, writing included: the final weights are those of the undisturbed run."""
    options: dict[str, Any] = {"images": 16 * 100, "checkpoint_every": 32, "log_every": 1}
    whole = trainer.train(tiny(tmp_path / "whole", **options), data())
    out = tmp_path / "parts"
    log, final = out / "log.jsonl", out / "weights.safetensors"
    chance = random.Random(0)
    kills = 0

    def logged() -> int:
        return log.read_text().count("\n") if log.exists() else 0

    while not final.exists():
        enough = logged() + chance.randint(1, 8)  # the first line says that it started
        (pid,) = runs.start(options | {"out": str(out), "resume": True})
        if kills < 10:
            while logged() < enough and not final.exists():
                time.sleep(0.002)
            time.sleep(chance.uniform(0.0, 0.02))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        (code,) = runs.codes()
        assert code in (0, -signal.SIGKILL), runs.errors.read_text()
        kills += code == -signal.SIGKILL
    assert kills == 10
    assert same(whole, final)


@pytest.mark.slow
def test_two_ranks_do_what_one_does(tmp_path: Path, runs: Runs) -> None:
    options = {"images": 64, "plain": True, "dropout": 0.0, "optimizer": "sgd"}
    for ranks, name in ((1, "one"), (2, "two")):
        runs.run(options | {"out": str(tmp_path / name)}, ranks)
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_one_of_two_ranks_is_killed(tmp_path: Path, runs: Runs) -> None:
    """torchrun restarts both; they go on from the checkpoint and end as if nothing had happened."""
    runs.run({"out": str(tmp_path / "whole")}, 2)
    torchrun = [
        "--nproc-per-node=2", "--max-restarts=1", "--master-addr=127.0.0.1", f"--master-port={free_port()}",
        "--monitor-interval=0.1",
    ]  # fmt: skip
    runs.run({"out": str(tmp_path / "parts"), "die_at": 192, "die_rank": 1, "torchrun": torchrun})
    starts = [line for line in lines(tmp_path / "parts") if "started" in line]
    assert [line["images"] for line in starts] == [0, 160]
    assert same(tmp_path / "whole" / "weights.safetensors", tmp_path / "parts" / "weights.safetensors")
