"""The command line: ``cfgtoy train``, ``cfgtoy sample``, ``cfgtoy evaluate``, ``cfgtoy weights``.

Options are the fields of dataclasses, read by tyro; each command imports what it needs and no more. What a user got
wrong ends with one line that says so, and the exit code 2.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor

from . import datasets
from .evaluation import EvalConfig, Sampling

if TYPE_CHECKING:
    from .mixture import GaussianMixture

try:
    import tyro

    Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
except ImportError:  # the rest of the package does without; _parse() says what is missing
    Model = str  # type: ignore[misc]

__all__ = ["main"]

MIXTURES: dict[str, Callable[[], GaussianMixture]] = {
    "three-gaussians": datasets.three_gaussians,
    "ring": datasets.ring,
    "overlapping": datasets.overlapping,
    "tree": datasets.tree,
}

USAGE = f"""\
usage: cfgtoy COMMAND [options]          (cfgtoy COMMAND --help says more)

commands:
  train RECIPE      train a network:           cfgtoy train digits
  sample MODEL      draw samples into a PNG:   cfgtoy sample digits --w 0 1 4
  evaluate MODEL    measure samples in JSON:   cfgtoy evaluate digits --n 1000 --w 0 1 4
  weights           list the shipped weights and check them

MODEL is the name of shipped weights (cfgtoy weights), the path of a .safetensors file, or, for sample, an exact
mixture: {", ".join(MIXTURES)}.

On several GPUs: torchrun --nproc-per-node=N -m cfgtoy train ... (or evaluate ...)
"""


@dataclass(frozen=True)
class Sample:
    """Draw samples from an image model into a PNG, or from an exact mixture into a table.

    The same seed gives the same noise for every w, so that a sweep shows what w does and nothing else.
    """

    model: Model
    """Shipped weights by name, a .safetensors file, or three-gaussians, ring, overlapping, tree."""
    w: tuple[float, ...] = (1.0,)
    """Guidance weights, one block of pictures each; 0 is the conditional model, -1 the unconditional one."""
    classes: tuple[str, ...] = ()
    """Classes by name or number, one row each, or none for no class; by default all."""
    per_class: int | None = None
    """Samples of each class and w; by default 8 images, or 1000 points."""
    sampling: Sampling = field(default_factory=Sampling)
    """How samples are drawn."""
    seed: int = 0
    """Of all noise."""
    batch: int = 100
    """Images at a time."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    scale: int | None = None
    """Screen pixels a pixel; by default so that an image is about 64 wide."""
    out: Path | None = None
    """The PNG; by default samples.png for images, and no picture for points."""


@dataclass(frozen=True)
class Evaluate(EvalConfig):
    """Draw n images at each w, compare them with a reference, and write the figures as JSON.

    Figures carry the name of what measured them (frechet_cifar10_classifier is no FID). Without --out the JSON goes
    to standard output.
    """

    model: Model = "cifar10"
    """Name of shipped weights, or the path of a .safetensors file."""


@dataclass(frozen=True)
class Weights:
    """List the shipped weights and results, and check each file against its SHA-256."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (by default the process's own) and return its exit code.

    Returns:
        0; 2 when the command line, a file or the data is not what it should be; 130 when interrupted.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if args[0] == "--version":
        from . import __version__

        print(f"cfgtoy {__version__}, torch {torch.__version__}")
        return 0
    command, rest = args[0], args[1:]
    if command not in _COMMANDS:
        print(f"cfgtoy: no command {command!r}\n\n{USAGE}", end="", file=sys.stderr)
        return 2
    try:
        _COMMANDS[command](rest)
    except (ValueError, ImportError, OSError) as error:
        print(f"cfgtoy {command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parse(kind: type[Any], args: Sequence[str], prog: str, default: Any = None) -> Any:
    if Model is str:
        raise ImportError("tyro is not installed: pip install 'cfgtoy[cli]', or pip install tyro alone")
    given = {} if default is None else {"default": default}
    return tyro.cli(
        kind,
        args=list(args),
        prog=prog,
        config=(tyro.conf.OmitArgPrefixes,),
        **given,
    )


# -- sample ----------------------------------------------------------------------------------------------------


def _sample(args: Sequence[str]) -> None:
    request: Sample = _parse(Sample, args, "cfgtoy sample")
    if not request.w:
        raise ValueError("w: got no weights, takes at least one")
    if request.model in MIXTURES:
        _sample_points(request)
    else:
        _sample_images(request)


def _chosen(names: Sequence[str], known: Sequence[str]) -> dict[str, int]:
    """Class names and numbers as given -> class numbers, in the order given."""
    chosen = {}
    for name in names or known:
        if name == "none":
            chosen[name] = -1
        elif name in known:
            chosen[name] = list(known).index(name)
        elif name.isdecimal() and int(name) < len(known):
            chosen[known[int(name)]] = int(name)
        else:
            raise ValueError(f"classes: got {name!r}, takes {', '.join(known)}, 0..{len(known) - 1}, or none")
    return chosen


def _sample_images(request: Sample) -> None:
    from . import evaluation

    how = request.sampling
    device = evaluation.pick_device(request.device)
    settings = evaluation.Settings.load(request.model, how, device)
    chosen = _chosen(request.classes, settings.model.classes)
    k = _positive("per_class", 8 if request.per_class is None else request.per_class)
    out = request.out or Path("samples.png")
    evaluation.try_writing(out)
    y = torch.tensor(list(chosen.values())).repeat_interleave(k)
    blocks = []
    for w in request.w:
        drawn = evaluation.sample_images(
            settings, w, y, seed=request.seed, batch=request.batch, progress=True
        )
        blocks.append(torch.cat([images.cpu() for images, _ in drawn]))
    scale = request.scale if request.scale is not None else max(1, 64 // settings.model.shape[2])
    titles = [f"w = {w:g}" for w in request.w]
    picture = evaluation.sweep_sheet(blocks, titles, list(chosen), scale=_positive("scale", scale))
    picture.save(out)
    print(f"{out}: {len(request.w) * len(y)} images, {how.steps} levels, {how.sampler}, seed {request.seed}")


def _sample_points(request: Sample) -> None:
    from . import classifiers, evaluation, metrics, samplers, schedules

    mixture = MIXTURES[request.model]()
    chosen = _chosen(request.classes, [str(c) for c in range(mixture.num_classes)])
    k = _positive("per_class", 1000 if request.per_class is None else request.per_class)
    if request.out is not None:
        evaluation.try_writing(request.out)
    grid = evaluation.level_grid(request.sampling, schedules.Cosine())
    y = torch.tensor(list(chosen.values())).repeat_interleave(k)
    exact = classifiers.ExactClassifier(mixture)
    runs = []
    print(
        f"{request.model}, {k} samples a class, {request.sampling.sampler}, {request.sampling.steps} levels\n"
    )
    print("     w  class   mean             std            own class  Frechet distance to p(x|c)")
    for w in request.w:
        denoiser = evaluation.guide(mixture, w, request.sampling, exact)
        generator = torch.Generator().manual_seed(_positive("seed", request.seed, least=0))
        x = samplers.sample(
            denoiser,
            y,
            shape=(len(y), mixture.dim),
            grid=grid,
            method=request.sampling.sampler,
            v=request.sampling.v,
            generator=generator,
        )
        runs.append(x)
        posterior = mixture.class_log_prob(x, grid[-1]).exp()  # (n, C)
        for i, (name, c) in enumerate(chosen.items()):
            part = slice(i * k, (i + 1) * k)
            mean, std = x[part].mean(0).tolist(), x[part].std(0, correction=0).tolist()
            moments = mixture.mean_cov(c if c >= 0 else None)
            own = f"{posterior[part].mean(0)[c]:9.3f}" if c >= 0 else "        -"
            distance = (
                metrics.frechet_from_moments(*metrics.moments(x[part]), *moments) if k > 1 else float("nan")
            )
            where = f"({mean[0]:6.3f}, {mean[1]:6.3f}) ({std[0]:6.3f}, {std[1]:6.3f})"
            print(f"{w:6g}  {name:5}  {where}  {own}  {distance:9.4f}")
    if request.out is not None:
        _plot(runs, request.w, y, request.out)
        print(f"\n{request.out}: one panel a w")


def _plot(runs: Sequence[Tensor], weights: Sequence[float], y: Tensor, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from . import plotting

    fig, axes = plotting.subplots(min(len(runs), 3), -(-len(runs) // 3), squeeze=False)
    extent = max(x.abs().max().item() for x in runs) * 1.05
    for ax, x, w in zip(axes.flat, runs, weights, strict=False):
        plotting.scatter(ax, x, y)
        plotting.label(ax, title=f"w = {w:g}")
        ax.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    for ax in list(axes.flat)[len(runs) :]:
        ax.set_axis_off()
    fig.savefig(out, facecolor="white")


def _positive(name: str, value: int, *, least: int = 1) -> int:
    from . import _checks

    return _checks.positive_int(name, value, least=least)


# -- evaluate, weights, train ----------------------------------------------------------------------------------


def _evaluate(args: Sequence[str]) -> None:
    import json
    import os

    from . import evaluation

    request: Evaluate = _parse(Evaluate, args, "cfgtoy evaluate")
    config = EvalConfig(**{f.name: getattr(request, f.name) for f in dataclasses.fields(EvalConfig)})
    record = evaluation.evaluate(config, command=_spelled("evaluate", args))
    if int(os.environ.get("RANK", 0)) > 0:
        return
    if config.out is None:
        print(json.dumps(record, indent=2, ensure_ascii=False, default=str))
        return
    for entry in record["results"]:
        figures = {key: value for key, value in entry.items() if key != "w" and not key.startswith("seconds")}
        print(f"w = {entry['w']:g}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    print(f"{config.out}: n = {config.n}, {record['minutes']:.1f} min on {record['device']}")


def _spelled(command: str, args: Sequence[str]) -> str:
    return shlex.join(["cfgtoy", command, *args])


def _weights(args: Sequence[str]) -> None:
    import hashlib

    from . import artifacts

    _parse(Weights, args, "cfgtoy weights")
    folder = artifacts.data_folder()
    damaged = []
    for name, entry in artifacts.manifest(folder).items():
        path = folder / entry["file"]
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        state = "missing" if digest is None else "ok" if digest == entry["sha256"] else "ALTERED"
        if state != "ok":
            damaged.append(name)
        print(f"{name:28} {entry['bytes'] / 1e6:7.2f} MB  {state:8} {path}")
    if damaged:
        raise ValueError(f"damaged: {', '.join(damaged)}")


def _train(args: Sequence[str]) -> None:
    from .training import config as configs

    recipes = configs.PRESETS
    if not args or args[0] in ("-h", "--help"):
        print("usage: cfgtoy train RECIPE [options]    (cfgtoy train RECIPE --help lists them)\n")
        print("recipes:\n  " + "\n  ".join(recipes))
        return
    name, rest = args[0], list(args[1:])
    if name == "folder" and rest and not rest[0].startswith("-"):
        rest.insert(0, "--dataset")  # cfgtoy train folder PATH
    if name not in recipes:
        raise ValueError(f"recipe: got {name!r}, takes one of {', '.join(recipes)}")
    default = configs.preset(name)
    config = _parse(type(default), rest, f"cfgtoy train {name}", default)
    from .training import trainer

    try:
        print(trainer.train(config))
    except trainer.Diverged as error:
        raise SystemExit(f"cfgtoy train: {error}") from error


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": _train,
    "sample": _sample,
    "evaluate": _evaluate,
    "weights": _weights,
}
