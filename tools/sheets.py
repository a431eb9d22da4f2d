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
import dataclasses
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cfgtoy import artifacts, guidance, samplers
from cfgtoy.datasets.resident import to_float, to_uint8
from cfgtoy.evaluation import Sampling, Settings, guide, provenance, sheet
from cfgtoy.metrics import extractors
from cfgtoy.prediction import Denoiser

WEIGHTS = (-1.0, 0.0, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0)
HOW = Sampling(steps=18, lo=-8.0, hi=10.0, dtype="bfloat16")  # as the sweeps in data/
BATCH = 10
NOISY, MIDDLE, CLEAN = (-99.0, -3.0), (-3.0, 3.0), (3.0, 99.0)  # where to guide, in log-SNR


@dataclass(frozen=True)
class Row:
    """One setting: how it guides, in words, its weight, and the denoiser that does it."""

    guidance: str
    w: float
    make: Callable[[], Denoiser]


def rows(model: Denoiser, classifier: guidance.Classifier) -> list[Row]:
    """All settings; the same w = 0 serves all kinds of guidance that start from the conditional model."""
    sweep = [
        Row(kind, w, lambda kind=kind, w=w: guide(model, w, dataclasses.replace(HOW, guidance=kind), classifier))
        for kind, weights in (
            ("cfg", WEIGHTS),
            ("classifier", tuple(w for w in WEIGHTS if w != 0)),
            ("classifier-unconditional", (0.0, 1.0, 4.0)),
        )
        for w in weights
    ]  # fmt: skip
    cfg = guidance.classifier_free(model, w=8.0)
    repairs = [
        Row("rescale", 8.0, lambda: guidance.rescale(cfg, model, phi=1.0)),
        Row("apg", 8.0, lambda: guidance.apg(model, w=8.0)),
        Row("dynamic threshold", 8.0, lambda: guidance.dynamic_threshold(cfg)),
        Row("interval", 8.0, lambda: guidance.interval(cfg, model, lo=MIDDLE[0], hi=MIDDLE[1])),
    ]
    four = guidance.classifier_free(model, w=4.0)
    thirds = [
        Row(name, 4.0, lambda lo=lo, hi=hi: guidance.interval(four, model, lo=lo, hi=hi))
        for name, (lo, hi) in (("only noisy", NOISY), ("only middle", MIDDLE), ("only clean", CLEAN))
    ]
    return sweep + repairs + thirds


def draw(denoiser: Denoiser, settings: Settings, y: Tensor, seed: int) -> Tensor:
    """Images (n, c, h, w), floats that may leave [-1, 1]; the noise depends on the seed and the place alone."""
    parts = []
    for number, part in enumerate(y.split(BATCH)):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)  # as evaluation.sample_images
        shape = (len(part), *settings.model.shape)
        parts.append(
            samplers.sample(
                denoiser, part, shape=shape, grid=settings.grid, method=HOW.sampler, generator=generator
            )
        )
    return torch.cat(parts)


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
    settings = Settings.load(arguments.model, dataclasses.replace(HOW, guidance="classifier"))
    assert settings.classifier is not None  # asked for
    dataset = settings.model.meta["dataset"]
    extractor = extractors.load(f"{dataset}-evaluator")
    classes = settings.model.classes
    y = torch.arange(arguments.each * len(classes)) % len(classes)
    plain = draw(settings.model, settings, y, arguments.seed)
    by_class = y.argsort(stable=True)  # a row shows class after class

    drawn, entries = [], []
    for number, row in enumerate(rows(settings.model, settings.classifier)):
        x = plain if (row.guidance, row.w) == ("cfg", 0.0) else draw(row.make(), settings, y, arguments.seed)
        drawn.append(to_uint8(x[by_class]))
        found = figures(x, plain, y, extractor)
        entries.append({"row": number, "guidance": row.guidance, "w": row.w, **found})
        print(f"{row.guidance:26} w = {row.w:4g}: {found}", flush=True)

    picture = io.BytesIO()
    sheet(torch.cat(drawn), len(y), gap=0).save(picture, "JPEG", quality=95, subsampling=0, optimize=True)
    spelled = f"python tools/sheets.py --model {arguments.model} --each {arguments.each}"
    made_by = provenance(settings.device, f"{spelled} --seed {arguments.seed}")
    made_by |= {"seed": arguments.seed, "minutes": round((time.perf_counter() - begin) / 60, 1)}
    about = {
        "role": "sheets",
        "dataset": dataset,
        "model": arguments.model,
        "model_sha256": settings.model.sha256,
        "extractor": extractor.name,
        "sampling": dataclasses.asdict(HOW),
        "classes": list(classes),
        "each": arguments.each,
        "rows": entries,
        "made_by": made_by,
    }
    name = f"{dataset}-sheets"
    file = arguments.to / f"{name}.safetensors"
    artifacts.save(file, {"jpeg": torch.frombuffer(picture.getbuffer(), dtype=torch.uint8)}, about)
    artifacts.manifest_add(name, file)


if __name__ == "__main__":
    main()
