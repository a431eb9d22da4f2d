"""The board: rules × problems × weights × samplers × seeds, measured into a file that can be resumed."""

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .. import _checks, _files
from .._provenance import provenance
from ..guidance import Rule
from ..samplers import SAMPLERS, sample
from .entrants import Entrant, entrant, label
from .measures import Counted, curl_of, measure
from .problems import PROBLEMS, Problem
from .problems import problem as make_problem

Record = dict[str, Any]
BATCH = 2000
FARTHEST = 1e6  # samples farther out than that have left the data for good
_dumps = partial(json.dumps, ensure_ascii=False, allow_nan=False)


class _Run(NamedTuple):
    """One measurement to make."""

    rule: Entrant
    problem: Problem
    w: float
    sampler: str
    seed: int
    n: int
    steps: int

    def record(self) -> Record:
        return self._asdict() | {"rule": self.rule.record, "problem": self.problem.name}


def run(
    rules: Sequence[str | Mapping[str, Any] | Rule],
    problems: Sequence[str | Problem],
    weights: Sequence[float],
    *,
    samplers: Sequence[str] = ("dpm++2m",),
    seeds: Sequence[int] = (0, 1, 2),
    n: int | None = None,
    steps: int | None = None,
    out: str | Path | None = None,
    progress: bool = False,
    command: str = "cfgtoy.compare.run",
) -> list[Record]:
    """Measure every rule on every problem at every weight; a record each, in the order of the arguments.

    A record holds ``rule``, ``problem``, ``w``, ``sampler``, ``seed``, ``n``, ``steps``, ``made_by`` (the place of its
    provenance in the file), ``seconds``, and either ``measures`` (see ``cfgtoy.compare.MEASURES``) or ``error``: a
    rule that raises, or whose samples are NaN or run off, gets a record that says so. At one seed all rules start from
    the same noise.

    Args:
        rules: names, Rules with options, their records, or ``"module:function"``, a function ``f(denoiser, *, w)``.
        problems: names in :data:`PROBLEMS`, or problems of one's own.
        weights: w, counted from the conditional model.
        samplers: names in ``cfgtoy.samplers.SAMPLERS``.
        seeds: of the noise; what differs between them is the spread.
        n, steps: samples a record, shared by the problem's classes, and levels; by default what the problem says.
        out: a JSON file. What it already holds is not measured again, except where a rule had raised; it is written
            after each record, so a run that is killed loses the one at hand.
        progress, command: show a bar; what the provenance says was run.

    Raises ``ValueError``: unknown names, no weights, a weight that is not finite, or a file that is no board; and
    ``OSError`` where the file cannot be written.
    """
    from tqdm.auto import tqdm

    lists = {"rules": rules, "problems": problems, "weights": weights, "samplers": samplers, "seeds": seeds}
    for name, values in lists.items():
        if isinstance(values, str) or not len(values):
            raise ValueError(f"{name}: got {values!r}, takes a list of at least one")
    entrants = [entrant(rule) for rule in rules]
    weights = [_checks.number("weights", w) for w in weights]
    seeds = [_checks.positive_int("seeds", seed, least=0) for seed in seeds]
    for sampler in samplers:
        _checks.one_of("samplers", sampler, SAMPLERS)
    for one in problems:
        if not isinstance(one, Problem):
            _checks.one_of("problems", one, PROBLEMS)
    for name, value in (("n", n), ("steps", steps)):
        if value is not None:
            _checks.positive_int(name, value, least=2)
    store, found = _Store(out, command, entrants), {}
    total = len(entrants) * len(problems) * len(weights) * len(samplers) * len(seeds)
    with tqdm(total=total, disable=not progress, desc="compare") as bar:
        for problem in map(make_problem, problems):
            count, classes = n or problem.n, len(problem.classes)
            if count < 10 * classes:
                raise ValueError(f"n: got {count} for {classes} classes of {problem.name}, takes ten a class")
            for rule, sampler, w in product(entrants, samplers, weights):
                curl: list[float | None] = []
                for seed in seeds:
                    task = _Run(rule, problem, w, sampler, seed, count, steps or problem.steps)
                    bar.set_postfix_str(f"{label(rule.record)} on {problem.name}, w = {w:g}")
                    key = _key(task.record())
                    if key not in store.done:
                        store.add(_measured(task, curl))
                    found[key] = store.done[key]
                    bar.update()
    return list(found.values())


def read(path: str | Path) -> list[Record]:
    """The records of a file that :func:`run` wrote; ``ValueError`` for another one."""
    return _read(Path(path))["records"]


def _measured(task: _Run, curl: list[float | None]) -> Record:
    start = time.perf_counter()
    try:
        found: Record = _figures(task, curl)
    except Exception as error:  # whatever somebody's rule raises is what there is to know of it
        found = {"error": f"{type(error).__name__}: {error}"}
    return task.record() | found | {"seconds": round(time.perf_counter() - start, 3)}


def _figures(task: _Run, curl: list[float | None]) -> Record:
    problem, counted = task.problem, Counted(task.problem.denoiser)
    within = getattr(problem.denoiser, "schedule", None)
    grid = SAMPLERS[task.sampler].grid(task.steps, within=within, device=problem.device)
    parts: dict[str, Any] = {**problem.parts, "ratios": problem.ratios}
    if "bad" in parts:
        parts["bad"] = Counted(parts["bad"], also=counted)
    guided = task.rule.guide(counted, w=task.w, grid=grid, **parts)
    y = torch.tensor(problem.classes).repeat_interleave(-(-task.n // len(problem.classes)))[: task.n]
    generator = torch.Generator(problem.device).manual_seed(task.seed)
    draw = partial(sample, guided, grid=grid, method=task.sampler, generator=generator)
    batches = y.to(problem.device).split(BATCH)
    x = torch.cat([draw(part, shape=(len(part), *problem.shape)).float() for part in batches])
    evaluations = counted.count / len(x)
    if bad := int((~x.flatten(1).isfinite().all(1)).sum()):
        return {"error": f"NaN or infinite: {bad} of {len(x)} samples"}
    if (farthest := x.abs().max().item()) > FARTHEST:
        return {"error": f"ran off: the farthest sample has an entry of {farthest:.2g}"}
    if not curl:
        curl.append(curl_of(problem, guided, grid))
    return {"measures": measure(problem, x, y, task.w) | {"curl": curl[0], "evaluations": evaluations}}


class _Store:
    """The records so far: by key, and in a file where there is one."""

    def __init__(self, out: str | Path | None, command: str, entrants: Sequence[Entrant]) -> None:
        self.out = None if out is None else Path(out)
        held: Record = {"made_by": [], "records": []}
        if self.out is not None:
            _files.try_writing(self.out)
            if self.out.exists():
                held = _read(self.out)
        self.made_by = [*held["made_by"], provenance(torch.device("cpu"), command)]
        # A function of somebody's own that was altered since is another rule under the same name.
        now = {one.record["name"]: one.record for one in entrants if ":" in one.record["name"]}
        kept = {_key(r): r for r in held["records"] if now.get(r["rule"]["name"], r["rule"]) == r["rule"]}
        self.lines = {key: _dumps(record) for key, record in kept.items()}
        # What raised is tried again: the reason may be gone.
        last = ("NaN", "ran off")
        self.done = {k: r for k, r in kept.items() if "error" not in r or r["error"].startswith(last)}

    def add(self, record: Record) -> None:
        key = _key(record)
        self.done[key] = record | {"made_by": len(self.made_by) - 1}
        self.lines[key] = _dumps(self.done[key])
        if self.out is not None:
            lines = ",\n".join(self.lines.values())
            text = f'{{"made_by": {_dumps(self.made_by)},\n"records": [\n{lines}\n]}}\n'
            _files.write_atomically(self.out, text.encode())


def _key(record: Record) -> str:
    return json.dumps([record[name] for name in _Run._fields], sort_keys=True)


def _read(path: Path) -> Record:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        for record in held["records"]:
            _key(record)
        if not isinstance(held["made_by"], list):
            raise ValueError("made_by is no list")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"out: got {path}, no board ({error}), takes a file of cfgtoy compare") from error
    return held
