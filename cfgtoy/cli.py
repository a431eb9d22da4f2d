"""The command line: ``cfgtoy train``, ``sample``, ``evaluate``, ``compare``, ``weights``.

Options are the fields of dataclasses, read by tyro; those of a guidance rule come from its own signature. What a user
got wrong ends with one line that says so, and the exit code 2.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from torch import Tensor

from . import _checks, _files, datasets, images
from ._ranks import pick_device
from .classifiers import ExactClassifier
from .datasets.images import to_uint8
from .guidance import RULES, Ratios, Rule
from .guidance import rule as make_rule
from .images import EvalConfig, Sampling, Settings, sheets
from .mixture import GaussianMixture
from .prediction import NULL

try:
    import tyro

    Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    Rules = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RULES")]
except ImportError:  # the rest of the package does without; _parse() says what is missing
    Model = str  # type: ignore[misc]
    Rules = tuple[str, ...]  # type: ignore[misc]

if TYPE_CHECKING:
    RuleName = str

else:
    RuleName = Literal[tuple(RULES)]


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
  evaluate MODEL    measure samples in JSON:   cfgtoy evaluate digits --n 1000 --w 0 1 4 --rule apg --eta 0.2
  compare RULES     rules where truth is known: cfgtoy compare apg classifier-free --on tree ring-64d --w 0 1 3
  weights           list the shipped weights and check them

MODEL is the name of shipped weights (cfgtoy weights), the path of a .safetensors file, or, for sample, an exact
mixture: {", ".join(MIXTURES)}.

On several GPUs: torchrun --nproc-per-node=N -m cfgtoy train ... (or evaluate ...)
"""


@dataclass(frozen=True)
class How(Sampling):
    """Sampling as a command line says it: the rule by its name, checked once its options are read too."""

    rule: RuleName = "classifier-free"
    """The guidance rule. Its own options follow it: --rule apg --eta 0.2; --rule apg --help lists them."""

    def __post_init__(self) -> None:
        pass


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
    sampling: Sampling = field(default_factory=How)
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
    sampling: How = field(default_factory=How)
    """How samples are drawn."""


@dataclass(frozen=True)
class Compare:
    """Measure what rules do to samples whose true distribution is known, each at several weights.

    A rule is the name of one here, or my_module:my_rule, a function f(denoiser, *, w) in a file of yours. --out can be
    resumed: what it holds is not measured again.
    """

    rules: Rules
    """Rules by name, with options as in "apg(eta=0.2)", or module:function."""
    on: tuple[str, ...] = ("three-gaussians", "ring", "overlapping", "tree")
    """Problems; cfgtoy compare apg --on help lists them."""
    w: tuple[float, ...] = (0.0, 1.0, 3.0)
    """Guidance weights; 0 is the conditional model."""
    samplers: tuple[str, ...] = ("dpm++2m",)
    """Samplers by name."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the noise; their spread is shown."""
    n: int | None = None
    """Samples a measurement; by default 2000 points, 200 digits, 10000 images of CIFAR-10."""
    steps: int | None = None
    """Levels of the sampler; by default 32, of digits 16."""
    out: Path | None = None
    """The records as JSON."""
    plot: Path | None = None
    """A picture: precision against recall, a line a rule."""


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
    draws = issubclass(kind, Sample | Evaluate)
    given = {} if default is None else {"default": default}
    request: Any = tyro.cli(
        _with_options(kind, args) if draws else kind,
        args=list(args),
        prog=prog,
        config=(tyro.conf.OmitArgPrefixes,),
        **given,
    )
    if not draws:
        return request
    how = request.sampling
    if how.guidance is not None and how.rule != How.rule:
        raise ValueError(f"guidance: got {how.guidance!r} beside --rule {how.rule}, takes one of the two")
    options = {f.name: getattr(request.rule, f.name) for f in dataclasses.fields(request.rule)}
    chosen = make_rule(how.rule, **{name: value for name, value in options.items() if value is not None})
    return dataclasses.replace(request, sampling=Sampling(**vars(how) | {"rule": chosen}))


def _with_options(kind: type[Any], args: Sequence[str]) -> type[Any]:
    """``kind`` with a field ``rule``: the options of the rule that ``args`` name, from the rule's own signature."""
    words = " ".join(args).replace("=", " ").split()
    name = dict(pairwise(words)).get("--rule", How.rule)
    parameters = Rule.parameters(name) if name in RULES else []
    taken = {f.name for one in (Sample, Evaluate, Sampling) for f in dataclasses.fields(one)}
    about = _about(RULES[name]) if name in RULES else {}
    fields: list[tuple[str, Any, Any]] = []
    for p in parameters:
        # What is no number, switch or word on a command line is named by one: a rule by its name.
        type_: Any = RuleName if p.name == "of" else p.annotation
        flag = f"{name}-{p.name}" if p.name in taken else p.name
        type_ = Annotated[type_, tyro.conf.arg(name=flag.replace("_", "-"), help=about.get(p.name, ""))]
        default = {"y_negative": NULL}.get(p.name, p.default)
        fields.append((p.name, type_, field() if default is p.empty else field(default=default)))
    if name in RULES and "bad" in Rule.parts(name):
        fields.append(
            ("bad", Annotated[str | None, tyro.conf.arg(help=about.get("bad", ""))], field(default=None))
        )
    options = dataclasses.make_dataclass(
        "Options", fields, kw_only=True, namespace={"__doc__": f"Of {name}."}
    )
    more = [("rule", options, field(kw_only=True))]
    return dataclasses.make_dataclass(
        kind.__name__, more, bases=(kind,), frozen=True, namespace={"__doc__": kind.__doc__}
    )


def _about(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says of each argument."""
    lines = re.search(r"^Args:\n((?: .*\n|\n(?= ))*)", inspect.getdoc(function) or "", re.M)
    entries = re.findall(r"^    ([\w, ]+): (.*(?:\n      .*)*)", lines[1] if lines else "", re.M)
    return {
        name: " ".join(text.split()).replace("``", "")
        for names, text in entries
        for name in names.split(", ")
    }


# -- sample ----------------------------------------------------------------------------------------------------


def _sample(args: Sequence[str]) -> None:
    request: Sample = _parse(Sample, args, "cfgtoy sample")
    if not request.w:
        raise ValueError("w: got no weights, takes at least one")
    device = pick_device(request.device)
    mixture = MIXTURES[request.model]() if request.model in MIXTURES else None
    if mixture is None:
        _sample_images(request, Settings.load(request.model, request.sampling, device))
        return
    # A worse model of a mixture: each component twice as wide.
    wide = GaussianMixture(mixture.means, 2 * mixture.covs, mixture.weights, mixture.labels)
    exact = ExactClassifier(mixture)
    ratios = Ratios(mixture, *mixture.sample_labeled(3000, torch.Generator().manual_seed(0)))
    parts: dict[str, Any] = {"classifier": exact, "bad": wide, "ratios": ratios}
    settings = Settings.load(mixture, request.sampling, "cpu", **parts)
    _sample_points(request, settings, mixture)


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


def _drawn(request: Sample, settings: Settings, y: Tensor, batch: int) -> list[Tensor]:
    """The samples at each w, on the CPU."""
    return [
        images.sample(settings, y, w=w, seed=request.seed, batch=batch, progress=True).cpu()
        for w in request.w
    ]


def _sample_images(request: Sample, settings: Settings) -> None:
    how = request.sampling
    chosen = _chosen(request.classes, settings.classes or ())
    k = _checks.positive_int("per_class", 8 if request.per_class is None else request.per_class)
    out = request.out or Path("samples.png")
    _files.try_writing(out)
    sheets.pillow()
    y = torch.tensor(list(chosen.values())).repeat_interleave(k)
    scale = max(1, 64 // settings.shape[2]) if request.scale is None else request.scale
    _checks.positive_int("scale", scale)
    blocks = [to_uint8(x) for x in _drawn(request, settings, y, request.batch)]
    titles = [f"w = {w:g}" for w in request.w]
    images.sweep_sheet(blocks, titles, list(chosen), scale=scale).save(out)
    print(f"{out}: {len(request.w) * len(y)} images, {how.steps} levels, {how.sampler}, seed {request.seed}")


def _sample_points(request: Sample, settings: Settings, mixture: GaussianMixture) -> None:
    from . import metrics

    how = request.sampling
    chosen = _chosen(request.classes, settings.classes or ())
    k = _checks.positive_int("per_class", 1000 if request.per_class is None else request.per_class)
    if request.out is not None:
        _files.try_writing(request.out)
    y = torch.tensor(list(chosen.values())).repeat_interleave(k)
    runs = _drawn(request, settings, y, len(y))
    print(f"{request.model}, {k} samples a class, {how.sampler}, {how.steps} levels\n")
    print("     w  class   mean             std            own class  Frechet distance to p(x|c)")
    for w, x in zip(request.w, runs, strict=True):
        posterior = mixture.class_log_prob(x, settings.grid[-1].cpu()).exp()  # (n, C)
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


# -- evaluate, weights, train ----------------------------------------------------------------------------------


def _evaluate(args: Sequence[str]) -> None:
    import json
    import os

    request: Evaluate = _parse(Evaluate, args, "cfgtoy evaluate")
    config = EvalConfig(**{f.name: getattr(request, f.name) for f in dataclasses.fields(EvalConfig)})
    record = images.evaluate(config, command=_spelled("evaluate", args))
    if int(os.environ.get("RANK", 0)) > 0:
        return
    if config.out is None:
        print(json.dumps(record, indent=2, ensure_ascii=False, default=str))
        return
    for entry in record["results"]:
        figures = {key: value for key, value in entry.items() if key != "w" and not key.startswith("seconds")}
        print(f"w = {entry['w']:g}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    print(f"{config.out}: n = {config.n}, {record['minutes']:.1f} min on {record['device']}")


def _compare(args: Sequence[str]) -> None:
    from . import compare

    request: Compare = _parse(Compare, args, "cfgtoy compare")
    if request.on == ("help",):
        print("\n".join(compare.PROBLEMS))
        return
    # A user's rule lies where the command is given.
    sys.path.insert(0, str(Path.cwd()))
    try:
        records = compare.run(
            request.rules, request.on, request.w, samplers=request.samplers, seeds=request.seeds, n=request.n,
            steps=request.steps, out=request.out, progress=sys.stderr.isatty(), command=_spelled("compare", args),
        )  # fmt: skip
    finally:
        sys.path.remove(str(Path.cwd()))
    print(compare.table(records))
    if request.plot is not None:
        import matplotlib

        matplotlib.use("Agg")
        compare.plot(records).savefig(request.plot, facecolor="white")


def _spelled(command: str, args: Sequence[str]) -> str:
    return shlex.join(["cfgtoy", command, *args])


def _weights(args: Sequence[str]) -> None:
    import hashlib

    _parse(Weights, args, "cfgtoy weights")
    folder = _files.data_folder()
    damaged = []
    for name, entry in _files.manifest(folder).items():
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
    "compare": _compare,
    "weights": _weights,
}
