"""The former home of ``distances`` and ``moments``; their names stay importable from here."""

from .distances import (
    PrecisionRecall,
    class_entropy,
    energy_distance,
    frechet_distance,
    frechet_from_moments,
    inception_score,
    precision_recall,
)
from .moments import moments

__all__ = [
    "PrecisionRecall",
    "class_entropy",
    "energy_distance",
    "frechet_distance",
    "frechet_from_moments",
    "inception_score",
    "moments",
    "precision_recall",
]
