"""The script that a machine with GPUs is given: its commands parse, and its steps run, at tiny size and on the CPU."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cfgtoy import artifacts, cli, images
from cfgtoy.training import trainer
from cfgtoy.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("benchmarks_study", ROOT / "benchmarks" / "study.py")
assert _spec is not None
assert _spec.loader is not None
study = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = study  # dataclasses look their module up
_spec.loader.exec_module(study)


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "study.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("gpus", [1, 2])
def test_every_command_parses_and_hands_on_what_the_others_need(gpus, tmp_path, monkeypatch):
    trained: dict[Path, TrainConfig] = {}
    swept: dict[Path, images.EvalConfig] = {}

    def train(config: TrainConfig) -> Path:
        for part in config.parts():
            trained[part.out / "weights.safetensors"] = part
        return config.out

    monkeypatch.setattr(trainer, "train", train)
    monkeypatch.setattr(
        images, "evaluate",
        lambda config, command: swept.setdefault(config.out, config) and {"results": [], "minutes": 0, "device": ""},
    )  # fmt: skip
    steps = study.plan(tmp_path, gpus=gpus)
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        assert all(path in trained for path in step.needs), step.name
        if step.script:
            assert (ROOT / "benchmarks" / step.words[0]).is_file()
            continue
        assert cli.main(list(step.words)) == 0, step.name
        assert step.makes in (trained if step.resumable else swept)
        if step.entries:
            assert len(swept[step.makes].w) == step.entries
    assert all(config.resume for config in trained.values())
    assert all(config.batch % (gpus * config.accumulate) == 0 for config in trained.values())
    assert trained[tmp_path / "train-more" / "weights.safetensors"].init == Path("data/cifar10.safetensors")
    assert [swept[tmp_path / f"sweep-T{t}-v0.3.json"].sampling.steps for t in (128, 256, 1024)] == [
        128,
        256,
        1024,
    ]
    for p in (0.1, 0.2, 0.5):
        assert trained[tmp_path / f"train-p{p}" / "weights.safetensors"].p_uncond == p
    assert len({config.extractor for config in swept.values()}) == 1


def test_steps_run_on_digits_and_only_once(tmp_path, monkeypatch):
    """One of each kind, in this process, which spares their starts; the test below starts one."""
    kinds = ["evaluator", "sweep-classifier", "sweep-T128-v0.3", "train-more"]

    def here(step, seconds, gpus, log):
        with torch.random.fork_rng(devices=[]):
            return cli.main(list(step.words)), False

    monkeypatch.setattr(study, "run", here)
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(ROOT / "data"))
    tiny = ["--tiny", "--out", str(tmp_path), "--only", *kinds]
    assert study.main(tiny) == 0
    ran = lines(tmp_path)
    assert [line["step"] for line in ran] == kinds
    assert all(line["done"] for line in ran)
    assert artifacts.load(tmp_path / "train-more" / "weights.safetensors").meta["made_by"]["started_from"]
    assert study.main(tiny) == 0  # nothing is left to do
    assert lines(tmp_path) == ran


def test_a_step_in_a_process_of_its_own(tmp_path, capsys):
    tiny = ["--tiny", "--out", str(tmp_path), "--only", "speed-train"]
    assert study.main([*tiny, "--list"]) == 0
    assert "benchmarks/train_speed.py" in capsys.readouterr().out
    assert not (tmp_path / "study.jsonl").exists()
    assert study.main(tiny) == 0, (tmp_path / "speed-train.log").read_text()
    found = json.loads((tmp_path / "speed-train.json").read_text())
    assert found["size"] == "digits"
    assert found["images_per_second"] > 0


TRAINING = """
import signal, sys, time
from pathlib import Path
def save(*_):
    Path(sys.argv[1] + ".half").write_text("")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
if Path(sys.argv[1] + ".half").exists():
    Path(sys.argv[1]).write_text("whole")
else:
    time.sleep(60)
"""


def test_a_training_longer_than_the_slice_is_stopped_and_goes_on(tmp_path, monkeypatch, capsys):
    step = study.Step("long", ("train",), tmp_path / "weights", minutes=1)
    monkeypatch.setattr(
        study.Step, "command", lambda self, gpus: [sys.executable, "-IS", "-c", TRAINING, str(self.makes)]
    )
    monkeypatch.setattr(study, "plan", lambda *_, **__: [step])
    monkeypatch.setattr(study, "MARGIN", 0.5)
    tiny = ["--tiny", "--out", str(tmp_path)]
    monkeypatch.chdir(ROOT)
    assert study.main([*tiny, "--minutes", "0.05"]) == 0
    assert "goes on" in capsys.readouterr().out
    assert study.main(tiny) == 0
    assert [(line["stopped"], line["done"]) for line in lines(tmp_path)] == [(True, False), (False, True)]


def test_what_does_not_fit_waits_and_what_fails_is_named(tmp_path, monkeypatch, capsys):
    bad = study.Step("bad", ("evaluate",), tmp_path / "x.json", minutes=1)
    waits = replace(bad, name="waits", needs=(tmp_path / "nothing",))
    part = replace(bad, name="part", makes=tmp_path / "part.json", entries=2)
    part.makes.write_text('{"results": [1]}')
    assert not part.done()
    monkeypatch.setattr(study, "plan", lambda *_, **__: [bad, waits])
    monkeypatch.setattr(study.Step, "command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    monkeypatch.chdir(ROOT)
    tiny = ["--tiny", "--out", str(tmp_path)]
    assert study.main(tiny) == 1
    out = capsys.readouterr().out
    assert "FAILED with 3" in out
    assert "bad.log" in out
    assert "waits for" in out
    assert study.main([*tiny, "--minutes", "0"]) == 0
    assert "left for another slice" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        study.main([*tiny, "--only", "no-such-step"])
