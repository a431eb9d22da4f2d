"""Image sets by name."""

from __future__ import annotations

from pathlib import Path

from . import cifar10, digits, folder
from .images import ImageData

__all__ = ["load_images"]


def load_images(
    dataset: str | Path,
    split: str = "train",
    *,
    root: str | Path | None = None,
    size: int = 32,
    channels: int = 3,
) -> ImageData:
    """Images by name: ``"digits"``, ``"cifar10"``, or the path of a folder with a subfolder for each class.

    ``root`` is where CIFAR-10 lies; ``size`` and ``channels`` are what a folder's images are brought to.

    Raises:
        ValueError: for an unknown name or split.
        FileNotFoundError: for a folder that is not there.
    """
    if dataset == "digits":
        return digits.load(split)
    if dataset == "cifar10":
        return cifar10.load(split, root=root)
    if not str(dataset) or not Path(dataset).is_dir():
        raise FileNotFoundError(
            f"dataset: got {str(dataset)!r}, takes 'digits', 'cifar10' or an image folder"
        )
    return folder.load(dataset, split, size=size, channels=channels)
