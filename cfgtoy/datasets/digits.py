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
    """The digits, (n, 1, 8, 8): every sixth image is ``"test"`` (299), the others ``"train"`` (1,498), or ``"all"``.

    The original grey levels 0..16 become 0..255.

    Raises:
        ValueError: for another split.
        ImportError: when scikit-learn is missing.
    """
    if split not in ("train", "test", "all"):
        raise ValueError(f"split: got {split!r}, takes 'train', 'test' or 'all'")
    with needs("images"):
        from sklearn.datasets import load_digits
    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8))  # (1797, 8, 8)
    data = ImageData(images[:, None], torch.from_numpy(bunch.target.astype(np.int64)), CLASSES)
    is_test = torch.arange(len(data)) % 6 == 5
    return data if split == "all" else data.take(is_test if split == "test" else ~is_test)
