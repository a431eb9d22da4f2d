"""Weight files for the page: the very bytes of ``data/``, as scripts that a page from disk can load too.

A page's loader takes the text that such a script leaves behind, decodes it, and checks its SHA-256.
"""

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from .. import artifacts
from ._bundle import as_worker, modules
from ._traits import JS

PART = 8_400_000
"""Bytes of weights in a script, at most: no browser stops long over one; by three, so that the parts' base64 joins."""

_WANTED = re.compile(r'data-weights="(?P<names>[\w -]+)"')


def read(name: str) -> bytes:
    """The weight file that ships as ``name``, checked as :func:`cfgtoy.artifacts.load` does."""
    return artifacts.load(name).path.read_bytes()


def entry(name: str) -> dict[str, Any]:
    """What a page must know before it loads the weights ``name``: {"files", "sha256", "bytes", "webgpu"}."""
    found = artifacts.load(name)
    size = found.path.stat().st_size
    stem, count = f"{name}-{found.sha256[:10]}", -(-size // PART)
    files = [f"{stem}.js"] if count == 1 else [f"{stem}-{part + 1}.js" for part in range(count)]
    return {"files": files, "sha256": found.sha256, "bytes": size, "webgpu": webgpu()[0]}


@cache
def webgpu() -> tuple[str, str]:
    """The code that only a page with a graphics card asks for: the name of its file, and a worker's script."""
    text = as_worker(modules(JS / "nets" / "card.mjs"))
    return f"webgpu-{hashlib.sha256(text.encode()).hexdigest()[:10]}.js", text


def scripts(name: str) -> dict[str, str]:
    """By file name, in order: classic scripts that each leave their part of the weights, in base64."""
    raw, files = read(name), entry(name)["files"]
    texts = (base64.b64encode(raw[at : at + PART]).decode() for at in range(0, len(raw), PART))
    return {file: _left(file, text) for file, text in zip(files, texts, strict=True)}


def _left(file: str, text: str) -> str:
    """A classic script that leaves a text in ``__cfgtoyWeights``, under the script's name."""
    return f"(globalThis.__cfgtoyWeights ??= {{}})[{json.dumps(file)}] = {json.dumps(text)};\n"


def place(page: str, folder: Path, address: str) -> str:
    """Put the weights that a page's widgets name into ``folder``, made if there is none, with their ``manifest.json``.

    Returns:
        The page, whose widgets now know the folder's ``address``, as the page sees it, with a slash at its end.
    """
    names = sorted({name for match in _WANTED.finditer(page) for name in match["names"].split()})
    if not names:
        return page
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "manifest.json"
    manifest = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else {}
    manifest |= {name: entry(name) for name in names}
    card, code = webgpu()
    for made in (*map(scripts, names), {card: _left(card, code)}):
        for file, text in made.items():
            (folder / file).write_text(text, encoding="utf-8")
    listed.write_text(json.dumps(dict(sorted(manifest.items())), indent=1) + "\n", encoding="utf-8")
    return _WANTED.sub(f'data-weights="{address}"', page)
