"""How good the digits' students are beside their teacher, for each w.

    cfgtoy train digits-student --steps 1 --out runs/digits-student
    python benchmarks/students.py runs/digits-student [--to data/digits-students.json]

The run's parts are a student of any grid and students of 16, 8, 4, 2 and 1 steps. For every w and each of them, and
for the guided teacher by the same DDIM, n images from the same noise: the share that the evaluator names rightly, the
Fréchet distance to the training images in its features, and the root mean square difference to the teacher's images
of many steps. Then two weights at once: w as the input, and a second guidance w_2 from the label ∅ on top, beside the
one weight (1 + w)(1 + w_2) − 1 that this comes to.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cfgtoy import artifacts, guidance, samplers
from cfgtoy._provenance import provenance
from cfgtoy.datasets import digits
from cfgtoy.datasets.images import to_float
from cfgtoy.metrics import Moments, frechet_distance
from cfgtoy.prediction import Denoiser

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
ON_TOP = ((0.0, 1.0), (0.0, 3.0), (1.0, 0.5), (1.0, 1.0))
MANY = 128
FINE = 32  # levels, for the student of any grid


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
    real, held_out = (evaluator(to_float(digits.load(split).images))[0] for split in ("train", "test"))
    reference = Moments.of(real)

    def distance(features: Tensor) -> float:
        return round(float(frechet_distance(Moments.of(features), reference)), 3)

    def drawn(denoiser: Denoiser, steps: int) -> Tensor:
        grid = artifacts.student_grid(steps)
        return samplers.sample(denoiser, y, shape=z.shape, grid=grid, method="ddim", z=z).clamp(-1, 1)

    def figures(x: Tensor, best: Tensor) -> dict[str, Any]:
        features, probs = evaluator(x)
        return {
            "accuracy": round((probs.argmax(1) == y).double().mean().item(), 4),
            "fd": distance(features),
            "off": round((x - best).square().mean().sqrt().item(), 4),
        }

    names = {FINE: "guided", 16: "steps-16", 8: "steps-8", 4: "steps-4", 2: "steps-2", 1: "."}
    students = {
        k: artifacts.load_student(arguments.run / name / "weights.safetensors") for k, name in names.items()
    }
    by_teacher: dict[float, Tensor] = {}

    def best_at(w: float) -> Tensor:
        if w not in by_teacher:
            by_teacher[w] = drawn(guidance.classifier_free(teacher, w=w), MANY)
        return by_teacher[w]

    rows = []
    for w in WEIGHTS:
        guided, best = guidance.classifier_free(teacher, w=w), best_at(w)
        images = {("teacher", MANY): best}
        for steps, student in students.items():
            images["teacher", steps] = drawn(guided, steps)
            images["student", steps] = drawn(student.at(w), steps)
        for (who, steps), x in images.items():
            calls = steps * (2 if who == "teacher" and w else 1)
            rows.append({"who": who, "steps": steps, "evaluations": calls, "w": w} | figures(x, best))
            print(rows[-1], flush=True)

    twice = []
    for w, w_2 in ON_TOP:
        total = (1 + w) * (1 + w_2) - 1
        for steps in (FINE, 4):
            x = drawn(guidance.classifier_free(students[steps].at(w), w=w_2), steps)
            row = {"steps": steps, "w": w, "w_2": w_2, "total": total} | figures(x, best_at(total))
            if total <= students[steps].w_max:
                row["off_one"] = figures(drawn(students[steps].at(total), steps), best_at(total))["off"]
            twice.append(row)
            print(row, flush=True)

    made_by = provenance(torch.device("cpu"), f"python benchmarks/students.py {arguments.run}")
    made_by |= {"seed": 0, "minutes": round((time.perf_counter() - begin) / 60, 1)}
    shas = {f"student_{k}": s.sha256 for k, s in students.items()} | {"teacher": teacher.sha256}
    record = {
        "n": len(y), "held_out_fd": distance(held_out), "weights": shas, "rows": rows, "twice": twice, **made_by,
    }  # fmt: skip
    arguments.to.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
