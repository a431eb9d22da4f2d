"""Image sets by name."""

from pathlib import Path

from . import cifar10, digits, folder
from .images import ImageData


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

    A ``ValueError`` for an unknown split, a ``FileNotFoundError`` for an unknown name.
    """
    if dataset == "digits":
        return digits.load(split)
    if dataset == "cifar10":
        return cifar10.load(split, root=root)
    if not (name := str(dataset)) or not Path(name).is_dir():
        raise FileNotFoundError(f"dataset: got {name!r}, takes 'digits', 'cifar10' or an image folder")
    return folder.load(dataset, split, size=size, channels=channels)
