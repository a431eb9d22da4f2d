"""The 1,797 grey 8x8 handwritten digits that come with scikit-learn: nothing to download.

Source: Alpaydin & Kaynak 1998, "Optical Recognition of Handwritten Digits", https://doi.org/10.24432/C50P49.
"""

import numpy as np
import torch

from .. import _checks
from .._extras import needs
from .images import ImageData

CLASSES = tuple(str(digit) for digit in range(10))


def load(split: str = "train") -> ImageData:
    """The digits, (n, 1, 8, 8): every sixth image is ``"test"`` (299), the others ``"train"`` (1,498), or ``"all"``.

    The original grey levels 0..16 become 0..255.

    A ``ValueError`` for another split, an ``ImportError`` where scikit-learn is missing.
    """
    _checks.one_of("split", split, ("train", "test", "all"))
    with needs("images"):
        from sklearn.datasets import load_digits
    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8))  # (1797, 8, 8)
    data = ImageData(images[:, None], torch.from_numpy(bunch.target.astype(np.int64)), CLASSES)
    is_test = torch.arange(len(data)) % 6 == 5
    return data if split == "all" else data.take(is_test if split == "test" else ~is_test)
