"""The former home of what is now in ``datasets.images``, ``datasets.load`` and ``datasets.batches``."""

from .batches import ResidentBatches
from .images import ImageData, to_float, to_uint8
from .load import load_images

__all__ = ["ImageData", "ResidentBatches", "load_images", "to_float", "to_uint8"]
