"""A board to read: as a table of text, and as a picture of frontiers."""

from collections.abc import Mapping, Sequence
from typing import Any

from .frontier import Row, at_class_probability, hypervolume, summary
from .measures import MEASURES

_HEADS = {
    "kl_class": "KL class",
    "kl_tilted": "KL tilted",
    "class_probability": "p(c|x)",
    "covariance_ratio": "cov.",
    "precision": "prec.",
    "frechet": "Fréchet",
    "evaluations": "evals",
}


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """The means over the seeds with their spread, a block a problem; below it the rules along their frontiers.

    Rules are matched at the highest class probability that all of them reach. ± is the standard deviation over the
    seeds.
    """
    rows = summary(records)
    blocks = []
    for problem in dict.fromkeys(row.problem for row in rows):
        mine = [row for row in rows if row.problem == problem]
        names = [name for name in MEASURES if any(row.mean.get(name) is not None for row in mine)]
        head, groups = ["rule", "w", *(_HEADS.get(name, name) for name in names)], _groups(mine)
        areas = [[label, f"{hypervolume(group):.3f}"] for label, group in groups.items()]
        text = f"{problem}\n{_laid_out([head, *(_line(row, names) for row in mine)])}\n\n"
        text += f"precision and recall reached, as an area\n{_laid_out([['rule', 'hypervolume'], *areas])}"
        if (target := _target(groups)) is not None:
            matched = ((label, at_class_probability(group, target)) for label, group in groups.items())
            lines = [_line(row, names, label) for label, row in matched if row is not None]
            text += f"\n\nat class probability {target:.3f}\n{_laid_out([head, *lines])}"
        blocks.append(text)
    return "\n\n\n".join(blocks)


def plot(records: Sequence[Mapping[str, Any]], quality: str = "precision", diversity: str = "recall") -> Any:
    """A matplotlib figure: a panel a problem, a line a rule through its weights, the last of them marked."""
    from .. import plotting

    rows = [row for row in summary(records) if row.mean.get(quality) is not None]
    problems = list(dict.fromkeys(row.problem for row in rows)) or ["nothing measured"]
    columns = min(3, len(problems))
    fig, axes = plotting.subplots(columns, -(-len(problems) // columns), squeeze=False)
    for ax in axes.flat[len(problems) :]:
        ax.set_axis_off()
    for ax, problem in zip(axes.flat, problems, strict=False):
        for i, (label, group) in enumerate(_groups([r for r in rows if r.problem == problem]).items()):
            group = sorted(group, key=lambda row: row.w)
            x, y = ([row.mean[name] for row in group] for name in (diversity, quality))
            ax.plot(x, y, color=f"C{i % 8}", marker=".", linestyle="-" if i < 8 else "--", label=label)
            ax.plot(x[-1:], y[-1:], color=f"C{i % 8}", marker="o")
        plotting.label(ax, x=diversity, y=quality, title=problem)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    if labels:
        fig.legend(handles, labels, loc="outside lower center", ncols=3)
    return fig


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    several = len({row.sampler for row in rows}) > 1
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.rule + (f" · {row.sampler}" if several else ""), []).append(row)
    return groups


def _target(groups: Mapping[str, Sequence[Row]]) -> float | None:
    """The highest class probability that each rule reaches, where there are several rules."""
    each = ([p for row in g if (p := row.mean.get("class_probability")) is not None] for g in groups.values())
    reached = [max(known) for known in each if known]
    return min(reached) if len(reached) > 1 else None


def _line(row: Row, names: Sequence[str], label: str | None = None) -> list[str]:
    head = [label or row.rule, f"{row.w:.3g}"]
    if not row.mean:
        return [*head, row.error or ""]
    note = [f"at {row.seeds} seeds; {row.error}"] if row.error else []
    return [*head, *(_figure(row.mean.get(name), row.spread.get(name)) for name in names), *note]


def _figure(mean: float | None, spread: float | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.3g}" if not spread else f"{mean:.3f}±{spread:.3f}" if abs(mean) < 100 else f"{mean:.4g}"


def _laid_out(lines: Sequence[Sequence[str]]) -> str:
    full = [line for line in lines if len(line) >= len(lines[0])]
    widths = [max(map(len, column)) for column in zip(*full, strict=False)]
    widths[0] = max(len(line[0]) for line in lines)
    # A note stands behind the last column, as wide as it is.
    padded = ((cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=False)) for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)
