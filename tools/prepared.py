"""Draw what chapters show but do not draw, each with a function of its own cells.

    python tools/prepared.py [book/images/14-cifar10.ipynb …] [--to data]

A cell that defines ``prepare()``, or ``prepare_more()``, which returns tensors by name, carries the result's name and
the weights that it is drawn with: ``{"cfgtoy": {"prepares": {"name": "cifar10-paths", "from": ["cifar10"]}}}``. This
runs the chapter's code down to that cell, calls the function, writes ``cifar10-paths.safetensors`` with who made it,
and enters it in the manifest. The chapter loads it further down, and draws a small part again to compare. All of them
take a CPU core some minutes; when weights change, make them anew and run the chapters (``make notebooks NB=…``).
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
sys.path.append(str(BOOK / "_ext"))

from contents import cells, notebooks  # noqa: E402

from cfgtoy import artifacts  # noqa: E402
from cfgtoy.evaluation import provenance  # noqa: E402


def prepared(path: Path) -> list[dict[str, Any]]:
    """The name, and the weights by name, of each result that a chapter's cells prepare."""
    found = (cell["metadata"].get("cfgtoy", {}).get("prepares") for cell in cells(path))
    return [about for about in found if about]


def prepare(path: Path, folder: Path) -> None:
    """Write a chapter's prepared results into ``folder``."""
    os.chdir(path.parent)
    names: dict[str, Any] = {"__name__": "__main__"}
    left = prepared(path)
    for cell in cells(path):
        if cell["cell_type"] != "code" or not left:
            continue
        with redirect_stdout(None):
            exec(compile(cell["source"], f"{path.name} {cell['id']}", "exec"), names)
        if about := cell["metadata"].get("cfgtoy", {}).get("prepares"):
            left.remove(about)
            begin, file = time.perf_counter(), folder / f"{about['name']}.safetensors"
            tensors = names[re.findall(r"(?m)^def (prepare\w*)", cell["source"])[-1]]()
            minutes = round((time.perf_counter() - begin) / 60, 1)
            made_by = provenance(
                torch.device("cpu"), f"python tools/prepared.py book/{path.relative_to(BOOK)}"
            )
            known = artifacts.manifest(folder)
            meta = {"role": "prepared", "from": {name: known[name]["sha256"] for name in about["from"]}}
            # no seed of its own: each cell has its generators
            made_by |= {"minutes": minutes, "seed": None}
            artifacts.save(file, tensors, meta | {"made_by": made_by})
            artifacts.manifest_add(about["name"], file)
            print(f"{file}: {file.stat().st_size / 1e3:.0f} kB in {minutes} minutes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path, help="chapters; by default all that prepare something")
    parser.add_argument("--to", type=Path, default=ROOT / "data", help="the folder to write into")
    arguments = parser.parse_args()
    os.environ["MPLBACKEND"] = "agg"  # figures on the way are drawn for nobody
    folder = arguments.to.resolve()
    for path in [path.resolve() for path in arguments.paths] or filter(prepared, notebooks(BOOK)):
        prepare(path, folder)


if __name__ == "__main__":
    main()
