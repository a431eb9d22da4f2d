"""The runs on GPUs that the book's figures come from, in slices of time: start it again until it says that all is done.

    python benchmarks/study.py --list                 # what there is, what it takes, what is done
    python benchmarks/study.py --minutes 9            # whatever fits, in order
    python benchmarks/study.py --only train-short sweep-short
    python benchmarks/study.py --tiny --out runs/tiny # the same steps on digits and a CPU, to try the script

Each step is one command of ``cfgtoy`` or of this folder, on all GPUs of the machine; what has its file in ``--out`` is
skipped. A training that outlasts the slice gets SIGTERM, saves and goes on in the next; any other step is started only
when it fits. ``study.jsonl`` in the folder keeps what ran, for how long and how it ended. CIFAR-10 is looked for where
``CFGTOY_CIFAR10`` says. Nothing enters ``data/`` by itself: look at the figures first, then ``artifacts.manifest_add``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from cfgtoy import _files

ROOT = Path(__file__).resolve().parent.parent
MARGIN = 20.0  # seconds that a training gets to save itself


@dataclass(frozen=True)
class Step:
    """One command and the file that says it is done."""

    name: str
    words: tuple[str, ...]
    """``train …`` or ``evaluate …`` of cfgtoy, or a script of this folder, whose last line of output is kept."""
    makes: Path
    minutes: float
    """About, on one H200."""
    needs: tuple[Path, ...] = ()
    entries: int = 0
    """Results that the file must hold: an evaluation writes it anew after each w."""
    ranks: Literal["one", "all", "several"] = "all"
    """Processes: one; one a GPU; or the same, and no sense on one GPU."""

    @property
    def resumable(self) -> bool:
        return self.words[0] == "train"

    @property
    def script(self) -> bool:
        return self.words[0].endswith(".py")

    def done(self) -> bool:
        if not self.makes.exists():
            return False
        return not self.entries or len(json.loads(self.makes.read_text())["results"]) == self.entries

    def command(self, gpus: int) -> list[str]:
        """The command line, under torchrun where there are several processes."""
        words = [f"benchmarks/{self.words[0]}"] if self.script else ["-m", "cfgtoy", self.words[0]]
        words += self.words[1:]
        if gpus > 1 and self.ranks != "one":
            words = ["-m", "torch.distributed.run", f"--nproc-per-node={gpus}", "--max-restarts=1", *words]
        return [sys.executable, *words]


def plan(out: Path, *, tiny: bool = False, gpus: int = 1) -> list[Step]:
    """All steps, in the order of their worth."""
    data = "digits" if tiny else "cifar10"
    steps: list[Step] = []
    few, how = "", "--batch 2500 --levels uniform --steps 18 --lo -8 --hi 10 --dtype bfloat16 --compile"
    if tiny:
        few = "--images 64 --batch 32 --device cpu --no-progress"
        how = "--batch 20 --steps 2 --device cpu"

    def bench(name: str, *words: str, minutes: float, ranks: Literal["one", "several"] = "one") -> None:
        steps.append(Step(name, words, out / f"{name}.json", minutes, ranks=ranks))

    def train(name: str, recipe: str, *options: str, minutes: float, parts: int = 2) -> Path:
        """``parts`` is how many a batch is cut into on one GPU; 0 keeps it, and the training, on one."""
        weights = out / name / "weights.safetensors"
        if not tiny:
            options = (*options, "--accumulate", str(max(1, parts // gpus)), "--grid-every", "0")
        words = ("train", recipe, *options, *few.split(), "--resume", "--out", str(weights.parent))
        steps.append(Step(name, words, weights, minutes, ranks="all" if parts else "one"))
        return weights

    def sweep(
        name: str, model: Path | str, *options: str, w: str, n: int, minutes: float, how: str = how
    ) -> None:
        file = out / f"{name}.json"
        words = (
            "evaluate", str(model), "--w", *w.split(), "--n", str(40 if tiny else n), *how.split(), *options,
            "--extractor", str(evaluator), "--out", str(file),
        )  # fmt: skip
        needs = tuple(path for path in (model, evaluator) if isinstance(path, Path))
        steps.append(Step(name, words, file, minutes, needs, len(w.split())))

    random = ("--model", "random", "--n", "20000")
    size = ("--size", "digits") if tiny else ()
    speed = ("train_speed.py", "--batch", "64", "--repeats", "1", *size) if tiny else ("train_speed.py",)
    drawn = ("sample_speed.py", *random[:3], "20", "--batch", "20", *size) if tiny else ("sample_speed.py",)
    bench("speed-train", *speed, minutes=1.5)
    bench("speed-sample", *drawn, minutes=1.5)
    bench("speed-train-all-gpus", *speed, minutes=2.0, ranks="several")
    if not tiny:
        bench("speed-train-wide", "train_speed.py", "--size", "wide", minutes=2.5)
        bench("speed-sample-wide", "sample_speed.py", *random, "--size", "wide", minutes=2.5)

    sharp = "digits-evaluator" if tiny else "cifar10-evaluator-sharp"
    evaluator = train("evaluator", sharp, minutes=2.5, parts=0)
    fine = "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 1 1.5 2 3 4"
    kept = ("--noise-floor", "--save-reference", str(out / "reference.safetensors"))
    sweep("sweep-cfg", data, *kept, "--picture", str(out / "sheet.png"), w=fine, n=50_000, minutes=7.0)
    classifier = ("--guidance", "classifier")
    sweep("sweep-classifier", data, *classifier, w="0 0.5 1 2 3 4 6 8", n=50_000, minutes=4.0)
    classifier = ("--guidance", "classifier-unconditional")
    sweep("sweep-classifier-unconditional", data, *classifier, w="-1 0 1 2 3 4 6 8", n=50_000, minutes=4.0)

    own = "--batch 20 --device cpu" if tiny else "--batch 2500 --dtype bfloat16 --compile"
    for name, images, later in (("student", "6000000", "2500000"), ("student-full", "1500000", "1500000")):
        recipe = "digits-student" if tiny else f"cifar10-{name}"
        length = ("--images-halving", "32") if tiny else ("--images", images, "--images-halving", later)
        coarse = ("--steps", "1", "--halve-from", "32", "--stride", "2", *length)
        model = train(f"train-{name}", recipe, *coarse, minutes=13.0, parts=1)
        for k in (4, 2, 1):
            part = model.parent / ("" if k == 1 else f"steps-{k}") / model.name
            sweep(f"sweep-{name}-{k}", part, w="0 0.2 0.4 0.6 0.8 1 2 4", n=50_000, minutes=1.2, how=own)
        fine = "0 0.2 0.3 0.4 0.5 0.6 0.8 1 2 4"
        model = train(f"train-{name}-fine", recipe, *(length if tiny else ()), minutes=18.0, parts=1)
        sweep(f"sweep-{name}-fine", model, w=fine, n=50_000, minutes=2.3, how=own)

    short, equal = "digits" if tiny else "cifar10-short", () if tiny else ("--images", "2000000")
    for p in ("0.1", "0.2", "0.5"):
        model = train(f"train-p{p}", short, "--p-uncond", p, *equal, minutes=2.5, parts=1)
        sweep(f"sweep-p{p}", model, w="0 0.25 0.5 1 2 4", n=10_000, minutes=1.0)
    for steps_t, v, minutes in (
        ("16", "0", 0.7), ("16", "0.3", 0.7), ("16", "1", 0.7), ("128", "0", 1.2), ("128", "0.3", 1.2),
        ("128", "1", 1.2), ("256", "0.3", 2.0), ("1024", "0.3", 5.0),
    ):  # fmt: skip
        options = () if tiny else ("--sampler", "ancestral", "--steps", steps_t, "--v", v)
        sweep(f"sweep-T{steps_t}-v{v}", data, *options, w="0.5", n=10_000, minutes=minutes)

    model = train("train-short", short, minutes=6.0, parts=1)
    sweep("sweep-short", model, "--noise-floor", w="0 0.5 1 4", n=10_000, minutes=1.5)
    rules = ("--model", "digits", "--n", "40", "--steps", "2", "--only", "apg") if tiny else ()
    file = out / "rules.json"
    words = ("rules.py", "--extractor", str(evaluator), *rules, "--out", str(file))
    steps.append(Step("rules", words, file, 14.0, (evaluator,), 1 if tiny else 16, ranks="one"))
    train(
        "train-more", "digits" if tiny else "cifar10-more", "--init", f"data/{data}.safetensors", minutes=20.0
    )
    wide = ("digits",) if tiny else ("cifar10-wide", "--images", "15000000")
    model = train("train-wide", *wide, minutes=45.0, parts=4)
    sweep("sweep-wide", model, w="0 0.3 0.5 1", n=50_000, minutes=6.0)
    return steps


def run(step: Step, seconds: float, gpus: int, log: Path) -> tuple[int, bool]:
    """Run a step, its output to ``log``; returns its exit code, and whether it was stopped after ``seconds``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    stopped = False
    with log.open("ab") as file:
        process = subprocess.Popen(
            step.command(gpus), cwd=ROOT, env=environment, stderr=file,
            stdout=subprocess.PIPE if step.script else file,
        )  # fmt: skip
        for patience, signal_number in (
            (seconds, signal.SIGTERM),
            (2 * MARGIN, signal.SIGKILL),
            (None, None),
        ):
            try:
                printed, _ = process.communicate(timeout=patience)
                break
            except subprocess.TimeoutExpired:
                stopped = True
                process.send_signal(signal_number)
    if step.script and process.returncode == 0 and "--out" not in step.words:
        _files.write_atomically(step.makes, printed.splitlines()[-1] + b"\n")
    return process.returncode, stopped


def main(argv: Sequence[str] | None = None) -> int:
    """Run what fits; 0 when nothing failed, done or not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="length of this slice")
    parser.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of all that is made")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP", help="these steps alone")
    parser.add_argument("--tiny", action="store_true", help="digits on the CPU, to try the script")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    args = parser.parse_args(argv)
    begin = time.monotonic()
    gpus = 1 if args.tiny else torch.cuda.device_count()
    steps = plan(args.out, tiny=args.tiny, gpus=max(gpus, 1))
    if unknown := set(args.only) - {step.name for step in steps}:
        parser.error(f"no step {', '.join(sorted(unknown))}")
    if not gpus and not args.list:
        parser.error("there is no GPU here; --tiny tries the script on a CPU")

    os.chdir(ROOT)
    failed = False
    for step in steps:
        if args.only and step.name not in args.only:
            continue
        left = 60 * args.minutes - (time.monotonic() - begin) - MARGIN
        takes = 0 if args.tiny else 60 * step.minutes / (1 if step.ranks == "one" else max(gpus, 1))
        if step.done():
            state = "done"
        elif missing := [path for path in step.needs if not path.exists()]:
            state = f"waits for {missing[0]}"
        elif step.ranks == "several" and gpus < 2:
            state = "wants several GPUs"
        elif args.list:
            state = f"about {takes / 60:.1f} min: {shlex.join(step.command(gpus)[1:])}"
        elif left < (2 * MARGIN if step.resumable else takes):
            state = f"left for another slice: takes about {takes:.0f} s, and {max(left, 0):.0f} s are left"
        else:
            state = _started(step, left, gpus, args.out)
            failed |= state.startswith("FAILED")
        print(f"{step.name:22} {state}", flush=True)
    return int(failed)


def _started(step: Step, seconds: float, gpus: int, out: Path) -> str:
    """Run a step, note it in the folder, and say how it ended."""
    start, log = time.monotonic(), out / f"{step.name}.log"
    code, stopped = run(step, seconds, gpus, log)
    took, done = time.monotonic() - start, step.done()
    line = {"step": step.name, "seconds": round(took, 1), "code": code, "stopped": stopped, "done": done}
    with (out / "study.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line | {"gpus": gpus}) + "\n")
    if done:
        return f"done in {took:.0f} s"
    if stopped and step.resumable:
        return f"saved after {took:.0f} s, goes on in the next slice"
    return f"FAILED with {code} after {took:.0f} s; see {log}"


if __name__ == "__main__":
    sys.exit(main())
