"""The former home of what takes features in batches; its names stay importable from here."""

from .distances import Manifold, precision_recall
from .distances import frechet_distance as frechet
from .moments import Moments

__all__ = ["Manifold", "Moments", "frechet", "precision_recall"]
