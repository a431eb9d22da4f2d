"""Who made a figure: what every record and every weight file says of its making."""

import datetime
import os
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import torch


def provenance(device: torch.device, command: str) -> dict[str, Any]:
    """Command, commit, date, device and the version of torch."""
    cuda, threads = device.type == "cuda", torch.get_num_threads()
    hardware = torch.cuda.get_device_name(device) if cuda else f"{device.type}, {threads} threads"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    made = {"command": command, "commit": _commit(), "date": now}
    return made | {"device": hardware, "torch": torch.__version__}


def _commit() -> str:
    """The checkout's commit, ``-dirty`` where the package was changed since; or what CFGTOY_COMMIT says."""
    if named := os.environ.get("CFGTOY_COMMIT"):
        return named
    package = Path(__file__).parent
    ask = partial(subprocess.check_output, cwd=package, stderr=subprocess.DEVNULL, text=True, timeout=10)
    try:
        if Path(ask(["git", "rev-parse", "--show-toplevel"]).strip()).resolve() != package.parent.resolve():
            return "unknown"  # installed inside somebody else's repository
        dirty = "-dirty" if ask(["git", "status", "--porcelain", "--", "."]) else ""
        return ask(["git", "rev-parse", "HEAD"]).strip() + dirty
    except (OSError, subprocess.SubprocessError):
        return "unknown"
