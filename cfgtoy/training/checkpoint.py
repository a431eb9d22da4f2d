"""Checkpoints that are whole or not there: tensors in safetensors, the rest as JSON in the same file.

A checkpoint is written under another name, synced to the disk and renamed; its SHA-256 lies beside it, written first.
So a file that is there was complete when it was named, and one that was cut or altered since is noticed and passed
over for the one before it. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from ..artifacts import write_atomically

__all__ = ["Checkpoint", "newest", "prune", "read", "write"]

log = logging.getLogger(__name__)
_KEY = "cfgtoy-checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: named tensors, and JSON with ``step``, ``images`` and whatever the trainer adds."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    path: Path


def write(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Write the checkpoint of ``step`` into ``folder``.

    Raises:
        OSError: the folder cannot be written or the disk is full; every earlier checkpoint is as it was.
    """
    flat = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    content = to_bytes(flat, metadata={_KEY: json.dumps(dict(state), allow_nan=False)})
    path = folder / f"step-{step:09d}.safetensors"
    digest = hashlib.sha256(content).hexdigest()
    write_atomically(path.with_suffix(".sha256"), f"{digest}  {path.name}\n".encode())
    write_atomically(path, content)
    return path


def read(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        ValueError: it was truncated or altered, or is no checkpoint.
        FileNotFoundError: it is not there.
    """
    content = path.read_bytes()
    try:
        expected = path.with_suffix(".sha256").read_text().split()[0]
    except (FileNotFoundError, IndexError, UnicodeDecodeError):
        raise ValueError(f"{path}: its .sha256 file is missing or empty, so it cannot be trusted") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(f"{path}: truncated or altered ({len(content)} bytes, SHA-256 differs)")
    try:
        tensors = from_bytes(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        state = json.loads(header["__metadata__"][_KEY])
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a checkpoint ({error})") from error
    return Checkpoint(tensors, state, path)


def paths(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint in ``folder`` that is whole; bad ones are named in a warning and passed over."""
    for path in reversed(paths(folder)):
        try:
            return read(path)
        except (ValueError, OSError) as error:
            log.warning("%s; trying the one before it", error)
    return None


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints."""
    for path in paths(folder)[:-keep]:
        path.unlink(missing_ok=True)
        path.with_suffix(".sha256").unlink(missing_ok=True)
