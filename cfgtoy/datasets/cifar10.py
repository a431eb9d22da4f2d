"""CIFAR-10 (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html), read without trusting its pickles.

The official archive, its unpacked folder, and a packed folder of lossless WebP strips in ``.npz`` files give the same
arrays. Nothing is extracted to disk, and the pickles pass through an unpickler that makes only data.
"""

import gzip
import hashlib
import io
import os
import pickle
import tarfile
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from .. import _checks
from .._extras import needs
from .images import ImageData

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
ARCHIVE, FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"
ENVIRONMENT = "CFGTOY_CIFAR10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_SIGNS = ("data_batch_1", "test_batch", "data_batch_1.npz", "test_batch.npz")
_LARGEST = 64 * 2**20  # bytes; an official batch is 31 MB

_Batch = tuple[np.ndarray, np.ndarray]  # images, labels


def load(
    split: str = "train",
    root: str | Path | None = None,
    *,
    download: bool = True,
    verify: bool = True,
    progress: bool = True,
) -> ImageData:
    """CIFAR-10 in its official order: images (n, 3, 32, 32).

    Args:
        split: ``"train"`` (50,000 images) or ``"test"`` (10,000).
        root: the archive, the folder ``cifar-10-batches-py``, a folder that holds one of them, or one in the packed
            layout (``data_batch_1.npz`` …); else what CFGTOY_CIFAR10 says, or the user's cache.
        download, progress: fetch the archive (170 MB) into the cache when it is missing there, under a bar.
        verify: check an archive's MD5, and the packed files' SHA-256, before reading.

    Raises:
        ValueError: for another split, or data that is truncated, altered or not CIFAR-10; the file is named.
        FileNotFoundError: when there is nothing to read at ``root``.
    """
    _checks.one_of("split", split, BATCHES)
    root = root or os.environ.get(ENVIRONMENT)
    path = locate(root) if root else _cached(download, progress)
    if path.is_file():
        parts = _read_archive(path, BATCHES[split], verify)
    else:
        packed = any(path.glob("*_batch*.npz"))
        files = [path / (f"{name}.npz" if packed else name) for name in BATCHES[split]]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(f"{file}: missing; the folder is not complete")
            if not packed and file.stat().st_size > _LARGEST:
                raise ValueError(f"{file}: larger than any CIFAR-10 batch")
        parts = [
            _read_packed(file, verify) if packed else _read_batch(file.read_bytes(), file) for file in files
        ]
    images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return ImageData(torch.from_numpy(images), torch.from_numpy(labels), CLASSES)


def locate(root: str | Path) -> Path:
    """The archive, batch folder or packed folder that ``root`` is or holds; raises ``FileNotFoundError`` for none."""
    root = Path(root).expanduser()
    if root.is_file():
        return root
    for folder in (root, root / FOLDER):
        if any((folder / name).is_file() for name in _SIGNS):
            return folder
    if (root / ARCHIVE).is_file():
        return root / ARCHIVE
    raise FileNotFoundError(
        f"{root}: no CIFAR-10 here, takes {ARCHIVE}, a {FOLDER} folder, or a packed folder "
        f"(data_batch_1.npz …); set by root= or by the environment variable {ENVIRONMENT}"
    )


def _cached(download: bool, progress: bool) -> Path:
    with needs("images"):
        import pooch
    cache = Path(pooch.os_cache("cfgtoy"))
    if not download and not (cache / ARCHIVE).is_file():
        raise FileNotFoundError(f"{cache / ARCHIVE}: not there, and download=False")
    return fetch(cache, progress=progress)


def fetch(
    folder: str | Path, *, url: str = URL, md5: str = MD5, progress: bool = True, retries: int = 5
) -> Path:
    """Download the archive into ``folder`` unless it is there; a broken download goes on where it stopped.

    ``ValueError`` where what came is not the archive, ``OSError`` where it fails ``retries`` times in a row.
    """
    with needs("images"):
        import pooch
        from filelock import FileLock
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def resume(source: str, target: str, _: Any) -> None:
        part = folder / f"{ARCHIVE}.part"
        _download(source, part, progress, retries)
        part.replace(target)

    with FileLock(folder / f"{ARCHIVE}.lock"):  # the processes of a torchrun fetch it once
        return Path(pooch.retrieve(url, f"md5:{md5}", ARCHIVE, folder, downloader=resume))


def _download(url: str, part: Path, progress: bool, retries: int) -> None:
    """Download ``url`` into ``part``, from where that ends, by Range requests."""
    with needs("images"):
        import requests
    from tqdm.auto import tqdm

    failures = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        try:
            with requests.get(url, headers=headers, stream=True, timeout=30) as response:
                if response.status_code == 416:
                    return  # nothing is left, or the file changed: the checksum will tell
                response.raise_for_status()
                have = have if response.status_code == 206 else 0
                total = have + int(response.headers.get("Content-Length", 0)) or None
                with (
                    open(part, "ab" if have else "wb") as out,
                    tqdm(total=total, initial=have, unit="B", unit_scale=True, disable=not progress) as bar,
                ):
                    for chunk in response.iter_content(2**20):
                        out.write(chunk)
                        bar.update(len(chunk))
                        failures = 0
            if total is None or part.stat().st_size >= total:
                return
            raise requests.ConnectionError(f"{url}: ended after {part.stat().st_size} of {total} bytes")
        except requests.RequestException as error:
            failures += 1
            status = error.response.status_code if error.response is not None else 0
            if failures >= retries or 400 <= status < 500:
                raise OSError(f"could not download {url}: {error}") from error
            time.sleep(min(2.0**failures / 8, 10))


def _read_archive(path: Path, names: tuple[str, ...], verify: bool) -> list[_Batch]:
    if verify:
        with open(path, "rb") as handle:
            got = hashlib.file_digest(handle, "md5").hexdigest()
        if got != MD5:
            raise ValueError(
                f"{path}: truncated or altered (MD5 {got}, the official archive has {MD5}); delete it to "
                "download it again, or pass verify=False if it is an archive of your own"
            )
    found: dict[str, bytes] = {}
    try:
        # members are read in memory, never extracted; reading to the end checks gzip's own CRC
        with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                if not member.isfile() or folder != FOLDER or name not in names:
                    continue
                if member.size > _LARGEST:
                    raise ValueError(f"{path}: {name} is larger than any CIFAR-10 batch")
                found[name] = archive.extractfile(member).read()  # type: ignore[union-attr]
            while stream.read(2**20):
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: truncated or altered ({error})") from error
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{path}: holds no {', '.join(missing)}")
    return [_read_batch(found[name], f"{path}: {name}") for name in names]


def _read_batch(raw: bytes, where: str | Path) -> _Batch:
    """One pickled batch -> images (n, 3, 32, 32) uint8 and labels (n,) int64."""
    try:
        batch = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
        if not isinstance(batch, dict):
            raise _Refused(f"holds a {type(batch).__name__}, not a dictionary")
        batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        if absent := [key for key in ("data", "labels") if key not in batch]:
            raise _Refused(f"has no {absent[0]!r}")
        pixels, labels = _pixels(batch["data"]), np.asarray(batch["labels"])
    except _Refused as error:
        raise ValueError(f"{where}: {error}") from error
    except Exception as error:  # a broken pickle raises nearly anything
        raise ValueError(f"{where}: truncated or altered ({type(error).__name__}: {error})") from error
    fits = pixels.ndim == 2 and pixels.shape[1] == 3072 and labels.shape == pixels.shape[:1]
    if not fits or labels.dtype.kind not in "iu":
        got = f"data {pixels.shape}, labels {labels.shape} {labels.dtype}"
        raise ValueError(f"{where}: not a CIFAR-10 batch ({got})")
    return pixels.reshape(-1, 3, 32, 32).copy(), _checked(labels, where)


def _checked(labels: np.ndarray, where: str | Path) -> np.ndarray:
    if len(labels) and (labels.min() < 0 or labels.max() >= len(CLASSES)):
        raise ValueError(f"{where}: labels {labels.min()}..{labels.max()}, not 0..9")
    return labels.astype(np.int64)


def _read_packed(path: Path, verify: bool) -> _Batch:
    """One packed ``.npz``: lossless WebP strips of stacked images -> (n, 3, 32, 32) uint8, (n,) int64."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            strips = [archive[key] for key in sorted(archive.files) if key.startswith("strip_")]
            labels, digest = archive["labels"], str(archive["sha256_nhwc"])
        with ThreadPoolExecutor(8) as pool:
            images = np.concatenate(list(pool.map(_decode_strip, strips)))  # (n, 32, 32, 3)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: truncated or altered ({error})") from error
    if verify and hashlib.sha256(images.tobytes()).hexdigest() != digest:
        raise ValueError(f"{path}: altered (the decoded images do not have the SHA-256 it states)")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{path}: {len(images)} images but {len(labels)} labels")
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), _checked(labels, path)


def _decode_strip(strip: np.ndarray) -> np.ndarray:
    with needs("images"):
        from PIL import Image
    with Image.open(io.BytesIO(strip.tobytes()), formats=["WEBP"]) as image:
        if image.mode != "RGB" or image.width != 32:
            raise ValueError(f"a strip is {image.mode}, {image.width} pixels wide, takes RGB, 32")
        return np.asarray(image).reshape(-1, 32, 32, 3)


class _Refused(ValueError):
    """What was unpickled is not what a batch holds."""


class _Inert:
    """Stands in for numpy's array and dtype: keeps what they would be made of, runs nothing."""

    state: Any = None

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Knows numpy's array, dtype and array maker by a stand-in, and refuses every other name."""

    _ALLOWED: ClassVar[dict[str, Any]] = {
        "numpy.ndarray": _Inert,
        "numpy.dtype": _Inert,
        "numpy.core.multiarray._reconstruct": _Inert,
        "numpy._core.multiarray._reconstruct": _Inert,
        "_codecs.encode": str.encode,  # by which newer pickles of protocol 2 spell bytes
    }

    def find_class(self, module: str, name: str) -> Any:
        if (found := self._ALLOWED.get(f"{module}.{name}")) is None:
            raise _Refused(f"refuses to unpickle {module}.{name}")
        return found


def _pixels(data: Any) -> np.ndarray:
    """The array of bytes that ``data`` is, or stands in for."""
    match data:
        case _Inert(state=(_, shape, _Inert(args=(code, *_)), fortran, raw)):
            if code in ("u1", b"u1", "|u1", "uint8") and isinstance(raw, bytes) and not fortran:
                return np.frombuffer(raw, np.uint8).reshape(shape)
            raise _Refused(f"holds an array of type {code!r}, takes bytes (u1) in C order")
        case _Inert():
            raise _Refused("holds an array in an unknown form")
    return np.asarray(data, np.uint8)
