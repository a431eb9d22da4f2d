"""The weight: one slider over clouds, photographs, and the curve between two measures."""

import base64
import io
import json
from typing import Any

import numpy as np
import traitlets

from .. import _files, artifacts
from ..images import sheets
from . import _networks
from ._exact import SAMPLERS, Sampled
from ._traits import JS, integer, number, one_of, words

SWEEP, SHEETS, STUDENT = "cifar10-sweep-cfg.json", "cifar10-sheets", "cifar10-student"
PICK = {"airplane": 2, "automobile": 0, "bird": 1, "cat": 3, "dog": 2, "frog": 2}  # which of a class's noises
# of the student's noises
SEEDS = {"airplane": 12, "automobile": 14, "bird": 2, "cat": 11, "dog": 6, "frog": 9}
NAMED = [0.0, 0.4, 2.0, 4.0]  # weights written beside the curve
TILE = 32


class WeightExplorer(Sampled):
    """What one weight does, three ways: samples of an exact mixture, photographs, and the trade-off's curve.

    With w at 8, the top of its slider, a page plays it from 0 to 8 and back, once, where the reader did not ask for
    less motion. The photographs and the curve are those of ``data/``: 50,000 images of a CIFAR-10 network at each of 14
    weights, up to w = 4. On demand a page draws the photographs itself, with the network's student.

    ``samples`` (n, 2) and ``classes`` (n,) hold the points on screen; both can be observed.
    """

    module = JS / "weight.mjs"
    w = number(8.0, doc="Guidance weight, 0 for plain conditional sampling.")
    n = integer(1200, 10, 20000, "Particles, 10 … 20000.")
    steps = integer(40, 2, 512, "T, 2 … 512 noise levels, evenly spaced in λ from −20 to 20.")
    sampler = one_of(SAMPLERS, "the way from noise to data.", "heun")
    alt = words(
        "Guided samples of three classes over the density they are said to reach, photographs at the same weight, and "
        "the curve of Inception Score against Fréchet distance, with w under one slider."
    )
    about = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        student, seeds = _networks.student_about(STUDENT), [SEEDS[name] for name in PICK]
        self.about = photographs() | {"curve": curve(), "named": NAMED, "student": student, "seeds": seeds}

    def attributes(self) -> dict[str, str]:
        return {"data-weights": STUDENT}


def curve() -> list[list[float]]:
    """Rows [w, Inception Score, Fréchet distance] of the sweep on CIFAR-10, w rising."""
    results = json.loads((_files.data_folder() / SWEEP).read_text(encoding="utf-8"))["results"]
    names = ("w", "inception_score_cifar10_classifier", "frechet_cifar10_classifier")
    return sorted([float(f"{row[name]:.4g}") for name in names] for row in results)


def photographs() -> dict[str, Any]:
    """A JPEG of prepared photographs, a row for each weight "drawn", from 0 on, and a column for each of six noises."""
    Image, _, _ = sheets.pillow()
    prepared = artifacts.load(SHEETS)
    classes, each = prepared.meta["classes"], prepared.meta["each"]
    rows = {row["w"]: row["row"] for row in prepared.meta["rows"] if row["guidance"] == "cfg"}
    drawn = sorted(w for w in rows if w >= 0)
    pixels = np.asarray(Image.open(io.BytesIO(prepared.tensors["jpeg"].numpy().tobytes())))
    tiles = pixels.reshape(-1, TILE, pixels.shape[1] // TILE, TILE, 3)
    columns = [each * classes.index(name) + noise for name, noise in PICK.items()]
    picked = tiles[[rows[w] for w in drawn]][:, :, columns].reshape(-1, TILE * len(PICK), 3)
    buffer = io.BytesIO()
    Image.fromarray(picked).save(buffer, "JPEG", quality=92, subsampling=0, optimize=True)
    sheet = base64.b64encode(buffer.getvalue()).decode()
    return {"sheet": sheet, "drawn": drawn, "names": list(PICK), "tile": TILE}
