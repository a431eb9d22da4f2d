"""Draw the sheets of images that the chapter on CIFAR-10 shows: every setting from the same noise.

    python tools/sheets.py [--to data] [--model cifar10] [--each 4] [--seed 0]

Writes ``cifar10-sheets.safetensors`` and enters it in the manifest: a JPEG with a row of images for each setting, as a
tensor of its bytes, and JSON that says what each row is, who made it, and what was measured on its images *before* they
were compressed. A CPU core takes about ten minutes.

The figures of a row: ``accuracy`` (share that the evaluator gives the class asked for), ``confidence`` (its mean
probability of that class), ``clipped`` (share of values beyond [-1, 1], before rounding to bytes), ``contrast``
(standard deviation over an image's values), ``colour`` (largest minus smallest channel of a pixel, mean), all in units
of x in [-1, 1]; ``moved`` is the root mean square distance to the same noise at w = 0.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import torch
from torch import Tensor

from cfgtoy import _files, artifacts
from cfgtoy._provenance import provenance
from cfgtoy.datasets.images import to_float, to_uint8
from cfgtoy.guidance import Rule, rule
from cfgtoy.images import Sampling, sample, sheet
from cfgtoy.metrics import extractors

WEIGHTS = (-1.0, 0.0, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0)
HOW = Sampling(steps=18, lo=-8.0, hi=10.0, dtype="bfloat16")  # as the sweeps in data/
BATCH = 10
NOISY, MIDDLE, CLEAN = (-99.0, -3.0), (-3.0, 3.0), (3.0, 99.0)  # where to guide, in log-SNR


CFG, CLASSIFIER = rule("classifier-free"), rule("classifier")


def _only(lo: float, hi: float) -> Rule:
    return rule("interval", lo=lo, hi=hi)


ROWS: list[tuple[str, Rule, float]] = [
    *(("cfg", CFG, w) for w in WEIGHTS),
    # At w = 0 it is the row above: the same conditional model.
    *(("classifier", CLASSIFIER, w) for w in WEIGHTS if w != 0),
    *(("classifier-unconditional", rule("classifier", unconditional=True), w) for w in (0.0, 1.0, 4.0)),
    ("rescale", rule("rescale", phi=1.0), 8.0),
    ("apg", rule("apg"), 8.0),
    ("dynamic threshold", rule("dynamic-threshold"), 8.0),
    ("interval", _only(*MIDDLE), 8.0),
    ("only noisy", _only(*NOISY), 4.0),
    ("only middle", _only(*MIDDLE), 4.0),
    ("only clean", _only(*CLEAN), 4.0),
]
"""How a row guides, in words and as a rule, and its weight."""


def figures(x: Tensor, plain: Tensor, y: Tensor, extractor: extractors.Extractor) -> dict[str, float]:
    """What the module's docstring lists, of images x (n, c, h, w) beside the unguided ones."""
    seen = to_float(to_uint8(x))  # as a file would hold them
    probs = torch.cat([extractor(part)[1] for part in seen.split(100)])
    found = {
        "accuracy": (probs.argmax(1) == y).double().mean(),
        "confidence": probs.gather(1, y[:, None]).double().mean(),
        "clipped": (x.abs() > 1).double().mean(),
        "contrast": seen.flatten(1).std(1).mean(),
        "colour": (seen.amax(1) - seen.amin(1)).mean(),
        "moved": (x - plain).square().mean().sqrt(),
    }
    return {key: round(float(value), 4) for key, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, default=Path("data"), help="the folder to write into")
    parser.add_argument("--model", default="cifar10", help="shipped weights by name, or a .safetensors file")
    parser.add_argument("--each", type=int, default=4, help="images of each class in a row")
    parser.add_argument("--seed", type=int, default=0, help="of all noise")
    arguments = parser.parse_args()

    begin = time.perf_counter()
    model = artifacts.load_denoiser(arguments.model)
    dataset = model.meta["dataset"]
    extractor = extractors.load(f"{dataset}-evaluator")
    classes = model.classes
    y = torch.arange(arguments.each * len(classes)) % len(classes)
    plain = sample(model, y, sampling=HOW, seed=arguments.seed, batch=BATCH)
    by_class = y.argsort(stable=True)  # a row shows class after class

    drawn, entries = [], []
    for number, (words, guide, w) in enumerate(ROWS):
        x = plain
        if (words, w) != ("cfg", 0.0):
            x = sample(model, y, rule=guide, w=w, sampling=HOW, seed=arguments.seed, batch=BATCH)
        drawn.append(to_uint8(x[by_class]))
        found = figures(x, plain, y, extractor)
        entries.append({"row": number, "guidance": words, "rule": guide.to_json(), "w": w, **found})
        print(f"{words:26} w = {w:4g}: {found}", flush=True)

    picture = io.BytesIO()
    sheet(torch.cat(drawn), len(y), gap=0).save(picture, "JPEG", quality=95, subsampling=0, optimize=True)
    spelled = f"python tools/sheets.py --model {arguments.model} --each {arguments.each}"
    made_by = provenance(torch.device("cpu"), f"{spelled} --seed {arguments.seed}")
    made_by |= {"seed": arguments.seed, "minutes": round((time.perf_counter() - begin) / 60, 1)}
    about = {
        "role": "sheets",
        "dataset": dataset,
        "model": arguments.model,
        "model_sha256": model.sha256,
        "extractor": extractor.name,
        "sampling": HOW.to_json(),
        "classes": list(classes),
        "each": arguments.each,
        "rows": entries,
        "made_by": made_by,
    }
    name = f"{dataset}-sheets"
    file = arguments.to / f"{name}.safetensors"
    _files.save(file, {"jpeg": torch.frombuffer(picture.getbuffer(), dtype=torch.uint8)}, about)
    _files.manifest_add(name, file)


if __name__ == "__main__":
    main()
