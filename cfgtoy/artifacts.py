"""Weights in files: safetensors with a few lines of JSON that say how to rebuild the network.

``data/manifest.json`` lists the files that ship with the project, each with its SHA-256; loading one by
name checks it. They are looked for in the folder that ``CFGTOY_DATA`` names, else in ``data/`` of the checkout, else
in the installed package, which carries a copy. Any other ``.safetensors`` file loads by its path. Nothing is ever
unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from . import _checks, schedules
from .prediction import NetDenoiser, Prediction

if TYPE_CHECKING:
    from .metrics.extractors import ClassifierExtractor

__all__ = [
    "Artifact",
    "ImageDenoiser",
    "NoisyImageClassifier",
    "data_folder",
    "load",
    "load_denoiser",
    "load_evaluator",
    "load_net",
    "load_noisy_classifier",
    "manifest",
    "manifest_add",
    "save",
    "schedule_from_meta",
    "schedule_to_meta",
    "write_atomically",
]

ENVIRONMENT = "CFGTOY_DATA"
MANIFEST = "manifest.json"
_KEY = "cfgtoy"  # of our JSON in the safetensors header
_NETS = {
    "UNet": "unet",
    "NoisyClassifier": "unet",
    "Evaluator": "evaluator",
}  # class -> module of cfgtoy.nets
Role = Literal["denoiser", "noisy_classifier", "evaluator"]


@dataclass(frozen=True)
class Artifact:
    """What a weight file holds: named tensors, the JSON beside them, where it lay and its SHA-256."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    path: Path
    sha256: str


# -- files -----------------------------------------------------------------------------------------


def write_atomically(path: str | Path, content: bytes) -> str:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never a part.

    Returns:
        The SHA-256 of ``content``, in hexadecimal.

    Raises:
        OSError: when the folder cannot be written or the disk is full; the old file, if any, is untouched.
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


def save(path: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> str:
    """Write tensors and JSON to a safetensors file, atomically.

    Args:
        path: of the file, by custom ``*.safetensors``.
        tensors: name -> tensor, on any device.
        meta: anything that JSON can hold; see :func:`load_denoiser` for what a network needs.

    Returns:
        The file's SHA-256.

    Raises:
        ValueError: when ``meta`` is not JSON.
        OSError: as :func:`write_atomically`.
    """
    from safetensors.torch import save as to_bytes

    try:
        text = json.dumps(dict(meta), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"meta: got something that is not JSON ({error})") from error
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return write_atomically(path, to_bytes(flat, metadata={_KEY: text}))


def load(name: str | Path, device: torch.device | str = "cpu") -> Artifact:
    """Read a weight file by its name in the manifest or by its path.

    Args:
        name: ``"cifar10"``, …, or the path of a ``.safetensors`` file.
        device: where the tensors go.

    Raises:
        FileNotFoundError: when there is no such name or file.
        ValueError: when the file's SHA-256 is not the manifest's, or it is truncated or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    path, expected = _find(name)
    raw = path.read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    if expected is not None and digest != expected:
        raise ValueError(
            f"{path}: truncated or altered (SHA-256 {digest[:12]}…, {MANIFEST} says {expected[:12]}…); "
            "restore the file"
        )
    try:
        tensors = from_bytes(raw)
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        meta = json.loads(header.get("__metadata__", {}).get(_KEY, "{}"))
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: truncated, altered or not a safetensors file ({error})") from error
    return Artifact({key: tensor.to(device) for key, tensor in tensors.items()}, meta, path, digest)


def _find(name: str | Path) -> tuple[Path, str | None]:
    """The path of a file and the SHA-256 it must have, if the manifest knows it."""
    path = Path(name).expanduser()
    looks_like_path = isinstance(name, Path) or path.suffix == ".safetensors" or len(path.parts) > 1
    if looks_like_path:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such weight file")
        return path, None
    folder = data_folder()
    entries = manifest(folder)
    if str(name) not in entries:
        known = ", ".join(key for key, entry in entries.items() if entry["file"].endswith(".safetensors"))
        raise FileNotFoundError(
            f"{name!r}: no such weights, takes {known or 'nothing (the manifest lists none)'}, "
            "or the path of a .safetensors file"
        )
    entry = entries[str(name)]
    path = folder / entry["file"]
    if not path.is_file():
        raise FileNotFoundError(f"{path}: listed in {MANIFEST}, but the file is missing")
    return path, entry["sha256"]


def data_folder() -> Path:
    """The folder of the shipped weights and results.

    It is what the environment variable ``CFGTOY_DATA`` names; else ``data/`` of the checkout that this code lies in;
    else ``data/`` in the installed package.

    Raises:
        FileNotFoundError: when ``CFGTOY_DATA`` names no folder, or the package came without its data.
    """
    if named := os.environ.get(ENVIRONMENT):
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder; {ENVIRONMENT} takes a copy of the project's data/"
            )
        return folder
    package = Path(__file__).resolve().parent
    places = (package.parent / "data", package / "data")
    for folder in places:
        if (folder / MANIFEST).is_file():  # site-packages may hold a data/ of somebody else's
            return folder
    raise FileNotFoundError(
        f"no shipped weights in {' or '.join(map(str, places))}; set {ENVIRONMENT} to a copy of the project's data/, "
        "or give the path of a file"
    )


def manifest(folder: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """``manifest.json`` of ``folder``, by default the shipped one: name -> file, sha256, bytes, who made it.

    Raises:
        ValueError: when it is not JSON of that form, or names a file outside its folder.
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
    """Enter ``file`` as ``name`` in its folder's manifest, with its size, SHA-256 and what its JSON says.

    Args:
        name: what :func:`load` will find it by.
        file: an existing file; weights or JSON results.
        **about: further facts to note, as JSON.

    Returns:
        The entry.
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


# -- schedules as JSON -----------------------------------------------------------------------------


def schedule_to_meta(schedule: schedules.Schedule) -> dict[str, Any]:
    """``{"class": …, "args": {…}}`` from which :func:`schedule_from_meta` makes the same schedule."""
    values = {f.name: getattr(schedule, f.name) for f in dataclasses.fields(schedule)}  # type: ignore[arg-type]
    args = {
        key: schedule_to_meta(value) if isinstance(value, schedules.Schedule) else value
        for key, value in values.items()
    }
    return {"class": type(schedule).__name__, "args": args}


def schedule_from_meta(meta: Mapping[str, Any]) -> schedules.Schedule:
    """The schedule that :func:`schedule_to_meta` described.

    Raises:
        ValueError: for an unknown class or arguments it does not take.
    """
    kind = getattr(schedules, str(meta.get("class")), None)
    if not (
        isinstance(kind, type) and issubclass(kind, schedules.Schedule) and kind is not schedules.Schedule
    ):
        raise ValueError(f"schedule: got class {meta.get('class')!r}, takes one of cfgtoy.schedules")
    args = {
        key: schedule_from_meta(value) if isinstance(value, Mapping) else value
        for key, value in meta.get("args", {}).items()
    }
    try:
        return kind(**args)
    except TypeError as error:
        raise ValueError(f"schedule: {error}") from error


# -- networks --------------------------------------------------------------------------------------


class ImageDenoiser(NetDenoiser):
    """A trained network as a denoiser, with what one needs to sample from it.

    Attributes:
        net, kind: as in :class:`~cfgtoy.prediction.NetDenoiser`.
        shape: (c, h, w) of an image; values in [-1, 1].
        classes: the class names.
        schedule: the noise levels it was trained on.
        meta: all that the file said about itself.
        sha256: of the file it came from, or None.
    """

    def __init__(self, net: nn.Module, meta: Mapping[str, Any], sha256: str | None = None) -> None:
        super().__init__(net, meta["kind"])
        c, h, w = (int(k) for k in meta["image"])
        self.shape = (c, h, w)
        self.classes = tuple(str(name) for name in meta["classes"])
        self.schedule = schedule_from_meta(meta["schedule"])
        self.meta, self.sha256 = dict(meta), sha256

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        if z.shape[1:] != self.shape:
            raise ValueError(f"z: got shape {tuple(z.shape)}, takes (b, {', '.join(map(str, self.shape))})")
        if y is not None and y.device.type == "cpu":  # on a GPU the check would wait for the queue
            _checks.labels("y", y, len(self.classes), null=-1)
        return super().__call__(z, logsnr, y)

    def to(self, device: torch.device | str) -> ImageDenoiser:
        """Move the network; returns this denoiser."""
        self.net.to(device)  # type: ignore[attr-defined]
        return self


class NoisyImageClassifier:
    """A trained p(c | z_λ): ``(z, logsnr) -> log p(c | z)``, (b, C) in float32. See ``guidance.classifier``."""

    def __init__(self, net: nn.Module, meta: Mapping[str, Any], sha256: str | None = None) -> None:
        self.net, self.meta, self.sha256 = net, dict(meta), sha256
        self.classes = tuple(str(name) for name in meta["classes"])

    def __call__(self, z: Tensor, logsnr: Tensor) -> Tensor:
        lam = torch.as_tensor(logsnr, device=z.device, dtype=torch.float32).expand(len(z))
        return self.net(z, lam).float().log_softmax(1)

    def to(self, device: torch.device | str) -> NoisyImageClassifier:
        """Move the network; returns this classifier."""
        self.net.to(device)
        return self


def load_net(
    name: str | Path, role: Role, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[nn.Module, Artifact]:
    """Rebuild the network of a weight file, in evaluation mode and without gradients for its parameters.

    Args:
        name: as :func:`load`.
        role: what the file must say it is.
        device, dtype: of the parameters, whatever type the file holds.

    Returns:
        The network, and what else was in the file.

    Raises:
        ValueError: when the file is damaged, has another role, or its tensors do not fit the network it names.
        FileNotFoundError: as :func:`load`.
    """
    artifact = load(name)
    meta, where = artifact.meta, artifact.path
    if meta.get("role") != role:
        raise ValueError(f"{where}: holds a {meta.get('role', 'file of no known role')!r}, takes a {role!r}")
    spec = meta.get("net", {})
    if spec.get("class") not in _NETS:
        raise ValueError(f"{where}: names the network {spec.get('class')!r}, takes one of {', '.join(_NETS)}")
    kind = getattr(import_module(f"cfgtoy.nets.{_NETS[spec['class']]}"), spec["class"])
    try:
        net = kind(**spec.get("args", {}))
        net.load_state_dict(artifact.tensors)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{where}: its tensors do not fit the network it names ({error})") from error
    return net.to(device=device, dtype=dtype).eval().requires_grad_(False), artifact


def load_denoiser(
    name: str | Path = "cifar10", device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> ImageDenoiser:
    """A trained image model, ready for any guidance and sampler.

    The file's JSON has ``role`` ``"denoiser"``, ``net`` ``{"class", "args"}`` (a class of ``cfgtoy.nets``),
    ``kind`` (``"v"``, ``"eps"``, ``"x"``), ``schedule`` ``{"class", "args"}``, ``image`` [c, h, w], ``classes``,
    ``dataset`` and ``made_by``.

    Raises:
        ValueError, FileNotFoundError: as :func:`load_net`.
    """
    net, artifact = load_net(name, "denoiser", device, dtype)
    return _build(ImageDenoiser, net, artifact)


def load_noisy_classifier(
    name: str | Path = "cifar10-noisy-classifier",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> NoisyImageClassifier:
    """A trained classifier of noisy images, for classifier guidance. Errors as :func:`load_net`."""
    net, artifact = load_net(name, "noisy_classifier", device, dtype)
    return _build(NoisyImageClassifier, net, artifact)


def load_evaluator(
    name: str | Path = "cifar10-evaluator", device: torch.device | str = "cpu"
) -> ClassifierExtractor:
    """The extractor of features and probabilities behind the ``…_classifier`` metrics.

    The same as :func:`cfgtoy.metrics.extractors.classifier`; errors as :func:`load_net`.
    """
    from .metrics import extractors

    return extractors.classifier(name, device)


def _build(kind: Callable[..., Any], net: nn.Module, artifact: Artifact) -> Any:
    try:
        return kind(net, artifact.meta, artifact.sha256)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{artifact.path}: its JSON lacks or garbles {error}") from error
