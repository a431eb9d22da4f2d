"""Rules side by side: one weight means another thing in each, so they are compared by what their weights can reach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from .. import _checks
from .entrants import label

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Row:
    """A rule on a problem at one weight: of each measure the mean over the seeds, and the standard deviation, 0 for one
    seed; None where the problem cannot tell. ``error`` is what went wrong at a seed, the figures are of the others.
    """

    rule: str
    problem: str
    w: float
    sampler: str
    mean: Figures
    spread: Figures
    seeds: int
    error: str | None = None


def summary(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The records with their seeds brought together, in their order."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        asked = [record[name] for name in ("problem", "w", "sampler", "n", "steps")]
        groups.setdefault((label(record["rule"]), *asked), []).append(record)
    rows = []
    for (rule, problem, w, sampler, *_), group in groups.items():
        good = [record["measures"] for record in group if "measures" in record]
        values = {name: [one[name] for one in good] for name in (good[0] if good else ())}
        mean = {name: None if None in v else fmean(v) for name, v in values.items()}
        spread = {name: None if None in v else stdev(v) if len(v) > 1 else 0.0 for name, v in values.items()}
        error = next((record["error"] for record in group if "error" in record), None)
        rows.append(Row(rule, problem, w, sampler, mean, spread, len(good), error))
    return rows


def frontier(rows: Sequence[Row], quality: str = "precision", diversity: str = "recall") -> list[Row]:
    """Those of the rows that no other one beats in both measures, by rising diversity. Both are best when high."""
    points = [
        (q, d, row)
        for row in rows
        if (q := row.mean.get(quality)) is not None and (d := row.mean.get(diversity)) is not None
    ]
    beaten = {(q, d) for q, d, _ in points for a, b, _ in points if a >= q and b >= d and (a, b) != (q, d)}
    best = (point for point in points if point[:2] not in beaten)
    return [row for _, _, row in sorted(best, key=lambda point: point[1])]


def hypervolume(rows: Sequence[Row], quality: str = "precision", diversity: str = "recall") -> float:
    """The area below the rows' frontier, 1 where both measures reach 1. ``ValueError``: a measure below 0."""
    area, reached = 0.0, 0.0
    best = frontier(rows, quality, diversity)
    for q, d in sorted({(row.mean[quality] or 0.0, row.mean[diversity] or 0.0) for row in best}):
        if min(q, d) < 0:
            raise ValueError(f"rows: got {quality} = {q:g} and {diversity} = {d:g}, takes none below 0")
        # By rising quality diversity falls: a strip a point.
        area, reached = area + (q - reached) * d, q
    return area


def at_class_probability(rows: Sequence[Row], target: float) -> Row | None:
    """One rule on one problem where its samples' class probability is ``target``, interpolated in w.

    The first interval of weights whose ends enclose the target counts; w and every measure are linear inside it, and
    spreads too. None where no two weights enclose it.

    Raises ``ValueError``: rows of several rules, problems or samplers, or a target outside [0, 1].
    """
    target = _checks.unit_interval("target", target)
    if len({(row.rule, row.problem, row.sampler) for row in rows}) > 1:
        raise ValueError("rows: got several rules, problems or samplers, takes those of one")
    by_weight = sorted(rows, key=lambda row: row.w)
    known = [(p, row) for row in by_weight if (p := row.mean.get("class_probability")) is not None]
    if hit := next((row for p, row in known if p == target), None):
        return hit
    for (a, low), (b, high) in pairwise(known):
        if min(a, b) < target < max(a, b):
            t = (target - a) / (b - a)
            mean, spread = _between(low.mean, high.mean, t), _between(low.spread, high.spread, t)
            w, seeds = low.w + t * (high.w - low.w), min(low.seeds, high.seeds)
            return replace(low, w=w, mean=mean, spread=spread, seeds=seeds, error=None)
    return None


def _between(low: Figures, high: Figures, t: float) -> Figures:
    pairs = {name: (a, high.get(name)) for name, a in low.items()}
    return {name: None if a is None or b is None else a + t * (b - a) for name, (a, b) in pairs.items()}
