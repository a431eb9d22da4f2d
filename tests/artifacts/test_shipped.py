"""What lies in data/: whole, small enough, and as good as it says."""

import hashlib
import json
from collections.abc import Iterator
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


def weights_named(record: object) -> Iterator[tuple[str, str]]:
    """Every SHA-256 that a record holds, with its key; not that of a model whose path says that it lies elsewhere."""
    if isinstance(record, list):
        for part in record:
            yield from weights_named(part)
    if not isinstance(record, dict):
        return
    model = Path(str(record.get("model", "")))
    elsewhere = len(model.parts) > 1 and model.parent.name != DATA.name
    for key, value in record.items():
        if key.endswith("sha256") and isinstance(value, dict):
            yield from ((f"{key}/{part}", digest) for part, digest in value.items())
        elif key.endswith("sha256") and value is not None and not (key == "model_sha256" and elsewhere):
            yield key, value
        else:
            yield from weights_named(value)


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_what_a_record_was_made_with_lies_here(name):
    """No figures of weights that are gone: who repeats the command then finds what made them."""
    here = {hashlib.sha256(path.read_bytes()).hexdigest() for path in DATA.iterdir() if path.is_file()}
    path = DATA / ENTRIES[name]["file"]
    record = artifacts.load(name).meta if path.suffix == ".safetensors" else json.loads(path.read_text())
    gone = {key: digest for key, digest in weights_named(record) if digest not in here}
    assert not gone


def models_named(record: object) -> Iterator[dict[str, object]]:
    """Every part of a record that says which network it measured."""
    for part in record.values() if isinstance(record, dict) else record if isinstance(record, list) else ():
        yield from models_named(part)
    if isinstance(record, dict) and "model_sha256" in record:
        yield record


@pytest.mark.parametrize("path", sorted(DATA.glob("*.json")), ids=lambda path: path.stem)
def test_a_record_of_weights_that_are_gone_says_so(path):
    here = {entry["sha256"] for entry in ENTRIES.values()}
    for record in models_named(json.loads(path.read_text())):
        assert record.get("weights_kept", True) == (record["model_sha256"] in here)


def test_every_file_is_in_the_manifest():
    apart = {"README.md", artifacts.MANIFEST}
    assert {path.name for path in DATA.iterdir()} - apart == {entry["file"] for entry in ENTRIES.values()}


def test_weights_that_are_gone_would_be_noticed():
    record = {
        "model": "cifar10", "model_sha256": "1", "parts_sha256": {"classifier": "2"}, "rows": [{"sha256": "3"}],
        "extractor_sha256": None,
    }  # fmt: skip
    assert dict(weights_named(record)) == {"model_sha256": "1", "parts_sha256/classifier": "2", "sha256": "3"}
    there = {"model": "runs/train-p0.5/weights.safetensors", "model_sha256": "1", "extractor_sha256": "2"}
    assert dict(weights_named(there)) == {"extractor_sha256": "2"}
    assert "model_sha256" in dict(weights_named(there | {"model": "data/cifar10.safetensors"}))


@pytest.mark.parametrize(
    "name",
    [
        name for name, entry in ENTRIES.items()
        if entry.get("role") in ("denoiser", "student", "noisy_classifier", "evaluator")
    ],
)  # fmt: skip
def test_weights_load_to_the_bit(name):
    role = ENTRIES[name]["role"]
    net, artifact = artifacts.load_net(name, role)
    state = net.state_dict()
    assert state.keys() == artifact.tensors.keys()
    for key, tensor in artifact.tensors.items():
        assert torch.equal(state[key], tensor.to(state[key].dtype)), key


def test_all_together_stay_below_80_megabytes():
    assert sum(path.stat().st_size for path in DATA.glob("*") if path.is_file()) <= 80e6


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
    ready = Settings.load("cifar10", Sampling(steps=6))
    y = torch.arange(10)
    images, _ = next(sample_images(ready, 1.0, y, batch=10))
    _, probs = evaluator(images.float() / 127.5 - 1)
    assert (probs.argmax(1) == y).float().mean() >= 0.8
