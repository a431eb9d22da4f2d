"""What chapters show but do not draw: the sheets of images and the real images' figures."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cfgtoy import artifacts
from cfgtoy.datasets.resident import to_float
from cfgtoy.metrics import extractors

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="module")
def sheets():
    """Each row's record beside its images, (n, 3, 32, 32) uint8."""
    loaded = artifacts.load(DATA / "cifar10-sheets.safetensors")
    meta = loaded.meta
    n = meta["each"] * len(meta["classes"])
    pixels = np.asarray(Image.open(io.BytesIO(loaded.tensors["jpeg"].numpy().tobytes())))
    rows = len(meta["rows"])
    assert pixels.shape == (32 * rows, 32 * n, 3)
    images = torch.from_numpy(pixels.copy()).reshape(rows, 32, n, 32, 3).permute(0, 2, 4, 1, 3)
    return meta, images


def results(name):
    return json.loads((DATA / f"{name}.json").read_text())


def test_each_row_of_the_sheets_is_what_its_record_says(sheets):
    meta, images = sheets
    assert [row["row"] for row in meta["rows"]] == list(range(len(images)))
    for row, x in zip(meta["rows"], to_float(images), strict=True):
        assert x.flatten(1).std(1).mean().item() == pytest.approx(row["contrast"], abs=0.01)
        assert (x.amax(1) - x.amin(1)).mean().item() == pytest.approx(row["colour"], abs=0.03)


def test_the_sheets_images_are_of_the_classes_named(sheets):
    meta, images = sheets
    evaluator = extractors.load(DATA / "cifar10-evaluator.safetensors")
    y = torch.arange(len(meta["classes"])).repeat_interleave(meta["each"])
    for row, x in zip(meta["rows"], images, strict=True):
        if row["guidance"] == "cfg" and row["w"] in (0.0, 1.0):
            _, probs = evaluator(to_float(x))
            assert (probs.argmax(1) == y).double().mean().item() == pytest.approx(row["accuracy"], abs=0.08)


def test_every_setting_starts_from_the_noise_of_w_0(sheets):
    meta, _ = sheets
    moved = {(row["guidance"], row["w"]): row["moved"] for row in meta["rows"]}
    assert moved["cfg", 0.0] == 0
    assert 0 < moved["cfg", 0.3] < moved["cfg", 1.0] < moved["cfg", 4.0]
    # Two pictures of one class from different noise lie farther apart than these.
    assert moved["cfg", 1.0] < 0.4


def test_the_floor_agrees_with_the_sweeps_own():
    floor = {row["n"]: row for row in results("cifar10-floor")["results"]}
    other = results("cifar10-sweep-cfg")["noise_floor"]
    for key in ("frechet_cifar10_classifier", "inception_score_cifar10_classifier"):
        assert floor[other["n"]][key] == pytest.approx(other[key], rel=0.01)
    distances = [floor[n]["frechet_cifar10_classifier"] for n in sorted(floor)]
    assert distances == sorted(distances, reverse=True)


def test_the_sweeps_differ_in_the_guidance_alone():
    kinds = ("cfg", "classifier", "classifier-unconditional")
    runs = {kind: results(f"cifar10-sweep-{kind}") for kind in kinds}
    cfg = runs["cfg"]
    for kind, run in runs.items():
        for key in ("model_sha256", "extractor_sha256", "n", "reference", "seed", "batch", "commit"):
            assert cfg[key] == run[key]
        assert run["n"] == 50_000
        assert len(run["results"]) >= 6
        assert run["sampling"].pop("guidance") == kind
        assert run["sampling"] == cfg["sampling"]
    assert len(cfg["results"]) >= 14
    assert cfg["model_sha256"] == artifacts.manifest(DATA)["cifar10"]["sha256"]


def test_both_ways_start_from_the_same_unguided_images():
    first = [results(f"cifar10-sweep-{kind}")["results"][0] for kind in ("cfg", "classifier")]
    for key in ("w", "frechet_cifar10_classifier", "recall_cifar10_classifier"):
        assert first[0][key] == pytest.approx(first[1][key], rel=1e-6)


def test_the_drop_rates_were_trained_alike():
    runs = results("cifar10-p-uncond")["runs"]
    assert [run["p_uncond"] for run in runs] == [0.1, 0.2, 0.5]
    for run in runs:
        config = run["trained"]["config"]
        assert config.pop("p_uncond") == run["p_uncond"]
        assert config == runs[0]["trained"]["config"]


def test_every_rule_was_drawn_by_the_shipped_network_and_plain_guidance_as_in_its_sweep():
    found = results("cifar10-rules")
    assert found["model_sha256"] == artifacts.manifest(DATA)["cifar10"]["sha256"]
    rows = {each["rule"]: each["rows"] for each in found["results"]}
    assert len(rows) == 16
    assert all([row["w"] for row in each] == [0.5, 1.0, 2.0, 4.0] for each in rows.values())
    sweep = {row["w"]: row for row in results("cifar10-sweep-cfg")["results"]}
    for row in rows["classifier-free"]:  # 10,000 images score higher than 50,000
        whole = sweep[row["w"]]["frechet_cifar10_classifier"]
        assert whole < row["frechet_cifar10_classifier"] < whole + 0.5
