"""Measures of samples, of densities and of fields.

Statistics of samples (or of features and class probabilities) are apart from what extracts those from images, which is
``cfgtoy.metrics.extractors``.
"""

from .density import Grid2d, grid_2d, kl_quadrature, kl_to_density, log_normalizer
from .field import curl, curl_norm
from .statistics import (
    PrecisionRecall,
    class_entropy,
    energy_distance,
    frechet_distance,
    frechet_from_moments,
    inception_score,
    moments,
    precision_recall,
)

__all__ = [
    "Grid2d",
    "PrecisionRecall",
    "class_entropy",
    "curl",
    "curl_norm",
    "energy_distance",
    "frechet_distance",
    "frechet_from_moments",
    "grid_2d",
    "inception_score",
    "kl_quadrature",
    "kl_to_density",
    "log_normalizer",
    "moments",
    "precision_recall",
]
