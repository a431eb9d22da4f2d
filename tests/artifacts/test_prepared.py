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


def test_the_small_sweeps_differ_in_the_guidance_alone():
    cfg, classifier = (results(f"cifar10-sweep-{kind}-500") for kind in ("cfg", "classifier"))
    for key in ("model_sha256", "extractor_sha256", "n", "reference", "seed", "batch", "commit"):
        assert cfg[key] == classifier[key]
    assert cfg["model_sha256"] == artifacts.manifest(DATA)["cifar10"]["sha256"]
    assert (cfg["sampling"].pop("guidance"), classifier["sampling"].pop("guidance")) == ("cfg", "classifier")
    assert cfg["sampling"] == classifier["sampling"]


def test_the_small_sweep_is_the_large_one_and_its_bias():
    key, floor = "frechet_cifar10_classifier", results("cifar10-floor")["results"]
    real = {row["n"]: row[key] for row in floor}
    bias = real[500] - real[10_000]  # of real images
    large = {row["w"]: row[key] for row in results("cifar10-sweep-cfg")["results"]}
    for row in results("cifar10-sweep-cfg-500")["results"]:
        assert 0 < row[key] - large[row["w"]] < 2 * bias
