"""Every rule of the table on an image model, at four weights; the file is written after each, and a run is taken up.

    python benchmarks/rules.py --out runs/rules.json          # 10,000 CIFAR-10 images a rule and weight, on a GPU
    python benchmarks/rules.py --model digits --n 100 --steps 4 --out runs/digits-rules.json

``total`` pushes away from the model with its attention degraded to the identity, which is perturbed-attention guidance
beside CFG; ``auto`` needs ``--bad``, a worse model's weights, and is left out without.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch

from cfgtoy import _files, artifacts, guidance, images
from cfgtoy._provenance import provenance
from cfgtoy._ranks import pick_device
from cfgtoy.images import Sampling
from cfgtoy.nets.degraded import degraded

LEFT_OUT = (
    "negative",
    "auto",
)  # the one is plain guidance where no class is named, the other needs a worse model
OPTIONS: dict[str, dict[str, Any]] = {"interval": {"lo": -3.0, "hi": 3.0}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="cifar10")
    parser.add_argument("--bad", help="weights of a worse model, for auto")
    parser.add_argument("--w", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--batch", type=int, default=2500)
    parser.add_argument("--extractor", default="auto")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help="these rules alone")
    args = parser.parse_args()
    begin, device = time.perf_counter(), pick_device("auto")
    model = artifacts.load_denoiser(args.model, device)
    cuda = device.type == "cuda"
    torch._dynamo.config.recompile_limit = 256  # every rule calls the network in its own way

    chosen = [(name, OPTIONS.get(name, {})) for name in guidance.RULES if name not in LEFT_OUT]
    if args.bad:
        chosen.append(("auto", {"bad": artifacts.load_denoiser(args.bad, device)}))
    if args.only:
        chosen = [(name, options) for name, options in chosen if name in args.only]
    head = {
        "model": args.model, "model_sha256": model.sha256, "bad": args.bad, "n": args.n, "steps": args.steps, "seed": 0,
        **provenance(device, shlex.join(["python", "benchmarks/rules.py", *sys.argv[1:]])),
    }  # fmt: skip
    kept = json.loads(args.out.read_text()) if args.out.exists() else {"minutes": 0.0, "results": []}
    if kept["results"] and kept["model_sha256"] != model.sha256:
        raise SystemExit(f"rules.py: {args.out} holds figures of other weights; take another file")
    found, before = kept["results"], kept["minutes"]

    for name, options in chosen:
        if name in {row["rule"] for row in found}:
            continue
        parts = {"bad": degraded(model, "identity")} if name == "total" else {}
        # What answers a part of a batch alone has shapes of its own, each of which would be compiled.
        how = Sampling(
            rule=guidance.rule(name, **options, **parts), levels="uniform", steps=args.steps, lo=-8.0, hi=10.0,
            dtype="bfloat16" if cuda else "float32", compile=cuda and name not in ("adaptive", "total", "auto"),
        )  # fmt: skip
        start = time.perf_counter()
        record = images.evaluate(
            model, sampling=how, w=tuple(args.w), n=args.n, batch=args.batch, extractor=args.extractor,
            device=device.type,
        )  # fmt: skip
        found.append(
            {"rule": name, "options": {k: v for k, v in options.items() if k != "bad"}, **_short(record)}
        )
        about = {
            key: record[key]
            for key in ("extractor", "extractor_sha256", "reference", "reference_n", "sampling")
        }
        about["sampling"].pop("compile")
        minutes = round(before + (time.perf_counter() - begin) / 60, 2)
        text = json.dumps(head | about | {"minutes": minutes, "results": found}, indent=1)
        _files.write_atomically(args.out, text.encode() + b"\n")
        print(f"{name:20} {time.perf_counter() - start:6.1f} s", flush=True)


def _short(record: dict[str, Any]) -> dict[str, Any]:
    """The figures alone, five digits of each."""
    rows = [{key: float(f"{value:.5g}") for key, value in row.items()} for row in record["results"]]
    return {"rows": rows}


if __name__ == "__main__":
    main()
