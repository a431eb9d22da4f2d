"""The board: every rule on the plane's problems, on long rings and on digits, into data/compare.json.

    python benchmarks/board.py
    python benchmarks/board.py --against data/compare.json   # on another machine: stores nothing, says what differs

Three seeds each. A run that is killed goes on where it was. The file says how many minutes it took.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cfgtoy import artifacts, compare

DATA = Path(__file__).resolve().parents[1] / "data"
RULES = [
    "classifier-free", "classifier", "interval(lo=-3, hi=3)", "weight-schedule", "adaptive", "rescale(on=x)", "apg",
    "tcfg", "cfg-zero-star", "mambo-g", "power-law", "recfg", "dynamic-threshold(floor=3)", "auto", "total",
]  # fmt: skip
PROBLEMS = [
    "three-gaussians", "ring", "overlapping", "tree", "three-gaussians-blurred", "ring-too-narrow",
    "tree-too-few-modes", "overlapping-mlp", "gaussian-pair",
]  # fmt: skip
WEIGHTS = [0.0, 0.5, 1.0, 2.0, 4.0]
N = 1000
LONG = ["ring-64d", "ring-512d"]
# Images have weights of their own, a rule that only they can take, and no ratios for ReCFG.
ON_IMAGES = [rule for rule in RULES if rule != "recfg"] + ["frequency-decoupled"]
IMAGE_WEIGHTS = [0.0, 0.25, 0.5, 1.0]


def rounded(value: Any) -> Any:
    """Five digits are more than three seeds can tell."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def held(records: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many of the means over seeds are those of the other board, to the spread that is shown.

    Where there is no spread, as of a count of evaluations, to four digits; what is below 0.1, to 1e-5.
    """
    rows = {(row.rule, row.problem, row.w, row.sampler): row for row in compare.summary(others)}
    figures, same, apart = 0, 0, []
    for row in compare.summary(records):
        other = rows[row.rule, row.problem, row.w, row.sampler]
        for name, mean in row.mean.items():
            theirs, spreads = other.mean[name], (row.spread[name], other.spread[name])
            if mean is None and theirs is None:
                continue
            figures += 1
            gap = (
                math.inf if mean is None or theirs is None else abs(mean - theirs)
            )  # known to one board alone
            rounding = 1e-4 * max(abs(mean or 0.0), 0.1)
            same += gap <= rounding
            if gap > max(rounding, *(spread or 0.0 for spread in spreads)):
                apart.append(f"{row.rule} on {row.problem}, w = {row.w:g}: {name}")
    return {"figures": figures, "the same to four digits": same, "apart by more than the spread": apart}


def main(argv: Sequence[str] | None = None) -> None:
    """Run, and store or hold against what is stored."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="a board to hold the new figures against")
    against = parser.parse_args(argv).against
    out = Path("_build/board.json")
    out.parent.mkdir(exist_ok=True)
    start = time.perf_counter()
    records = []
    for rules, problems, weights, n in (
        (RULES, PROBLEMS, WEIGHTS, N),
        (RULES, LONG, [0.0, 1.0, 4.0], N),
        (ON_IMAGES, ["digits"], IMAGE_WEIGHTS, None),
    ):
        records += compare.run(
            rules, problems, weights, n=n, out=out, progress=True, command="python benchmarks/board.py"
        )
    if against:
        print(json.dumps(held(records, json.loads(against.read_text())["records"])))
        return
    made_by = json.loads(out.read_text())["made_by"]
    about = {key: made_by[-1][key] for key in ("command", "commit", "device", "torch", "date")}
    # Of the records themselves, as a run may have been taken up again.
    minutes = round(max(time.perf_counter() - start, sum(r["seconds"] for r in records)) / 60, 2)
    head = json.dumps(about | {"minutes": minutes, "seed": [0, 1, 2], "made_by": made_by})
    lines = ",\n".join(json.dumps(rounded(record)) for record in records)
    file = DATA / "compare.json"
    text = f'{head[:-1]},\n"records": [\n{lines}\n]}}\n'
    artifacts.write_atomically(file, text.encode())
    artifacts.manifest_add("compare", file)


if __name__ == "__main__":
    main()
