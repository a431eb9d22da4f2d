"""Figures from papers, as data: what others measured, to set beside what we measure."""

import csv
from importlib.resources import files
from typing import NamedTuple


class Published(NamedTuple):
    """One line of a published table: ImageNet at 64 (``"in64"``) or 128 pixels a side, guided with w.

    ``setting`` is what varies: p_uncond (``"p0.1"``, ``"p0.2"``, ``"p0.5"``) or steps (``"T128"`` to ``"T1024"``).
    """

    dataset: str
    setting: str
    w: float
    fid: float
    inception_score: float


def ho2022_tables() -> list[Published]:
    """Tables 1 (64², over p_uncond) and 2 (128², over T) of Ho & Salimans 2022 (arXiv 2207.12598)."""
    text = files(__package__).joinpath("ho2022_tables.csv").read_text(encoding="utf-8")
    _, *rows = csv.reader(text.splitlines())
    return [Published(dataset, setting, *map(float, figures)) for dataset, setting, *figures in rows]
