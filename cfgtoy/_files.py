"""Files: safetensors with a few lines of JSON beside the tensors, and the manifest of what ships with the project."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

ENVIRONMENT = "CFGTOY_DATA"
MANIFEST = "manifest.json"
KEY = "cfgtoy"  # of our JSON in the safetensors header


@dataclass(frozen=True)
class Artifact:
    """What a weight file holds: named tensors, the JSON beside them, where it lay and its SHA-256."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    path: Path
    sha256: str


def write_atomically(path: str | Path, content: bytes) -> str:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never a part; give its SHA-256.

    On an ``OSError``, as of a full disk, the old file, if any, is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return hashlib.sha256(content).hexdigest()


def try_writing(path: Path) -> None:
    """Raise now the OSError that would be raised after the work, when no file can be made beside ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    probe = path.with_name(f".{path.name}.probe")
    probe.write_bytes(b"")
    probe.unlink()


def to_bytes(tensors: Mapping[str, Tensor], meta: Mapping[str, Any], key: str = KEY) -> bytes:
    """Tensors, on any device, and JSON, under ``key``, as the content of a safetensors file."""
    try:
        text = json.dumps(dict(meta), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"meta: got something that is not JSON ({error})") from error
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(flat, metadata={key: text})


def from_bytes(raw: bytes, key: str = KEY) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`to_bytes` was given, if it is all of that; the JSON is empty in a file without that ``key``."""
    try:
        tensors = safetensors.torch.load(raw)
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        return tensors, json.loads(header.get("__metadata__", {}).get(key, "{}"))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"truncated, altered or not a safetensors file ({error})") from error


def save(path: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> str:
    """Write tensors, on any device, and JSON to a safetensors file, atomically; return its SHA-256.

    For what a network needs in ``meta`` see :func:`cfgtoy.artifacts.load_denoiser`; one that is not JSON is a
    ``ValueError``. Errors as :func:`write_atomically`.
    """
    return write_atomically(path, to_bytes(tensors, meta))


def load(name: str | Path, device: torch.device | str = "cpu") -> Artifact:
    """Read a weight file, its tensors to ``device``, by its name in the manifest or by its path.

    Raises:
        FileNotFoundError: when there is no such name or file.
        ValueError: when the file's SHA-256 is not the manifest's, or it is truncated or no safetensors file.
    """
    path, expected = _find(name)
    raw = path.read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    if expected is not None and digest != expected:
        differs = f"SHA-256 {digest[:12]}…, {MANIFEST} says {expected[:12]}…"
        raise ValueError(f"{path}: truncated or altered ({differs}); restore the file")
    try:
        tensors, meta = from_bytes(raw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Artifact({key: tensor.to(device) for key, tensor in tensors.items()}, meta, path, digest)


def _find(name: str | Path) -> tuple[Path, str | None]:
    """The path of a file and the SHA-256 it must have, if the manifest knows it."""
    path = Path(name).expanduser()
    if isinstance(name, Path) or path.suffix == ".safetensors" or len(path.parts) > 1:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such weight file")
        return path, None
    folder = data_folder()
    entries = manifest(folder)
    if name not in entries:
        weights = [key for key, entry in entries.items() if entry["file"].endswith(".safetensors")]
        known = ", ".join(weights) or "nothing (the manifest lists none)"
        raise FileNotFoundError(
            f"{name!r}: no such weights, takes {known}, or the path of a .safetensors file"
        )
    path = folder / entries[name]["file"]
    if not path.is_file():
        raise FileNotFoundError(f"{path}: listed in {MANIFEST}, but the file is missing")
    return path, entries[name]["sha256"]


def data_folder() -> Path:
    """The folder of the shipped weights and results; a ``FileNotFoundError`` where there is none.

    It is what the environment variable ``CFGTOY_DATA`` names; else ``data/`` of the checkout that this code lies in;
    else ``data/`` in the installed package.
    """
    if named := os.environ.get(ENVIRONMENT):
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; {ENVIRONMENT} takes a copy of data/")
        return folder
    package = Path(__file__).resolve().parent
    places = package.parent / "data", package / "data"
    for folder in places:
        if (folder / MANIFEST).is_file():  # site-packages may hold a data/ of somebody else's
            return folder
    where, instead = " or ".join(map(str, places)), f"set {ENVIRONMENT} to a copy of the project's data/"
    raise FileNotFoundError(f"no shipped weights in {where}; {instead}, or give the path of a file")


def manifest(folder: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """``manifest.json`` of ``folder``, by default the shipped one: name -> file, sha256, bytes, who made it.

    One that is not JSON of that form, or names a file outside its folder, is a ``ValueError``.
    """
    path = Path(folder or data_folder()) / MANIFEST
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        for entry in entries.values():
            if Path(entry["file"]).name != entry["file"] or len(entry["sha256"]) != 64:
                raise ValueError(f"bad entry {entry}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged ({error})") from error
    return entries


def manifest_add(name: str, file: str | Path, **about: Any) -> dict[str, Any]:
    """Enter ``file``, weights or JSON results, in its folder's manifest, with its size, SHA-256 and what its JSON says.

    ``name`` is what :func:`load` will find it by, ``about`` further facts to note. Returns the entry.
    """
    file = Path(file)
    raw = file.read_bytes()
    entry: dict[str, Any] = {"file": file.name, "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
    if file.suffix == ".safetensors":
        meta = load(file).meta
        entry |= {key: meta[key] for key in ("role", "dataset", "made_by") if key in meta}
    entry |= about
    entries = manifest(file.parent) | {name: entry}
    text = json.dumps(dict(sorted(entries.items())), indent=2, ensure_ascii=False) + "\n"
    write_atomically(file.parent / MANIFEST, text.encode())
    return entry
