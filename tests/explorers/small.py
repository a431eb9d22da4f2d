"""Small networks by the names of the shipped ones: the same questions, random answers, a fraction of the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cfgtoy import artifacts
from cfgtoy.explorers import _networks, _weights, digits
from cfgtoy.nets.unet import NoisyClassifier, UNet

PART = 990_000  # bytes of weights in a script: the teacher of the photographs comes in three

_PHOTOS: dict[str, Any] = {"channels": (8, 16, 16), "blocks": (1, 1, 1), "attention": (8,), "head": 8}
_DIGITS: dict[str, Any] = {"channels": (8, 16), "blocks": (1, 1), "attention": (4,), "head": 8, "cond": 16}
SIZES = {
    "cifar10": _PHOTOS
    | {"cond": 1024},  # a vector is no work, and its weights are more than what memory begins with
    "cifar10-student": _PHOTOS | {"cond": 16},
    "digits": _DIGITS,
    "digits-student": _DIGITS,
    "digits-noisy-classifier": _DIGITS,
}


def write(folder: Path) -> None:
    """What ships, by links, but for small networks; a class, w and a level show in what they answer."""
    for file in artifacts.data_folder().iterdir():
        (folder / file.name).symlink_to(file)
    listed = folder / artifacts.MANIFEST
    text = listed.read_bytes()
    listed.unlink()
    listed.write_bytes(text)
    for name, size in SIZES.items():
        shipped = artifacts.load(name)
        spec = shipped.meta["net"]
        kind = {"UNet": UNet, "NoisyClassifier": NoisyClassifier}[spec["class"]]
        torch.manual_seed(0)
        net = kind(**spec["args"] | size)
        for parameter in net.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
        file = folder / shipped.path.name
        file.unlink()
        tensors = {key: tensor.half() for key, tensor in net.state_dict().items()}
        artifacts.save(file, tensors, shipped.meta | {"net": {"class": spec["class"], "args": net.args}})
        artifacts.manifest_add(name, file)


def forget() -> None:
    """What the explorers have read of networks."""
    for known in (_networks.teacher, _networks.student, _networks.teacher_about, digits._classifier):
        known.cache_clear()


@contextmanager
def used(folder: Path) -> Iterator[None]:
    """The networks of a folder that ``write`` has filled, in the place of the shipped ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(artifacts.ENVIRONMENT, str(folder))
        patch.setattr(_weights, "PART", PART)
        forget()
        yield
    forget()
