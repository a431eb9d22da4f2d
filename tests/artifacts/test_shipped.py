"""What lies in data/: whole, small enough, and as good as it says."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from cfgtoy import artifacts
from cfgtoy.datasets import digits
from cfgtoy.evaluation import Sampling, Settings, sample_images
from cfgtoy.metrics import extractors

DATA = Path(__file__).resolve().parents[2] / "data"
ENTRIES = artifacts.manifest(DATA)


@pytest.fixture(autouse=True)
def _shipped(monkeypatch):
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(DATA))


def need(*names: str) -> None:
    if missing := [name for name in names if name not in ENTRIES]:
        pytest.skip(f"data/ has no {', '.join(missing)}")


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_every_file_is_whole_and_says_who_made_it(name):
    entry = ENTRIES[name]
    path = DATA / entry["file"]
    if path.suffix == ".safetensors":
        meta = artifacts.load(name).meta  # checks the SHA-256
        made_by = meta.get("made_by", {})
    else:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        made_by = json.loads(path.read_text())
    assert path.stat().st_size == entry["bytes"]
    if entry.get("role") != "reference":
        for key in ("command", "commit", "device", "minutes", "seed"):
            assert key in made_by, key
    text = json.dumps(made_by)
    assert "/home/" not in text
    assert "/tmp/" not in text


@pytest.mark.parametrize(
    "name",
    [
        name for name, entry in ENTRIES.items()
        if entry.get("role") in ("denoiser", "noisy_classifier", "evaluator")
    ],
)  # fmt: skip
def test_weights_load_to_the_bit(name):
    role = ENTRIES[name]["role"]
    net, artifact = artifacts.load_net(name, role)
    state = net.state_dict()
    assert state.keys() == artifact.tensors.keys()
    for key, tensor in artifact.tensors.items():
        assert torch.equal(state[key], tensor.to(state[key].dtype)), key


def test_all_together_stay_below_60_megabytes():
    assert sum(path.stat().st_size for path in DATA.glob("*") if path.is_file()) <= 60e6


def test_shipped_digits_are_what_was_asked_for():
    need("digits", "digits-evaluator", "digits-noisy-classifier")
    evaluator = extractors.load("digits-evaluator")
    assert evaluator.accuracy(digits.load("test")) >= 0.97
    y = torch.arange(100) % 10
    for guidance, w in (("cfg", 0.0), ("cfg", 1.0), ("classifier", 1.0)):
        ready = Settings.load("digits", Sampling(steps=12, guidance=guidance))
        images, _ = next(sample_images(ready, w, y, batch=100))
        _, probs = evaluator(images.float() / 127.5 - 1)
        assert (probs.argmax(1) == y).float().mean() >= 0.9, (guidance, w)


@pytest.mark.slow
def test_shipped_cifar10_images_are_what_was_asked_for():
    need("cifar10", "cifar10-evaluator")
    evaluator = extractors.load("cifar10-evaluator")
    ready = Settings.load("cifar10", Sampling(steps=10))
    y = torch.arange(10)
    images, _ = next(sample_images(ready, 1.0, y, batch=10))
    _, probs = evaluator(images.float() / 127.5 - 1)
    assert (probs.argmax(1) == y).float().mean() >= 0.8
