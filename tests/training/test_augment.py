"""Augmentation: moves and cut-outs, nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cfgtoy.training.augment import augment


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_without_shift_and_cutout_nothing_changes() -> None:
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(augment(x, shift=0), x)


def test_each_image_is_a_window_of_its_mirrored_padding() -> None:
    x = torch.randn(16, 3, 8, 8)
    padded = F.pad(x, (2,) * 4, mode="reflect")
    seen = set()
    for image, around in zip(augment(x, shift=2, generator=generator()), padded, strict=True):
        places = [
            (i, j) for i in range(5) for j in range(5) if torch.equal(image, around[:, i : i + 8, j : j + 8])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 6


def test_a_move_as_wide_as_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="shift: got 8 for images of 8 × 9, takes 0 … 7"):
        augment(torch.zeros(1, 1, 8, 9), shift=8)


def test_cutout_blanks_one_square() -> None:
    x = torch.ones(64, 1, 16, 16)
    out = augment(x, shift=0, cutout=4, generator=generator())
    blank = (out == 0).flatten(1).sum(1)
    assert blank.min() >= 4  # a corner
    assert blank.max() <= 16
    assert ((out == 0) | (out == 1)).all()


def test_same_generator_same_images() -> None:
    x = torch.randn(8, 3, 8, 8)
    a, b = (augment(x, shift=2, cutout=3, generator=generator()) for _ in range(2))
    assert torch.equal(a, b)
