"""The 8x8 handwritten digits that come with scikit-learn: nothing to download.

1,797 grey images of the digits 0-9, a test set of the UCI "Optical Recognition of Handwritten Digits" data
(Alpaydin & Kaynak 1998, https://doi.org/10.24432/C50P49).
"""

from __future__ import annotations

import numpy as np
import torch

from .._extras import needs
from .images import ImageData

CLASSES = tuple(str(digit) for digit in range(10))


def load(split: str = "train") -> ImageData:
    """The digits: every sixth image is test (299), the others are train (1,498).

    Args:
        split: ``"train"``, ``"test"`` or ``"all"``.

    Returns:
        Images (n, 1, 8, 8); the original grey levels 0..16 become 0..255.

    Raises:
        ValueError: for another split.
        ImportError: when scikit-learn is missing.
    """
    if split not in ("train", "test", "all"):
        raise ValueError(f"split: got {split!r}, takes 'train', 'test' or 'all'")
    with needs("images"):
        from sklearn.datasets import load_digits
    bunch = load_digits()
    grey = np.asarray(bunch.images)  # (1797, 8, 8) of 0..16
    images = torch.from_numpy(np.rint(grey * (255 / 16)).astype(np.uint8))[:, None]  # (1797, 1, 8, 8)
    labels = torch.from_numpy(np.asarray(bunch.target, dtype=np.int64))
    data = ImageData(images.contiguous(), labels, CLASSES)
    if split == "all":
        return data
    is_test = torch.arange(len(data)) % 6 == 5
    return data.take(is_test if split == "test" else ~is_test)
