"""Weight files for the page: the very bytes of ``data/``, as scripts that a page from disk can load too.

Nothing is kept twice: the scripts are made when a page is. A page's loader takes the text that such a script leaves
behind, decodes it, and compares its SHA-256 with the one that the widget was made with, which is the manifest's.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from .. import artifacts

__all__ = ["entry", "place", "read", "script"]

_WANTED = re.compile(r'data-weights="(?P<names>[\w -]+)"')


def read(name: str) -> bytes:
    """The weight file that ships as ``name``, checked.

    Raises:
        FileNotFoundError, ValueError: as :func:`cfgtoy.artifacts.load`.
    """
    return artifacts.load(name).path.read_bytes()


def entry(name: str) -> dict[str, Any]:
    """What a page must know before it loads the weights ``name``: {"file", "sha256", "bytes"}."""
    found = artifacts.load(name)
    size = found.path.stat().st_size
    return {"file": f"{name}-{found.sha256[:10]}.js", "sha256": found.sha256, "bytes": size}


def script(name: str) -> str:
    """A classic script that leaves the weights ``name``, in base64, in ``__cfgtoyWeights`` under its own file name."""
    text = base64.b64encode(read(name)).decode()
    return f'(globalThis.__cfgtoyWeights ??= {{}})[{json.dumps(entry(name)["file"])}] = "{text}";\n'


def place(page: str, folder: Path, address: str) -> str:
    """Put the weights that a page's widgets name into ``folder``, and tell the widgets where.

    Args:
        page: HTML with the fragments of widgets.
        folder: where the scripts and their ``manifest.json`` go; made if there is none.
        address: the folder's, as the page sees it, with a slash at its end.

    Returns:
        The page, whose widgets now know the address.
    """
    names = sorted({name for match in _WANTED.finditer(page) for name in match["names"].split()})
    if not names:
        return page
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "manifest.json"
    manifest = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else {}
    for name in names:
        manifest[name] = entry(name)
        (folder / manifest[name]["file"]).write_text(script(name), encoding="utf-8")
    listed.write_text(json.dumps(dict(sorted(manifest.items())), indent=1) + "\n", encoding="utf-8")
    return _WANTED.sub(f'data-weights="{address}"', page)
