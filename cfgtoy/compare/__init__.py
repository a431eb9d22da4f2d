"""Which guidance, and why: every rule, yours included, measured where the truth is known.

>>> records = run(["classifier-free", "apg"], ["tree"], [0.0, 1.0, 3.0])  # doctest: +SKIP
>>> print(table(records))  # doctest: +SKIP
"""

from .board import read, run
from .frontier import Row, at_class_probability, frontier, hypervolume, summary
from .measures import MEASURES
from .problems import PROBLEMS, Problem, problem
from .report import plot, table
from .truth import ImageTruth, Truth

__all__ = [
    "MEASURES",
    "PROBLEMS",
    "ImageTruth",
    "Problem",
    "Row",
    "Truth",
    "at_class_probability",
    "frontier",
    "hypervolume",
    "plot",
    "problem",
    "read",
    "run",
    "summary",
    "table",
]
