"""Checkpoints that are whole or not there: tensors in safetensors, the rest as JSON in the same file.

Its SHA-256 lies beside it, written first, above those of what it may replace. So one that was cut or altered is passed
over for the one before it, and one that could not be replaced is as good as it was. Nothing is pickled.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .._files import from_bytes, to_bytes, write_atomically

log = logging.getLogger(__name__)
_KEY = "cfgtoy-checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: named tensors, and JSON with ``step``, ``images`` and whatever the trainer adds."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    path: Path


def write(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Write the checkpoint of ``step`` into ``folder``; where an ``OSError`` comes, every earlier one is as it was."""
    content = to_bytes(tensors, {**state, "step": step}, _KEY)
    path = folder / f"step-{step:09d}.safetensors"
    digest = f"{hashlib.sha256(content).hexdigest()}  {path.name}"
    digests = dict.fromkeys([digest, *(_digests(path) if path.exists() else [])])
    write_atomically(path.with_suffix(".sha256"), "\n".join([*digests, ""]).encode())
    write_atomically(path, content)
    return path


def _digests(path: Path) -> list[str]:
    try:
        return path.with_suffix(".sha256").read_text().splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return []


def read(path: Path) -> Checkpoint:
    """Read one checkpoint; a ``ValueError`` says that it was truncated or altered, or is none."""
    content = path.read_bytes()
    expected = [line.split()[0] for line in _digests(path) if line.strip()]
    if not expected:
        raise ValueError(f"{path}: its .sha256 file is missing or empty, so it cannot be trusted")
    if hashlib.sha256(content).hexdigest() not in expected:
        raise ValueError(f"{path}: truncated or altered ({len(content)} bytes, SHA-256 differs)")
    try:
        tensors, state = from_bytes(content, _KEY)
        if "step" not in state:
            raise ValueError("no state in it")
    except ValueError as error:
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
