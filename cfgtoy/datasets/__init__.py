"""Data with known truth, and data without: mixtures at once; what has to do with images when first named."""

from importlib import import_module
from types import ModuleType

from .mixtures import GALLERY, gaussian_pair, overlapping, ring, three_gaussians, tree

_MODULES = ("batches", "cifar10", "digits", "folder", "images", "load", "resident")

__all__ = ["GALLERY", "gaussian_pair", "overlapping", "ring", "three_gaussians", "tree"]


def __getattr__(name: str) -> ModuleType:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
