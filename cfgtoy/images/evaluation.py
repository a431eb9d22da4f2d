"""Measuring image models: draw n samples at each weight, compare them with real images, write figures as JSON.

With them stands all that one needs to repeat them. It runs on a CPU, on a GPU and, under ``torchrun``, on several.
"""

import dataclasses
import json
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import _checks, _files
from .._provenance import provenance
from .._ranks import Ranks
from ..artifacts import load_denoiser
from ..datasets.images import to_uint8
from ..datasets.load import load_images
from ..guidance import rule as make_rule
from ..metrics import Manifold, Moments, class_entropy, frechet_distance, inception_score, precision_recall
from ..metrics.extractors import Extractor, over
from ..metrics.extractors import load as load_extractor
from ..prediction import Denoiser
from . import sheets
from .sampling import Sampling, Settings, draws


@dataclass(frozen=True)
class EvalConfig:
    """Draw n images at each w and compare them with a reference."""

    model: str = "cifar10"  #: Name of shipped weights, or the path of a .safetensors file.
    #: What real images it is compared with: digits, cifar10 or an image folder; by default those it was trained on.
    dataset: str | None = None
    w: tuple[float, ...] = (0.0,)  #: Guidance weights; 0 is the conditional model, -1 the unconditional one.
    n: int = 50_000  #: Images drawn at each w, evenly over the classes.
    sampling: Sampling = dataclasses.field(default_factory=Sampling)  #: How samples are drawn.
    #: Images to compare with: train, test, or a file of moments written by --save-reference.
    reference: str = "train"
    #: What features are taken from: the classifier trained on the dataset (auto), its weights by name or path, or
    #: inception (needs torch-fidelity and a download).
    extractor: str = "auto"
    #: Also compare the dataset's other split with the reference: what real images score.
    noise_floor: bool = False
    precision_recall: bool = True  #: Measure precision and recall too; takes n x reference distances.
    k: int = 3  #: Neighbours for precision and recall.
    seed: int = 0  #: Of all noise.
    batch: int = 500  #: Images at a time, on each GPU.
    device: str = "auto"  #: cpu, cuda, or auto.
    root: str | None = None  #: Where CIFAR-10 lies: see CFGTOY_CIFAR10.
    out: Path | None = None  #: JSON file for the results, rewritten after each w.
    picture: Path | None = None  #: PNG of the first ten images of each class at each w.
    save_reference: Path | None = None  #: Keep the reference's moments in this .safetensors file.

    def __post_init__(self) -> None:
        for name, least in {"n": 2, "k": 1, "batch": 1, "seed": 0}.items():
            _checks.positive_int(name, getattr(self, name), least=least)
        if not self.w:
            raise ValueError("w: got no weights, takes at least one")
        for w in self.w:
            _checks.number("w", w)
        if self.precision_recall and self.n <= self.k:
            raise ValueError(f"n: got {self.n}, takes more than k = {self.k}")


class _Features(NamedTuple):
    """What an extractor found in a set of images; all on one process."""

    moments: Moments
    probs: Tensor  # (n, C) float32
    y: Tensor  # (n,) int64
    features: Tensor | None  # (n, d) float32, kept for precision and recall


def _collect(group: Ranks, batches: Iterable[tuple[Tensor, Tensor, Tensor]], keep: bool) -> _Features:
    """Gather features (b, d), probabilities and labels, first over batches and then over ranks."""
    mine, parts = None, []
    for features, probs, y in batches:
        mine = (mine or Moments(features.shape[1], group.device)).update(features)
        parts.append((probs, y, features) if keep else (probs, y))
    assert mine is not None  # every process has a batch: checked at the start
    moments = Moments(len(mine.mean), group.device)
    sums = torch.tensor([mine.n], device=group.device), mine.mean[None], mine.scatter[None]
    for n, mean, scatter in zip(*map(group.gather, sums), strict=True):
        moments.merge(Moments.from_parts(int(n), mean[0], scatter[0]))
    probs, y, *kept = (torch.cat(group.gather(torch.cat(part))) for part in zip(*parts, strict=True))
    return _Features(moments, probs, y, kept[0] if keep else None)


def _real(
    group: Ranks, extractor: Extractor, config: EvalConfig, dataset: str, split: str, shape: tuple[int, ...]
) -> _Features:
    """The features of a dataset's images, shared out over the processes."""
    data = load_images(dataset, split, root=config.root, size=shape[1], channels=shape[0])
    mine = data.take(slice(group.rank, None, group.world))
    found = over(extractor, mine.images, config.batch, group.device)
    labels = mine.labels.to(group.device).split(config.batch)
    return _collect(group, ((*f, y) for f, y in zip(found, labels, strict=True)), config.precision_recall)


def _generated(
    group: Ranks, extractor: Extractor, settings: Settings, w: float, config: EvalConfig, classes: int
) -> tuple[_Features, Tensor, float]:
    """The features of ``config.n`` samples at w, the first ten images of each class, and this process's drawing time.

    Where a class has too few images its row ends in white.
    """
    rows: list[list[Tensor]] = [[] for _ in range(classes)]
    seconds = 0.0

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        nonlocal seconds
        start = _now(group.device)
        for x, labels in draws(
            settings, torch.arange(config.n) % classes, w, seed=config.seed, batch=config.batch, rank=group.rank,
            world=group.world, progress=group.first,
        ):  # fmt: skip
            images = to_uint8(x)
            seconds += _now(group.device) - start
            if any(len(row) < 10 for row in rows):
                for image, label in zip(images[: 20 * classes].cpu(), labels.tolist(), strict=False):
                    rows[label] = [*rows[label], image][:10]
            features, probs = next(over(extractor, images, len(images)))
            yield features, probs, labels
            start = _now(group.device)

    found = _collect(group, batches(), config.precision_recall)
    columns, white = max(map(len, rows)), torch.full_like(next(row[0] for row in rows if row), 255)
    pictures = torch.stack([image for row in rows for image in row + [white] * (columns - len(row))])
    return found, pictures, seconds


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _figures(
    found: _Features, truth: Moments, manifold: Manifold | None, name: str, names_classes: bool, k: int
) -> dict[str, Any]:
    """Each figure under a key that says which extractor it came from."""
    figures = {
        "frechet": frechet_distance(found.moments, truth),
        "inception_score": inception_score(found.probs),
        "class_entropy": class_entropy(found.probs),
    }
    if names_classes:
        figures["accuracy"] = (found.probs.argmax(1) == found.y).double().mean().item()
    if manifold is not None and found.features is not None:
        figures |= precision_recall(manifold, found.features, k=k)._asdict()
    return {f"{figure}_{name}": value for figure, value in figures.items()}


def evaluate(
    model: str | Path | Denoiser | EvalConfig = "cifar10", *, command: str | None = None, **options: Any
) -> dict[str, Any]:
    """Draw n images at each w, compare them with a reference, and say how to repeat it.

    Figures are named after the extractor: ``frechet_cifar10_classifier``, ``inception_score_…``, ``precision_…``,
    ``recall_…``, ``class_entropy_…`` and ``accuracy_…`` (the share that the extractor's classifier gives the class
    that was asked for). Samples are rounded to bytes before they are measured, as a saved image would be.

    >>> evaluate("digits", rule="apg", w=(0.0, 2.0), n=1000, steps=12)  # doctest: +SKIP

    Args:
        model: weights by name or path; any denoiser, which stays as and where it is (give ``dataset`` where it does
            not say); or an :class:`EvalConfig`.
        command, options: the command line, for the record; fields of :class:`EvalConfig` and of :class:`Sampling`.

    Returns:
        What was written to ``out``: ``results`` (a list, one entry a w), ``noise_floor``, and beside them rule, n,
        reference, extractor, sampling, seed, commit, device, minutes.

    Raises:
        ValueError, OSError: for weights, data, options or an ``out`` that do not fit; before any sample is drawn.
    """
    config, source = (model, model.model) if isinstance(model, EvalConfig) else (EvalConfig(), model)
    options["model"] = str(source) if isinstance(source, str | Path) else type(source).__name__
    if isinstance(options.get("w"), int | float):
        options["w"] = (options["w"],)
    own = {f.name for f in dataclasses.fields(EvalConfig)}
    config = dataclasses.replace(config, **{key: options.pop(key) for key in [*options] if key in own})
    config = dataclasses.replace(config, sampling=config.sampling.but(**options))
    with closing(Ranks(config.device)) as group:
        return _evaluate(source, config, command, group)


def _evaluate(
    model: str | Path | Denoiser, config: EvalConfig, command: str | None, group: Ranks
) -> dict[str, Any]:
    begin = time.perf_counter()
    if isinstance(model, str | Path):
        model = load_denoiser(model, group.device)
    dataset = config.dataset or str(getattr(model, "meta", {}).get("dataset", ""))
    name = config.extractor
    if name == "auto":
        if dataset not in ("cifar10", "digits"):
            raise ValueError(f"extractor: there is none of its own for {dataset!r}, takes a name or a path")
        name = f"{dataset}-evaluator"
    extractor = load_extractor(name, group.device)
    settings = Settings.load(model, config.sampling, group.device, shape=extractor.shape)
    shape, classes = settings.shape, settings.classes or extractor.classes
    if len(shape) != 3 or classes is None:
        raise ValueError(f"model: got a denoiser of {shape}, takes one of images (c, h, w) of known classes")
    if extractor.shape is not None and extractor.shape != shape:
        raise ValueError(f"extractor: {name} is for images {extractor.shape}, takes one for {shape}")
    names_classes = extractor.classes == classes  # where not, "accuracy" would mean nothing
    if math.ceil(config.n / config.batch) < group.world:
        got = f"{config.batch} for n = {config.n}"
        raise ValueError(f"batch: got {got}, takes one that gives {group.world} batches")
    record: dict[str, Any] = {
        "model": config.model,
        "model_sha256": getattr(model, "sha256", None),
        "dataset": dataset,
        "rule": make_rule(config.sampling.rule).to_json(),
        "parts_sha256": {part: getattr(value, "sha256", None) for part, value in settings.parts.items()},
        "n": config.n,
        "reference": config.reference,
        "extractor": extractor.name,
        "extractor_sha256": extractor.sha256,
        "sampling": settings.sampling.to_json()
        | {"lo": settings.grid[0].item(), "hi": settings.grid[-1].item()},
        "k": config.k if config.precision_recall else None,
        "seed": config.seed,
        "batch": config.batch,
        "gpus": group.gpus,
        **provenance(group.device, command or f"cfgtoy.images.evaluate({config})"),
        "minutes": 0.0,
        "results": [],
    }
    for path in (config.out, config.picture, config.save_reference):
        if path is not None and group.first:
            _files.try_writing(path)
    if config.picture is not None:
        sheets.pillow()
    truth, manifold, split = _reference(config, group, extractor, dataset, shape)
    record["reference_n"] = truth.n
    figures = partial(
        _figures, truth=truth, manifold=manifold, name=extractor.name, names_classes=names_classes, k=config.k
    )
    if config.noise_floor:
        other = "test" if split == "train" else "train"
        found = _real(group, extractor, config, dataset, other, shape)
        record["noise_floor"] = {"images": other, "n": found.moments.n, **figures(found)}
    if config.sampling.compile:  # so that the first w is not charged with it
        start = _now(group.device)
        size = min(config.batch, config.n)
        for w in {w != 0: w for w in config.w}.values():  # the two shapes that the network is called with
            next(draws(settings, torch.arange(size) % len(classes), w, batch=size))
        record["seconds_compiling"] = _now(group.device) - start

    blocks = []
    for w in config.w:
        start = _now(group.device)
        found, pictures, drawing = _generated(group, extractor, settings, w, config, len(classes))
        entry = {"w": w, **figures(found), "seconds_sampling": drawing}
        record["results"].append(entry | {"seconds_measuring": _now(group.device) - start - drawing})
        record["minutes"] = (time.perf_counter() - begin) / 60
        blocks.append(pictures)
        if config.out is not None and group.first:
            text = json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n"
            _files.write_atomically(config.out, text.encode())
    if config.picture is not None and group.first:
        sheets.sweep_sheet(blocks, [f"w = {w:g}" for w in config.w], classes, scale=2).save(config.picture)
    return record


def _reference(
    config: EvalConfig, group: Ranks, extractor: Extractor, dataset: str, shape: tuple[int, ...]
) -> tuple[Moments, Manifold | None, str]:
    """Moments, manifold and split of the reference."""
    if config.reference not in ("train", "test"):
        loaded = _files.load(config.reference, group.device)
        meta = loaded.meta
        if meta.get("role") != "reference" or meta.get("extractor_sha256") != extractor.sha256:
            made = f"{meta.get('role', 'something else')!r} made with the extractor {meta.get('extractor')}"
            takes = f"a reference made with this {extractor.name}"
            raise ValueError(f"reference: {loaded.path} holds {made}, takes {takes}")
        return Moments.from_parts(meta["n"], **loaded.tensors), None, meta["split"]
    found = _real(group, extractor, config, dataset, config.reference, shape)
    if config.save_reference is not None and group.first:
        meta = {
            "role": "reference", "dataset": dataset, "split": config.reference, "n": found.moments.n,
            "extractor": extractor.name, "extractor_sha256": extractor.sha256,
        }  # fmt: skip
        _files.save(config.save_reference, {k: getattr(found.moments, k) for k in ("mean", "scatter")}, meta)
    manifold = None if found.features is None else Manifold(found.features, config.k)
    return found.moments, manifold, config.reference
