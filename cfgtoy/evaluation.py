"""Sampling and measuring image models: one set of options for grids, sweeps over w, and figures in JSON.

``sample_images`` draws; ``evaluate`` draws n, compares them with a reference and writes what it found together with
all that one needs to repeat it. Both run on a CPU, on a GPU and, under ``torchrun``, on several. The same seed gives
the same noise for every w and for any number of GPUs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from . import _checks, artifacts, guidance, samplers, schedules
from ._files import try_writing
from ._provenance import provenance
from ._ranks import Ranks, pick_device
from .artifacts import ImageDenoiser
from .datasets.resident import ImageData, load_images, to_uint8
from .metrics import class_entropy, inception_score
from .metrics.extractors import Extractor, over
from .metrics.extractors import load as load_extractor
from .metrics.streaming import Manifold, Moments, frechet, precision_recall
from .prediction import Denoiser
from .schedules import Schedule

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "EvalConfig",
    "Sampling",
    "Settings",
    "evaluate",
    "guide",
    "level_grid",
    "pick_device",
    "provenance",
    "sample_images",
    "sheet",
    "sweep_sheet",
    "try_writing",
]

Guidance = Literal["cfg", "classifier", "classifier-unconditional"]
Levels = Literal["model", "cosine", "uniform", "linear-beta", "karras"]


# -- what to draw, and how -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn."""

    guidance: Guidance = "cfg"
    """cfg; classifier (on the conditional model); or classifier-unconditional (on the unconditional one, with
    weight w + 1)."""
    classifier: str | None = None
    """Weights of the noisy classifier, by name or path; by default the one shipped for the model's dataset."""
    interval: tuple[float, float] | None = None
    """Guide only at log-SNRs between these two; by default everywhere."""
    sampler: samplers.Method = "dpm++2m"
    """The sampler."""
    steps: int = 20
    """Levels T of the grid. A guided step takes two evaluations of the network, heun twice that."""
    v: float = 0.3
    """Variance interpolation of the ancestral sampler, 0 to 1."""
    levels: Levels = "uniform"
    """How the levels are spread: evenly in log-SNR, as in training (model), by another schedule, or evenly in
    (sigma/alpha)^(1/7) (karras)."""
    lo: float | None = None
    """Lowest log-SNR; by default -9, or the model's if that is higher."""
    hi: float | None = None
    """Highest log-SNR; by default 12, or the model's if that is lower."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic inside the network; bfloat16 by autocast, the samples stay float32."""
    compile: bool = False
    """Compile the network with torch.compile; pays off on a GPU."""

    def __post_init__(self) -> None:
        _checks.positive_int("steps", self.steps)
        _checks.unit_interval("v", self.v)
        if self.interval is not None and not self.interval[0] <= self.interval[1]:
            raise ValueError(f"interval: got {self.interval}, takes two log-SNRs, the lower first")


def level_grid(how: Sampling, schedule: Schedule) -> Tensor:
    """The rising log-SNRs (T,) that ``how`` asks for, float32.

    Args:
        how: its ``levels``, ``steps``, ``lo`` and ``hi``.
        schedule: the model's, for ``levels="model"`` and the ends that are not given.

    Raises:
        ValueError: when lo is not below hi.
    """
    lo = max(schedule.lo, -9.0) if how.lo is None else how.lo
    hi = min(schedule.hi, 12.0) if how.hi is None else how.hi
    if not lo < hi:
        raise ValueError(f"lo: got {lo} with hi {hi}, takes a log-SNR below hi")
    match how.levels:
        case "model":
            if lo < schedule.lo or hi > schedule.hi:
                raise ValueError(
                    f"lo, hi: got {lo}, {hi}, takes values in [{schedule.lo}, {schedule.hi}] with levels='model'"
                )
            noisy, clean = schedule.u(torch.tensor([lo, hi], dtype=torch.float64)).tolist()
            lam = schedule.logsnr(torch.linspace(noisy, clean, how.steps, dtype=torch.float64))
        case "karras":  # Karras et al. 2022, eq. 5, rho = 7; their sigma is our sigma/alpha = exp(-lam/2)
            first, last = math.exp(-lo / 14), math.exp(-hi / 14)
            lam = -14 * torch.linspace(first, last, how.steps, dtype=torch.float64).log()
        case _:
            kind = {
                "cosine": schedules.Cosine,
                "uniform": schedules.Uniform,
                "linear-beta": schedules.LinearBeta,
            }
            lam = kind[how.levels](lo=lo, hi=hi).grid(how.steps, dtype=torch.float64)
    return lam.float()


def guide(
    model: Denoiser, w: float, how: Sampling, classifier: guidance.Classifier | None = None
) -> Denoiser:
    """The guided denoiser that ``how`` asks for; at w = 0 the conditional model itself, at half the cost.

    Args:
        model: conditional and, at NULL, unconditional; a trained one or a mixture.
        w: guidance weight; 0 conditional, -1 unconditional.
        how: its ``guidance`` and ``interval``.
        classifier: log p(c|z) for the two kinds of classifier guidance.

    Raises:
        ValueError: when w is not finite, or a classifier is needed and not given.
    """
    _checks.number("w", w)
    base: Denoiser = model
    if how.guidance == "cfg":
        guided = guidance.classifier_free(model, w=w) if w != 0 else model
    else:
        if classifier is None:
            raise ValueError(f"classifier: got None, takes a noisy classifier with guidance={how.guidance!r}")
        if how.guidance == "classifier-unconditional":
            base = guidance.unconditional(model)
            guided = guidance.classifier(base, classifier, w=w + 1) if w != -1 else base
        else:
            guided = guidance.classifier(model, classifier, w=w) if w != 0 else model
    if how.interval is None or guided is base:
        return guided
    return guidance.interval(guided, base, lo=how.interval[0], hi=how.interval[1])


class _Autocast(nn.Module):
    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.dtype = net, dtype

    def forward(self, z: Tensor, *rest: Tensor) -> Tensor:
        with torch.autocast(z.device.type, self.dtype):
            return self.net(z, *rest).float()


def _prepared(net: nn.Module, how: Sampling) -> nn.Module:
    """The network with the arithmetic and the compilation that ``how`` asks for."""
    if how.dtype == "bfloat16":
        net = _Autocast(net, torch.bfloat16)
    return torch.compile(net, dynamic=False) if how.compile else net  # type: ignore[return-value]


@dataclass(frozen=True)
class Settings:
    """A model made ready to be drawn from with one :class:`Sampling`.

    Attributes:
        model: the image model, on its device.
        classifier: the noisy classifier, where the guidance needs one.
        sampling: the options.
        grid: rising log-SNRs (T,), on the device.
    """

    model: ImageDenoiser
    classifier: artifacts.NoisyImageClassifier | None
    sampling: Sampling
    grid: Tensor

    @classmethod
    def load(
        cls, model: str | Path | ImageDenoiser, how: Sampling, device: torch.device | str = "cpu"
    ) -> Settings:
        """Load by name or path what ``how`` needs.

        Raises:
            ValueError, FileNotFoundError: as :func:`cfgtoy.artifacts.load_denoiser`.
        """
        denoiser = model if isinstance(model, ImageDenoiser) else artifacts.load_denoiser(model)
        denoiser.to(device)
        classifier = None
        if how.guidance != "cfg":
            name = how.classifier or f"{denoiser.meta.get('dataset', 'cifar10')}-noisy-classifier"
            loaded = artifacts.load_noisy_classifier(name).to(device)
            if len(loaded.classes) != len(denoiser.classes):
                raise ValueError(
                    f"classifier: got one of {len(loaded.classes)} classes, takes {len(denoiser.classes)}"
                )
            classifier = artifacts.NoisyImageClassifier(
                _prepared(loaded.net, how), loaded.meta, loaded.sha256
            )
        ready = ImageDenoiser(_prepared(denoiser.net, how), denoiser.meta, denoiser.sha256)  # type: ignore[arg-type]
        grid = level_grid(how, denoiser.schedule).to(device)
        return cls(ready, classifier, how, grid)

    @property
    def device(self) -> torch.device:
        return self.grid.device


def sample_images(
    settings: Settings,
    w: float,
    y: Tensor,
    *,
    seed: int = 0,
    batch: int = 500,
    rank: int = 0,
    world: int = 1,
    progress: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw one image for each class in ``y``, a batch at a time.

    Every batch has a generator of its own, made from ``seed`` and the batch's number: the noise is the same for any w
    and any number of ranks. All batches have the same size, so that compiled code runs as it is; what is drawn over
    is cut off.

    Args:
        settings: from :meth:`Settings.load`.
        w: guidance weight.
        y: classes (n,), -1 for none.
        seed: of all noise.
        batch: images at a time.
        rank, world: this process draws batches rank, rank + world, ….
        progress: show a bar.

    Yields:
        uint8 images (b, c, h, w) and their classes (b,), on the model's device.

    Raises:
        ValueError: for a class that the model does not know, and as :func:`guide`.
    """
    _checks.positive_int("batch", batch)
    _checks.labels("y", y, len(settings.model.classes), null=-1)
    denoiser = guide(settings.model, w, settings.sampling, settings.classifier)
    size = min(batch, len(y))
    numbers: Iterable[int] = range(rank, math.ceil(len(y) / size), world)
    if progress:
        from tqdm.auto import tqdm

        numbers = tqdm(numbers, desc=f"w = {w:g}", unit="batch", leave=False)
    for number in numbers:
        generator = torch.Generator(settings.device).manual_seed((seed * 1_000_003 + number) % 2**63)
        part = y[number * size : (number + 1) * size].to(settings.device)
        filled = torch.cat([part, part.new_zeros(size - len(part))])
        x = samplers.sample(
            denoiser,
            filled,
            shape=(size, *settings.model.shape),
            grid=settings.grid,
            method=settings.sampling.sampler,
            v=settings.sampling.v,
            generator=generator,
        )
        yield to_uint8(x[: len(part)]), part


# -- pictures --------------------------------------------------------------------------------------------------


def sheet(images: Tensor, columns: int, *, scale: int = 1, gap: int = 2) -> Image:
    """Images (n, c, h, w) uint8 as one picture, row by row, each pixel ``scale`` wide, on white.

    Raises:
        ValueError: for another type, or no images.
    """
    from PIL import Image

    _checks.positive_int("columns", columns)
    _checks.positive_int("scale", scale)
    if images.dtype != torch.uint8 or images.ndim != 4 or len(images) == 0 or images.shape[1] not in (1, 3):
        raise ValueError(f"images: got {images.dtype} {tuple(images.shape)}, takes uint8 (n, 1 or 3, h, w)")
    n, _, h, w = images.shape
    pixels = images.cpu().expand(n, 3, h, w).permute(0, 2, 3, 1).numpy()  # (n, h, w, 3)
    pixels = pixels.repeat(scale, 1).repeat(scale, 2)
    h, w, rows = h * scale, w * scale, math.ceil(n / columns)
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(pixels):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        canvas[top : top + h, left : left + w] = image
    return Image.fromarray(canvas)


def sweep_sheet(
    blocks: Sequence[Tensor],
    titles: Sequence[str],
    rows: Sequence[str],
    *,
    scale: int = 1,
) -> Image:
    """One block of images for each title, side by side, with a row for each class name.

    Args:
        blocks: uint8 (rows × k, c, h, w) each, row by row.
        titles: above each block.
        rows: at the left of each row.
        scale: screen pixels a pixel.
    """
    from PIL import Image, ImageDraw, ImageFont

    parts = [sheet(block, len(block) // len(rows), scale=scale) for block in blocks]
    font = ImageFont.load_default(12)
    margin = 8 + max(int(font.getlength(name)) for name in rows)
    width = margin + sum(part.width + 12 for part in parts) - 12
    picture = Image.new("RGB", (width, 20 + parts[0].height), "white")
    draw = ImageDraw.Draw(picture)
    step = (parts[0].height + 2) / len(rows)
    for i, name in enumerate(rows):
        draw.text((margin - 6, 20 + (i + 0.5) * step), name, "black", font, anchor="rm")
    left = margin
    for part, title in zip(parts, titles, strict=True):
        picture.paste(part, (left, 20))
        draw.text((left + part.width / 2, 10), title, "black", font, anchor="mm")
        left += part.width + 12
    return picture


# -- figures ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EvalConfig:
    """Draw n images at each w and compare them with a reference."""

    model: str = "cifar10"
    """Name of shipped weights, or the path of a .safetensors file."""
    w: tuple[float, ...] = (0.0,)
    """Guidance weights; 0 is the conditional model, -1 the unconditional one."""
    n: int = 50_000
    """Images drawn at each w, evenly over the classes."""
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    """How samples are drawn."""
    reference: str = "train"
    """Images to compare with: train, test, or a file of moments written by --save-reference."""
    extractor: str = "auto"
    """What features are taken from: the classifier trained on the dataset (auto), its weights by name or path, or
    inception (needs torch-fidelity and a download)."""
    noise_floor: bool = False
    """Also compare the dataset's other split with the reference: what real images score."""
    precision_recall: bool = True
    """Measure precision and recall too; takes n x reference distances."""
    k: int = 3
    """Neighbours for precision and recall."""
    seed: int = 0
    """Of all noise."""
    batch: int = 500
    """Images at a time, on each GPU."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    root: str | None = None
    """Where CIFAR-10 lies: see CFGTOY_CIFAR10."""
    out: Path | None = None
    """JSON file for the results, rewritten after each w."""
    picture: Path | None = None
    """PNG of the first ten images of each class at each w."""
    save_reference: Path | None = None
    """Keep the reference's moments in this .safetensors file."""

    def __post_init__(self) -> None:
        _checks.positive_int("n", self.n, least=2)
        _checks.positive_int("k", self.k)
        _checks.positive_int("batch", self.batch)
        _checks.positive_int("seed", self.seed, least=0)
        if not self.w:
            raise ValueError("w: got no weights, takes at least one")
        for w in self.w:
            _checks.number("w", w)
        if self.precision_recall and self.n <= self.k:
            raise ValueError(f"n: got {self.n}, takes more than k = {self.k}")


@dataclass(frozen=True)
class _Features:
    """What an extractor found in a set of images; all on one process."""

    moments: Moments
    probs: Tensor  # (n, C) float32
    y: Tensor  # (n,) int64
    features: Tensor | None  # (n, d) float32, kept for precision and recall


class _Group(Ranks):
    """The processes of a torchrun, which share out images and bring together what was found in them."""

    def rows(self, part: Tensor) -> Tensor:
        """The rows (n_r, …) of all ranks, one rank after another, on every rank."""
        return torch.cat(self.gather(part))

    def moments(self, part: Moments) -> Moments:
        """The moments of all ranks together."""
        n = self.rows(torch.tensor([part.n], device=self.device))
        total = Moments(len(part.mean), self.device)
        for i, (mean, scatter) in enumerate(
            zip(self.rows(part.mean[None]), self.rows(part.scatter[None]), strict=True)
        ):
            one = Moments(len(mean), self.device)
            one.n, one.mean, one.scatter = int(n[i]), mean, scatter
            total.merge(one)
        return total

    def collect(self, batches: Iterable[tuple[Tensor, Tensor, Tensor]], keep: bool) -> _Features:
        """Gather features (b, d), probabilities and labels, first over batches and then over ranks."""
        moments, probs, labels, kept = None, [], [], []
        for f, p, y in batches:
            moments = (moments or Moments(f.shape[1], self.device)).update(f)
            probs.append(p)
            labels.append(y)
            if keep:
                kept.append(f)
        assert moments is not None  # every process has a batch: checked at the start
        features = self.rows(torch.cat(kept)) if keep else None
        return _Features(
            self.moments(moments), self.rows(torch.cat(probs)), self.rows(torch.cat(labels)), features
        )


def _real(group: _Group, extractor: Extractor, data: ImageData, batch: int, keep: bool) -> _Features:
    """The features of a dataset, its images shared out over the processes."""
    mine = data.take(slice(group.rank, None, group.world))
    found = over(extractor, mine.images, batch, group.device)
    labels = mine.labels.to(group.device).split(batch)
    return group.collect(((f, p, y) for (f, p), y in zip(found, labels, strict=True)), keep)


def _generated(
    group: _Group,
    extractor: Extractor,
    settings: Settings,
    w: float,
    config: EvalConfig,
    pictures: list[list[Tensor]],
) -> tuple[_Features, float]:
    """The features of ``config.n`` samples at w, and the seconds that this process spent on drawing them."""
    classes = len(settings.model.classes)
    y = torch.arange(config.n) % classes
    seconds = 0.0

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        nonlocal seconds
        drawn = sample_images(
            settings, w, y, seed=config.seed, batch=config.batch, rank=group.rank, world=group.world,
            progress=group.first,
        )  # fmt: skip
        while True:
            start = _now(group.device)
            try:
                images, labels = next(drawn)
            except StopIteration:
                return
            seconds += _now(group.device) - start
            if any(len(row) < 10 for row in pictures):
                for image, label in zip(images[: 20 * classes].cpu(), labels.tolist(), strict=False):
                    if len(pictures[label]) < 10:
                        pictures[label].append(image)
            features, probs = next(over(extractor, images, len(images)))
            yield features, probs, labels

    return group.collect(batches(), config.precision_recall), seconds


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _figures(
    found: _Features, truth: Moments, manifold: Manifold | None, name: str, names_classes: bool, k: int
) -> dict[str, Any]:
    """Each figure under a key that says which extractor it came from."""
    figures: dict[str, Any] = {
        f"frechet_{name}": frechet(found.moments, truth),
        f"inception_score_{name}": inception_score(found.probs),
        f"class_entropy_{name}": class_entropy(found.probs),
    }
    if names_classes:
        figures[f"accuracy_{name}"] = (found.probs.argmax(1) == found.y).double().mean().item()
    if manifold is not None and found.features is not None:
        precision, recall = precision_recall(manifold, found.features, k=k)
        figures |= {f"precision_{name}": precision, f"recall_{name}": recall}
    return figures


def evaluate(config: EvalConfig, *, command: str | None = None) -> dict[str, Any]:
    """Draw ``config.n`` images at each w, compare them with the reference, and say how to repeat it.

    Figures are named after the extractor: ``frechet_cifar10_classifier``, ``inception_score_…``, ``precision_…``,
    ``recall_…``, ``class_entropy_…`` and ``accuracy_…`` (the share that the extractor's classifier gives the class
    that was asked for). Samples are rounded to bytes before they are measured, as a saved image would be.

    Args:
        config: what to do.
        command: the command line that asked for it, for the record.

    Returns:
        What was written to ``config.out``: ``results`` (a list, one entry a w), ``noise_floor``, and beside them n,
        reference, extractor, sampler, seed, commit, device, minutes.

    Raises:
        ValueError, FileNotFoundError: for weights, data or options that do not fit; before any sample is drawn.
        OSError: when ``config.out`` cannot be written; tried before any sample is drawn.
    """
    begin = time.perf_counter()
    group = _Group(config.device)
    try:
        return _evaluate(config, command, group, begin)
    finally:
        group.close()


def _evaluate(config: EvalConfig, command: str | None, group: _Group, begin: float) -> dict[str, Any]:
    settings = Settings.load(config.model, config.sampling, group.device)
    model = settings.model
    dataset = str(model.meta.get("dataset", ""))
    name = config.extractor
    if name == "auto":
        if dataset not in ("cifar10", "digits"):
            raise ValueError(f"extractor: there is none of its own for {dataset!r}, takes a name or a path")
        name = f"{dataset}-evaluator"
    extractor = load_extractor(name, group.device)
    if extractor.shape is not None and extractor.shape != model.shape:
        raise ValueError(f"extractor: {name} is for images {extractor.shape}, takes one for {model.shape}")
    names_classes = extractor.classes == model.classes  # where not, "accuracy" would mean nothing
    if math.ceil(config.n / config.batch) < group.world:
        raise ValueError(
            f"batch: got {config.batch} for n = {config.n}, takes one that gives {group.world} batches"
        )
    record: dict[str, Any] = {
        "model": config.model,
        "model_sha256": model.sha256,
        "dataset": dataset,
        "n": config.n,
        "reference": config.reference,
        "extractor": extractor.name,
        "extractor_sha256": extractor.sha256,
        "sampling": dataclasses.asdict(config.sampling)
        | {"lo": settings.grid[0].item(), "hi": settings.grid[-1].item()},
        "k": config.k if config.precision_recall else None,
        "seed": config.seed,
        "batch": config.batch,
        "gpus": group.gpus,
        **provenance(group.device, command or f"cfgtoy.evaluation.evaluate({config})"),
        "minutes": 0.0,
        "results": [],
    }
    for path in (config.out, config.picture, config.save_reference):
        if path is not None and group.first:
            try_writing(path)

    truth, manifold, n, split = _reference(config, group, extractor, dataset, model.shape)
    record["reference_n"] = n
    if config.noise_floor:
        other = "test" if split == "train" else "train"
        data = load_images(dataset, other, root=config.root, size=model.shape[1], channels=model.shape[0])
        found = _real(group, extractor, data, config.batch, config.precision_recall)
        record["noise_floor"] = {"images": other, "n": len(data)} | _figures(
            found, truth, manifold, extractor.name, names_classes, config.k
        )
    if config.sampling.compile:  # so that the first w is not charged with it
        start = _now(group.device)
        size = min(config.batch, config.n)
        plain, guided = [w for w in config.w if w == 0], [w for w in config.w if w != 0]
        for w in plain[:1] + guided[:1]:  # the two shapes that the network is called with
            next(sample_images(settings, w, torch.arange(size) % len(model.classes), batch=size))
        record["seconds_compiling"] = _now(group.device) - start

    blocks = []
    for w in config.w:
        pictures: list[list[Tensor]] = [[] for _ in model.classes]
        start = _now(group.device)
        found, drawing = _generated(group, extractor, settings, w, config, pictures)
        figures = _figures(found, truth, manifold, extractor.name, names_classes, config.k)
        seconds = _now(group.device) - start
        record["results"].append(
            {"w": w, **figures, "seconds_sampling": drawing, "seconds_measuring": seconds - drawing}
        )
        record["minutes"] = (time.perf_counter() - begin) / 60
        if group.first:
            if config.out is not None:
                text = json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n"
                artifacts.write_atomically(config.out, text.encode())
            blocks.append(_rows(pictures))
    if config.picture is not None and group.first:
        sweep_sheet(blocks, [f"w = {w:g}" for w in config.w], model.classes, scale=2).save(config.picture)
    return record


def _rows(pictures: list[list[Tensor]]) -> Tensor:
    """A row of images for each class, one after another; white where there are too few."""
    columns = max(len(row) for row in pictures)
    white = torch.full_like(next(row[0] for row in pictures if row), 255)
    return torch.stack([image for row in pictures for image in row + [white] * (columns - len(row))])


def _reference(
    config: EvalConfig, group: _Group, extractor: Extractor, dataset: str, shape: tuple[int, int, int]
) -> tuple[Moments, Manifold | None, int, str]:
    """Moments, manifold, number of images and split of the reference."""
    if config.reference not in ("train", "test"):
        loaded = artifacts.load(config.reference, group.device)
        meta = loaded.meta
        if meta.get("role") != "reference" or meta.get("extractor_sha256") != extractor.sha256:
            raise ValueError(
                f"reference: {loaded.path} holds {meta.get('role', 'something else')!r} made with the extractor "
                f"{meta.get('extractor')}, takes a reference made with this {extractor.name}"
            )
        moments = Moments(len(loaded.tensors["mean"]), group.device)
        moments.n, moments.mean, moments.scatter = (
            meta["n"],
            loaded.tensors["mean"],
            loaded.tensors["scatter"],
        )
        return moments, None, meta["n"], meta["split"]
    data = load_images(dataset, config.reference, root=config.root, size=shape[1], channels=shape[0])
    found = _real(group, extractor, data, config.batch, config.precision_recall)
    if config.save_reference is not None and group.first:
        meta = {
            "role": "reference", "dataset": dataset, "split": config.reference, "n": len(data),
            "extractor": extractor.name, "extractor_sha256": extractor.sha256,
        }  # fmt: skip
        tensors = {"mean": found.moments.mean, "scatter": found.moments.scatter}
        artifacts.save(config.save_reference, tensors, meta)
    manifold = Manifold(found.features, config.k) if found.features is not None else None
    return found.moments, manifold, len(data), config.reference
