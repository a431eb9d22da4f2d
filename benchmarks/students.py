"""How good the digits' students are beside their teacher, for each w.

    cfgtoy train digits-student --steps 1 --out runs/digits-student
    python benchmarks/students.py runs/digits-student [--to data/digits-students.json]

The run's parts are students of 8, 4, 2 and 1 steps. For every w and each of them, and for the guided teacher by the
same DDIM, n images from the same noise: the share that the evaluator names rightly, the Fréchet distance to the
training images in its features, and the root mean square difference to the teacher's images of many steps.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from cfgtoy import artifacts, guidance, samplers
from cfgtoy._provenance import provenance
from cfgtoy.datasets import digits
from cfgtoy.datasets.images import to_float
from cfgtoy.metrics import Moments, frechet_distance

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
MANY = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--to", type=Path, default=Path("data/digits-students.json"))
    parser.add_argument("--n", type=int, default=1000)
    arguments = parser.parse_args()
    begin = time.perf_counter()

    teacher, evaluator = artifacts.load_denoiser("digits"), artifacts.load_evaluator("digits-evaluator")
    y = torch.arange(arguments.n) % 10
    z = torch.randn(len(y), 1, 8, 8, generator=torch.Generator().manual_seed(0))
    train = digits.load("train")
    reference = Moments.of(evaluator(to_float(train.images))[0])

    def drawn(denoiser: object, grid: Tensor) -> Tensor:
        return samplers.sample(denoiser, y, shape=z.shape, grid=grid, method="ddim", z=z).clamp(-1, 1)

    names = {8: "steps-8", 4: "steps-4", 2: "steps-2", 1: "."}
    students = {
        k: artifacts.load_student(arguments.run / name / "weights.safetensors") for k, name in names.items()
    }
    rows = []
    for w in WEIGHTS:
        guided = guidance.classifier_free(teacher, w=w)
        best = drawn(guided, artifacts.student_grid(MANY))
        images = {("teacher", MANY): best}
        for steps, student in students.items():
            images["teacher", steps] = drawn(guided, artifacts.student_grid(steps))
            images["student", steps] = drawn(student.at(w), student.grid)
        for (who, steps), x in images.items():
            features, probs = evaluator(x)
            rows.append(
                {
                    "who": who, "steps": steps, "evaluations": steps * (2 if who == "teacher" else 1), "w": w,
                    "accuracy": round((probs.argmax(1) == y).double().mean().item(), 4),
                    "fd": round(float(frechet_distance(Moments.of(features), reference)), 3),
                    "off": round((x - best).square().mean().sqrt().item(), 4),
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    made_by = provenance(torch.device("cpu"), "python benchmarks/students.py runs/digits-student")
    made_by |= {"seed": 0, "minutes": round((time.perf_counter() - begin) / 60, 1)}
    shas = {f"student_{k}": s.sha256 for k, s in students.items()} | {"teacher": teacher.sha256}
    record = {"n": len(y), "trained": students[1].meta["made_by"], "shas": shas, "rows": rows, **made_by}
    arguments.to.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
