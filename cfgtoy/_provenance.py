"""Who made a figure: what every record and every weight file says of its making."""

from __future__ import annotations

import datetime
import os
import subprocess
from pathlib import Path
from typing import Any

import torch

__all__ = ["commit", "provenance"]


def provenance(device: torch.device, command: str) -> dict[str, Any]:
    """Command, commit, date, device and the version of torch."""
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{device.type}, {torch.get_num_threads()} threads"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "command": command,
        "commit": commit(),
        "date": now,
        "device": hardware,
        "torch": torch.__version__,
    }


def commit() -> str:
    """The checkout's commit, ``-dirty`` where the package was changed since; or what CFGTOY_COMMIT says."""
    if named := os.environ.get("CFGTOY_COMMIT"):
        return named
    package = Path(__file__).parent

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=package, capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != package.parent.resolve():
            return "unknown"  # installed inside somebody else's repository
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
