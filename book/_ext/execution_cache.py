"""Key the notebooks' execution cache on what their results depend on besides the notebooks.

jupyter-cache looks at a notebook's code alone, and would go on showing results of an older package. Here the
cache lives in a folder named by a hash of the package, the measured data and the installed versions of what
``requirements.txt`` names, so any change to them runs the chapters again. Caches of earlier states are removed.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = {".py", ".mjs", ".css", ".json", ".safetensors"}


def sources(root: Path) -> Iterator[Path]:
    """Every file that a chapter's results depend on, in a fixed order."""
    for folder in ("cfgtoy", "data"):
        yield from sorted(path for path in (root / folder).rglob("*") if path.suffix in SUFFIXES)


def versions(root: Path) -> Iterator[str]:
    """Python, and every required distribution as it is installed."""
    yield platform.python_version()
    required = (root / "requirements.txt").read_text(encoding="utf-8")
    for name in re.findall(r"(?m)^([\w.-]+)==", required):
        with suppress(metadata.PackageNotFoundError):
            yield f"{name}=={metadata.version(name)}"


def fingerprint(root: Path) -> str:
    """A hash of the names and contents of `sources`, and of `versions`."""
    digest = hashlib.sha256("\n".join(versions(root)).encode())
    for path in sources(root):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def set_cache(app: Sphinx, config: Config) -> None:
    folder = Path(app.outdir).parent / ".jupyter_cache"
    mine = folder / fingerprint(ROOT)
    for old in folder.glob("*"):
        if old != mine:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    mine.mkdir(parents=True, exist_ok=True)
    config.nb_execution_cache_path = str(mine)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", set_cache)
    return {"parallel_read_safe": True}
