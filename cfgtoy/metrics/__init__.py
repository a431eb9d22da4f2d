"""Measures of samples, of densities and of fields.

They take samples, or features and class probabilities; what extracts those from images is apart, in
``cfgtoy.metrics.extractors``.
"""

from .density import Grid2d, grid_2d, kl_quadrature, kl_to_density, log_normalizer
from .distances import (
    Manifold,
    PrecisionRecall,
    class_entropy,
    energy_distance,
    frechet_distance,
    frechet_from_moments,
    inception_score,
    precision_recall,
)
from .field import curl, curl_norm
from .moments import Moments, moments

__all__ = [
    "Grid2d",
    "Manifold",
    "Moments",
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
