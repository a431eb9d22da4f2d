"""Figures from papers, as data: what others measured, to set beside what we measure."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import NamedTuple

__all__ = ["Published", "ho2022_tables"]


class Published(NamedTuple):
    """One line of a published table.

    Attributes:
        dataset: ``"in64"`` or ``"in128"``: ImageNet at 64 or 128 pixels a side.
        setting: what varies: p_uncond (``"p0.1"``, ``"p0.2"``, ``"p0.5"``) or steps (``"T128"`` to ``"T1024"``).
        w, fid, inception_score: guidance weight, and figures of which lower and higher are better.
    """

    dataset: str
    setting: str
    w: float
    fid: float
    inception_score: float


def ho2022_tables() -> list[Published]:
    """Tables 1 (64², over p_uncond) and 2 (128², over T) of Ho & Salimans 2022 (arXiv 2207.12598)."""
    text = files(__package__).joinpath("ho2022_tables.csv").read_text(encoding="utf-8")
    return [
        Published(row["dataset"], row["setting"], float(row["w"]), float(row["fid"]), float(row["is"]))
        for row in csv.DictReader(text.splitlines())
    ]
