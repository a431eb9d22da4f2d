"""Augmentation of image batches on the device, for classifiers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["augment"]


def augment(
    x: Tensor, *, shift: int = 4, cutout: int = 0, generator: torch.Generator | None = None
) -> Tensor:
    """Move each image by up to ``shift`` pixels (mirrored at the border) and blank a square of side ``cutout``.

    Args:
        x: images, (b, c, h, w).
        shift: largest move, in pixels, in either direction.
        cutout: side of the blanked square, 0 for none.
        generator: source of randomness, on the device of x.

    Raises:
        ValueError: a move as wide as the images.

    Source: DeVries & Taylor 2017 (arXiv 1708.04552) for the cutout.
    """
    b, _, h, w = x.shape
    if not 0 <= shift < min(h, w):
        raise ValueError(f"shift: got {shift} for images of {h} × {w}, takes 0 … {min(h, w) - 1}")

    def draw(high: int) -> Tensor:
        return torch.randint(high, (b, 1), generator=generator, device=x.device)

    rows = torch.arange(h, device=x.device) + draw(2 * shift + 1)  # (b, h), into the padded image
    columns = torch.arange(w, device=x.device) + draw(2 * shift + 1)  # (b, w)
    if cutout:
        top, left = draw(h), draw(w)
    padded = F.pad(x, (shift,) * 4, mode="reflect").permute(0, 2, 3, 1)  # (b, h + 2 shift, w + 2 shift, c)
    sample = torch.arange(b, device=x.device)[:, None, None]
    x = padded[sample, rows[:, :, None], columns[:, None, :]]  # (b, h, w, c)
    x = x.permute(0, 3, 1, 2)  # (b, c, h, w), NHWC in memory
    if cutout:
        row, column = torch.arange(h, device=x.device), torch.arange(w, device=x.device)
        inside_rows = ((row - top).abs() * 2 < cutout)[:, :, None]
        inside = inside_rows & ((column - left).abs() * 2 < cutout)[:, None, :]  # (b, h, w)
        x = x.masked_fill(inside[:, None], 0.0)
    return x
