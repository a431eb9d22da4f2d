"""Seconds from a fresh interpreter to ``import cfgtoy`` done, torch included, and what must not come along.

    python benchmarks/import_time.py [--repeats 5]

Exits with 1 at 2 s or more, or if a plotting, notebook or image library was loaded.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

MOST_SECONDS = 2.0
UNWANTED = (
    "matplotlib",
    "anywidget",
    "ipywidgets",
    "IPython",
    "PIL",
    "sklearn",
    "scipy",
    "pandas",
    "diffusers",
)
TIMED = "import time; s = time.perf_counter(); import {}; print(time.perf_counter() - s)"


def seconds(module: str, repeats: int) -> float:
    """The best of several fresh interpreters: the first may find a cold disk."""
    runs = [
        subprocess.run(
            [sys.executable, "-c", TIMED.format(module)], capture_output=True, text=True, check=True
        )
        for _ in range(repeats)
    ]
    return min(float(run.stdout) for run in runs)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    ours, torch = seconds("cfgtoy", repeats), seconds("torch", repeats)
    listing = f"import cfgtoy, sys; print(*(m for m in {UNWANTED!r} if m in sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True
    ).stdout
    print(f"{'import torch':<16}{torch:6.2f} s")
    print(f"{'import cfgtoy':<16}{ours:6.2f} s, torch included (takes less than {MOST_SECONDS:g} s)")
    print(f"{'unwanted':<16}{loaded.strip() or 'none'}")
    return 0 if ours < MOST_SECONDS and not loaded.strip() else 1


if __name__ == "__main__":
    sys.exit(main())
