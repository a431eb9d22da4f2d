"""Measure what n real images score: the floor, and the bias, of a figure measured on n samples.

    python tools/noise_floor.py [--to data]

Takes the 10,000 test images of CIFAR-10 (see CFGTOY_CIFAR10), splits them into parts of n, as many of each class in
each part, and compares every part with the training images through the moments in ``cifar10-reference``. Writes
``cifar10-floor.json``: for each n the mean and the spread over the parts. A CPU core takes about five minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from cfgtoy import _files
from cfgtoy._provenance import provenance
from cfgtoy.datasets import cifar10
from cfgtoy.metrics import extractors, frechet_from_moments, inception_score, moments

SIZES = (200, 500, 1000, 2000, 5000, 10_000)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, default=Path("data"), help="the folder to write into")
    arguments = parser.parse_args()

    begin = time.perf_counter()
    data = cifar10.load("test")
    extractor = extractors.load("cifar10-evaluator")
    reference = _files.load("cifar10-reference")
    if reference.meta["extractor_sha256"] != extractor.sha256:
        raise SystemExit("cifar10-reference was made with another evaluator")
    mean = reference.tensors["mean"].double()
    cov = reference.tensors["scatter"].double() / (reference.meta["n"] - 1)

    place = torch.empty(len(data), dtype=torch.int64)  # of an image among those of its class
    for c in range(data.num_classes):
        mine = data.labels == c
        place[mine] = torch.arange(int(mine.sum()))
    order = (place * data.num_classes + data.labels).argsort()  # one of each class, then the next of each
    found = [*extractors.over(extractor, data.images[order], 250)]
    features = torch.cat([f for f, _ in found])  # (10000, d)
    probs = torch.cat([p for _, p in found])  # (10000, 10)

    results = []
    for n in SIZES:
        distances = [
            frechet_from_moments(*moments(part), mean, cov) for part in features.split(n) if len(part) == n
        ]
        scores = [inception_score(part) for part in probs.split(n) if len(part) == n]
        both = torch.tensor([distances, scores], dtype=torch.float64)  # (2, parts)
        spread = both.std(1).tolist() if len(distances) > 1 else [None, None]
        average = both.mean(1).tolist()
        results.append(
            {
                "n": n,
                "parts": len(distances),
                f"frechet_{extractor.name}": average[0],
                f"frechet_{extractor.name}_std": spread[0],
                f"inception_score_{extractor.name}": average[1],
                f"inception_score_{extractor.name}_std": spread[1],
            }
        )
        print(results[-1], flush=True)
    record = {
        "images": "test",
        "reference": "train",
        "reference_n": reference.meta["n"],
        "extractor": extractor.name,
        "extractor_sha256": extractor.sha256,
        "seed": None,  # nothing is drawn
        **provenance(torch.device("cpu"), "python tools/noise_floor.py"),
        "minutes": round((time.perf_counter() - begin) / 60, 1),
        "results": results,
    }
    file = arguments.to / "cifar10-floor.json"
    _files.write_atomically(file, (json.dumps(record, indent=1) + "\n").encode())
    _files.manifest_add("cifar10-floor", file, role="results", dataset="cifar10")


if __name__ == "__main__":
    main()
