"""Pictures of many images: plain sheets, and sweeps over w side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import _checks
from .._extras import needs

if TYPE_CHECKING:
    from PIL.Image import Image


def pillow() -> tuple[Any, Any, Any]:
    """Pillow's ``Image``, ``ImageDraw`` and ``ImageFont``. Ask before long work whose pictures need them."""
    with needs("images"):
        from PIL import Image, ImageDraw, ImageFont
    return Image, ImageDraw, ImageFont


def sheet(images: Tensor, columns: int, *, scale: int = 1, gap: int = 2) -> Image:
    """Images (n, c, h, w) uint8, n ≥ 1, as one picture, row by row, each pixel ``scale`` wide, on white."""
    Image, _, _ = pillow()
    _checks.positive_int("columns", columns)
    _checks.positive_int("scale", scale)
    if images.dtype != torch.uint8 or images.ndim != 4 or len(images) == 0 or images.shape[1] not in (1, 3):
        raise ValueError(f"images: got {images.dtype} {tuple(images.shape)}, takes uint8 (n, 1 or 3, h, w)")
    n, _, h, w = images.shape
    pixels = images.cpu().expand(n, 3, h, w).permute(0, 2, 3, 1).numpy()  # (n, h, w, 3)
    pixels = pixels.repeat(scale, 1).repeat(scale, 2)
    h, w, rows = h * scale, w * scale, math.ceil(n / columns)
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(pixels):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        canvas[top : top + h, left : left + w] = image
    return Image.fromarray(canvas)


def sweep_sheet(
    blocks: Sequence[Tensor], titles: Sequence[str], rows: Sequence[str], *, scale: int = 1
) -> Image:
    """Blocks of images uint8 (rows × k, c, h, w) side by side, under ``titles``, each row beside its name."""
    Image, ImageDraw, ImageFont = pillow()
    parts = [sheet(block, len(block) // len(rows), scale=scale) for block in blocks]
    font = ImageFont.load_default(12)
    margin = 8 + max(int(font.getlength(name)) for name in rows)
    width = margin + sum(part.width + 12 for part in parts) - 12
    picture = Image.new("RGB", (width, 20 + parts[0].height), "white")
    draw = ImageDraw.Draw(picture)
    step = (parts[0].height + 2) / len(rows)
    for i, name in enumerate(rows):
        draw.text((margin - 6, 20 + (i + 0.5) * step), name, "black", font, anchor="rm")
    left = margin
    for part, title in zip(parts, titles, strict=True):
        picture.paste(part, (left, 20))
        draw.text((left + part.width / 2, 10), title, "black", font, anchor="mm")
        left += part.width + 12
    return picture
