"""Labelled images as bytes, and the way between bytes and the floats that networks see."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from .. import _checks


@dataclass(frozen=True)
class ImageData:
    """Labelled images of one size; a ``ValueError`` where types, shapes or labels do not agree.

    Attributes:
        images: uint8, (n, c, h, w), values 0..255.
        labels: int64, (n,), values 0..C-1.
        classes: the C class names.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            got = f"{self.images.dtype} {tuple(self.images.shape)}"
            raise ValueError(f"images: got {got}, takes uint8 (n, c, h, w)")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            got = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise ValueError(f"labels: got {got}, takes int64 ({len(self.images)},)")
        if len(self.labels):
            _checks.labels("labels", self.labels, len(self.classes), null=None)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one image."""
        c, h, w = self.images.shape[1:]
        return c, h, w

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def take(self, index: slice | Tensor) -> Self:
        """The images at ``index`` (a slice, or an int64 or bool tensor), with their labels."""
        return replace(self, images=self.images[index], labels=self.labels[index])


def to_float(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bytes 0..255 to floats in [-1, 1]; computed in float32, then cast to ``dtype``."""
    return images.to(torch.float32).div_(127.5).sub_(1.0).to(dtype)


def to_uint8(x: Tensor) -> Tensor:
    """Floats in [-1, 1] to bytes 0..255, rounded to nearest; values outside are clamped."""
    return x.to(torch.float32).add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
