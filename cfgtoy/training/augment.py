"""Augmentation of image batches on the device, for classifiers."""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(
    x: Tensor, *, shift: int = 4, cutout: int = 0, generator: torch.Generator | None = None
) -> Tensor:
    """Move each image of x (b, c, h, w) by up to ``shift`` pixels, mirrored at the border, and blank a square.

    The square has side ``cutout``, 0 for none; the generator is on the device of x. A move as wide as the images is a
    ``ValueError``. Source: DeVries & Taylor 2017 (arXiv 1708.04552) for the cutout.
    """
    b, _, h, w = x.shape
    if not 0 <= shift < min(h, w):
        raise ValueError(f"shift: got {shift} for images of {h} × {w}, takes 0 … {min(h, w) - 1}")

    def draw(high: int) -> Tensor:
        return torch.randint(high, (b, 1), generator=generator, device=x.device)

    row, column = torch.arange(h, device=x.device), torch.arange(w, device=x.device)
    rows = row + draw(2 * shift + 1)  # (b, h), of the padded image
    columns = column + draw(2 * shift + 1)  # (b, w)
    padded = F.pad(x, (shift,) * 4, mode="reflect").permute(0, 2, 3, 1)  # (b, h + 2 shift, w + 2 shift, c)
    sample = torch.arange(b, device=x.device)[:, None, None]
    x = padded[sample, rows[:, :, None], columns[:, None, :]]  # (b, h, w, c)
    x = x.permute(0, 3, 1, 2)  # (b, c, h, w), NHWC in memory
    if cutout:
        high = (row - draw(h)).abs() * 2 < cutout  # (b, h)
        wide = (column - draw(w)).abs() * 2 < cutout  # (b, w)
        x = x.masked_fill((high[:, :, None] & wide[:, None, :])[:, None], 0.0)
    return x
