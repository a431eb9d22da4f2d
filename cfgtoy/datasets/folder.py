"""Your own images: a folder with one subfolder for each class."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from .. import _checks
from .._extras import needs
from .images import ImageData

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def load(path: str | Path, split: str = "train", *, size: int = 32, channels: int = 3) -> ImageData:
    """Read ``path/<class>/*.png`` (or jpg, webp, …), cropped to the central square and resized.

    With subfolders ``path/train`` and ``path/test`` each split is read from its own; without them every image is
    ``"train"``. Classes and files are taken in sorted order, so the same folder gives the same arrays.

    Args:
        path, split: the folder, and ``"train"`` or ``"test"``.
        size, channels: side of the square images in pixels; 3 for colour, 1 for grey.

    Returns:
        Images (n, channels, size, size).

    Raises:
        FileNotFoundError: when the folder, a class folder or any image is missing.
        ValueError: for a file that is no readable image (it is named), or a bad argument.
    """
    _checks.one_of("split", split, ("train", "test"))
    _checks.one_of("channels", channels, (1, 3))
    _checks.positive_int("size", size)
    root = named = Path(path).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder, takes a folder with a subfolder for each class")
    if (root / "train").is_dir():
        named, root = root / "train", root / split  # both splits number the classes as train does
        if not root.is_dir():
            raise FileNotFoundError(f"{root.parent}: has train/ but no {split}/")
    elif split == "test":
        raise ValueError(f"split: got 'test', but {root} has no train/ and test/ subfolders")
    classes = tuple(sorted(p.name for p in named.iterdir() if p.is_dir() and not p.name.startswith(".")))
    found = [(file, label) for label, name in enumerate(classes) for file in sorted((root / name).glob("*"))]
    files = [(file, label) for file, label in found if file.suffix.lower() in SUFFIXES]
    if not files:
        raise FileNotFoundError(f"{root}: no images in subfolders, takes <class>/<image>{'|'.join(SUFFIXES)}")
    with ThreadPoolExecutor(8) as pool:
        arrays = list(pool.map(lambda item: _read(item[0], size, channels), files))  # each (h, w, c)
    images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()  # (n, c, h, w)
    return ImageData(images, torch.tensor([label for _, label in files]), classes)


def _read(file: Path, size: int, channels: int) -> np.ndarray:
    with needs("images"):
        from PIL import Image, ImageOps
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as handle:
                image = ImageOps.exif_transpose(handle).convert("RGB" if channels == 3 else "L")
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        square = (left, top, left + side, top + side)
        pixels = np.asarray(image.crop(square).resize((size, size), Image.Resampling.LANCZOS))
    except Exception as error:  # Pillow raises many kinds for broken files
        raise ValueError(f"{file}: not a readable image ({error})") from error
    return pixels.reshape(size, size, channels)
