"""Rules side by side: one weight means another thing in each, so they are compared by what their weights can reach."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .. import _checks

__all__ = ["Row", "at_class_probability", "frontier", "hypervolume", "summary"]


@dataclass(frozen=True)
class Row:
    """A rule on a problem at one weight, over the seeds.

    Attributes:
        rule, problem, w, sampler: what was run.
        mean: of each measure; None where the problem cannot tell.
        spread: standard deviation over the seeds, 0 for one.
        seeds: how many were measured.
        error: what went wrong at a seed, if anything did; the figures are then of the others.
    """

    rule: str
    problem: str
    w: float
    sampler: str
    mean: Mapping[str, float | None]
    spread: Mapping[str, float | None]
    seeds: int
    error: str | None = None


def summary(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The records with their seeds brought together, in their order."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        options = ", ".join(f"{k}={_short(v)}" for k, v in record["rule"].get("options", {}).items())
        label = record["rule"]["name"] + (f"({options})" if options else "")
        key = (label, record["problem"], record["w"], record["sampler"], record["n"], record["steps"])
        groups.setdefault(key, []).append(record)
    rows = []
    for key, group in groups.items():
        good = [record["measures"] for record in group if "measures" in record]
        mean: dict[str, float | None] = {}
        spread: dict[str, float | None] = {}
        for name in good[0] if good else ():
            values = [one[name] for one in good]
            mean[name], spread[name] = (None, None) if None in values else _mean_and_spread(values)
        error = next((record["error"] for record in group if "error" in record), None)
        rows.append(Row(*key[:4], mean, spread, len(good), error))
    return rows


def frontier(rows: Sequence[Row], quality: str = "precision", diversity: str = "recall") -> list[Row]:
    """Those of the rows that no other one beats in both measures, by rising diversity. Both are best when high."""
    points = [(row, *_pair(row, quality, diversity)) for row in rows if _known(row, quality, diversity)]
    best = [
        (row, q, d)
        for row, q, d in points
        if not any(q2 >= q and d2 >= d and (q2 > q or d2 > d) for _, q2, d2 in points)
    ]
    return [row for row, _, _ in sorted(best, key=lambda point: point[2])]


def hypervolume(rows: Sequence[Row], quality: str = "precision", diversity: str = "recall") -> float:
    """The area that the rows' frontier dominates, from the point (0, 0): 1 where both measures reach 1.

    Raises:
        ValueError: a measure below 0.
    """
    area, reached = 0.0, 0.0
    for q, d in sorted({_pair(row, quality, diversity) for row in frontier(rows, quality, diversity)}):
        if min(q, d) < 0:
            raise ValueError(f"rows: got {quality} = {q:g} and {diversity} = {d:g}, takes none below 0")
        # By rising quality diversity falls: a strip a point.
        area, reached = area + (q - reached) * d, q
    return area


def at_class_probability(rows: Sequence[Row], target: float) -> Row | None:
    """One rule on one problem where its samples' class probability is ``target``, interpolated in w.

    The first interval of weights whose ends enclose the target counts; w and every measure are linear inside it, and
    spreads too.

    Args:
        rows: of one rule, problem and sampler, at several weights.
        target: a class probability.

    Returns:
        The row, or None where no two weights enclose the target.

    Raises:
        ValueError: rows of several rules, problems or samplers, or a target outside [0, 1].
    """
    target = _checks.unit_interval("target", target)
    if len({(row.rule, row.problem, row.sampler) for row in rows}) > 1:
        raise ValueError("rows: got several rules, problems or samplers, takes those of one")
    name = "class_probability"
    known = sorted((row for row in rows if row.mean.get(name) is not None), key=lambda row: row.w)
    for row in known:
        if row.mean[name] == target:
            return row
    for low, high in pairwise(known):
        a, b = _value(low, name), _value(high, name)
        if min(a, b) < target < max(a, b):
            t = (target - a) / (b - a)
            mean = {key: _between(low.mean[key], high.mean.get(key), t) for key in low.mean}
            spread = {key: _between(low.spread[key], high.spread.get(key), t) for key in low.spread}
            w = low.w + t * (high.w - low.w)
            return Row(low.rule, low.problem, w, low.sampler, mean, spread, min(low.seeds, high.seeds))
    return None


def _between(a: float | None, b: float | None, t: float) -> float | None:
    return None if a is None or b is None else a + t * (b - a)


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))


def _known(row: Row, *names: str) -> bool:
    return all(row.mean.get(name) is not None for name in names)


def _pair(row: Row, quality: str, diversity: str) -> tuple[float, float]:
    return _value(row, quality), _value(row, diversity)


def _value(row: Row, name: str) -> float:
    value = row.mean[name]
    assert value is not None
    return value


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
