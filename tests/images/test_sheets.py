"""Pictures of many images."""

import itertools

import numpy as np
import pytest
import torch

from cfgtoy.images import sheet, sweep_sheet


def test_a_sheet_puts_images_row_by_row():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, 2, 3)
    pixels = np.asarray(sheet(images, 3, scale=2, gap=1))
    assert pixels.shape == (2 * 4 + 1, 3 * 6 + 2, 3)
    for i, (row, column) in enumerate(itertools.islice(itertools.product(range(2), range(3)), 5)):
        block = pixels[row * 5 : row * 5 + 4, column * 7 : column * 7 + 6]
        assert (block == i).all()
    assert (pixels[5:, 14:] == 255).all()
    picture = sweep_sheet([images[:4]] * 3, ["w = 0", "w = 1", "w = 2"], ["cat", "dog"], scale=2)
    assert picture.width > 3 * sheet(images[:4], 2, scale=2).width
    for bad in (images.float(), images[:0], torch.zeros(2, 2, 4, 4, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="images"):
            sheet(bad, 2)
