"""The command line: ``cfgtoy train``, ``sample``, ``evaluate``, ``compare``, ``weights``.

Options are the fields of dataclasses, read by tyro; those of a guidance rule come from its own signature.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from torch import Tensor

from . import _checks, _files, datasets, images
from ._extras import needs
from ._ranks import pick_device
from .classifiers import ExactClassifier
from .datasets.images import to_uint8
from .guidance import RULES, Ratios, Rule
from .guidance import rule as make_rule
from .images import EvalConfig, Sampling, Settings, sheets
from .mixture import GaussianMixture
from .prediction import NULL

with suppress(ImportError):  # _parse() says what is missing, and nothing else needs it
    import tyro

    Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    Rules = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RULES")]
if TYPE_CHECKING:
    RuleName = str
else:
    RuleName = Literal[tuple(RULES)]

MIXTURES = {make.__name__.replace("_", "-"): make for make in datasets.GALLERY.values()}

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

    #: The guidance rule. Its own options follow it: --rule apg --eta 0.2; --rule apg --help lists them.
    rule: RuleName = "classifier-free"

    def __post_init__(self) -> None:
        pass


@dataclass(frozen=True)
class Sample:
    """Draw samples from an image model into a PNG, or from an exact mixture into a table.

    The same seed gives the same noise for every w, so that a sweep shows what w does and nothing else.
    """

    #: Shipped weights by name, a .safetensors file, or three-gaussians, ring, overlapping, tree.
    model: Model
    #: Guidance weights, one block of pictures each; 0 is the conditional model, -1 the unconditional one.
    w: tuple[float, ...] = (1.0,)
    #: Classes by name or number, one row each, or none for no class; by default all.
    classes: tuple[str, ...] = ()
    per_class: int | None = None  #: Samples of each class and w; by default 8 images, or 1000 points.
    sampling: Sampling = field(default_factory=How)  #: How samples are drawn.
    seed: int = 0  #: Of all noise.
    batch: int = 100  #: Images at a time.
    device: str = "auto"  #: cpu, cuda, or auto.
    scale: int | None = None  #: Screen pixels a pixel; by default so that an image is about 64 wide.
    out: Path | None = None  #: The PNG; by default samples.png for images, and no picture for points.


@dataclass(frozen=True)
class Evaluate(EvalConfig):
    """Draw n images at each w, compare them with a reference, and write the figures as JSON.

    Figures carry the name of what measured them (frechet_cifar10_classifier is no FID). Without --out the JSON goes
    to standard output.
    """

    model: Model = "cifar10"  #: Name of shipped weights, or the path of a .safetensors file.
    sampling: How = field(default_factory=How)  #: How samples are drawn.


@dataclass(frozen=True)
class Compare:
    """Measure what rules do to samples whose true distribution is known, each at several weights.

    A rule is the name of one here, or my_module:my_rule, a function f(denoiser, *, w) in a file of yours. --out can be
    resumed: what it holds is not measured again.
    """

    rules: Rules  #: Rules by name, with options as in "apg(eta=0.2)", or module:function.
    #: Problems; cfgtoy compare apg --on help lists them.
    on: tuple[str, ...] = ("three-gaussians", "ring", "overlapping", "tree")
    w: tuple[float, ...] = (0.0, 1.0, 3.0)  #: Guidance weights; 0 is the conditional model.
    samplers: tuple[str, ...] = ("dpm++2m",)  #: Samplers by name.
    seeds: tuple[int, ...] = (0, 1, 2)  #: Of the noise; their spread is shown.
    #: Samples a measurement; by default 2000 points, 200 digits, 10000 images of CIFAR-10.
    n: int | None = None
    steps: int | None = None  #: Levels of the sampler; by default 32, of digits 16.
    out: Path | None = None  #: The records as JSON.
    plot: Path | None = None  #: A picture: precision against recall, a line a rule.


@dataclass(frozen=True)
class Weights:
    """List the shipped weights and results, and check each file against its SHA-256."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (by default the process's own): 0; 2 after a line on what is wrong; 130 when interrupted."""
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in ("-h", "--help"):
        print(USAGE, end="")
    elif command == "--version":
        from . import __version__

        print(f"cfgtoy {__version__}, torch {torch.__version__}")
    elif command not in _COMMANDS:
        print(f"cfgtoy: no command {command!r}\n\n{USAGE}", end="", file=sys.stderr)
        return 2
    else:
        try:
            _COMMANDS[command](rest)
        except (ValueError, ImportError, OSError) as error:
            print(f"cfgtoy {command}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130
    return 0


def _parse(kind: type[Any], args: Sequence[str], prog: str, default: Any = None) -> Any:
    with needs("cli"):
        import tyro
    draws = issubclass(kind, Sample | Evaluate)
    kind = _with_options(kind, args) if draws else kind
    given: dict[str, Any] = {"args": list(args), "prog": prog, "config": (tyro.conf.OmitArgPrefixes,)}
    request: Any = tyro.cli(kind, **given if default is None else given | {"default": default})
    if not draws:
        return request
    how = request.sampling
    if how.guidance is not None and how.rule != How.rule:
        raise ValueError(f"guidance: got {how.guidance!r} beside --rule {how.rule}, takes one of the two")
    options = {name: value for name, value in vars(request.rule).items() if value is not None}
    sampling = Sampling(**vars(how) | {"rule": make_rule(how.rule, **options)})
    return dataclasses.replace(request, sampling=sampling)


def _with_options(kind: type[Any], args: Sequence[str]) -> type[Any]:
    """``kind`` with a field ``rule``: the options of the rule that ``args`` name, from the rule's own signature."""
    words = " ".join(args).replace("=", " ").split()
    name = dict(pairwise(words)).get("--rule", How.rule)
    name = name if name in RULES else How.rule  # tyro will say what is wrong with another
    about = _about(RULES[name])
    taken = {f.name for one in (Sample, Evaluate, Sampling) for f in dataclasses.fields(one)}
    options = [(p.name, p.annotation, p.default) for p in Rule.parameters(name)]
    if "bad" in Rule.parts(name):
        options.append(("bad", str | None, None))
    fields: list[tuple[str, Any, Any]] = []
    for option, type_, default in options:
        flag = (f"{name}-{option}" if option in taken else option).replace("_", "-")
        shown = tyro.conf.arg(name=flag, help=about.get(option, ""))
        type_ = RuleName if option == "of" else type_  # a rule is named on a command line
        default = NULL if option == "y_negative" else default
        default = field() if default is inspect.Parameter.empty else default
        fields.append((option, Annotated[type_, shown], default))
    rule = dataclasses.make_dataclass("Options", fields, kw_only=True, namespace={"__doc__": f"Of {name}."})
    same = {"__doc__": kind.__doc__, "__module__": kind.__module__}  # where tyro finds what the comments say
    more = [("rule", rule, field(kw_only=True))]
    return dataclasses.make_dataclass(kind.__name__, more, bases=(kind,), frozen=True, namespace=same)


def _about(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says of each argument."""
    lines = re.search(r"^Args:\n((?: .*\n|\n(?= ))*)", inspect.getdoc(function) or "", re.M)
    entries = re.findall(r"^    ([\w, ]+): (.*(?:\n      .*)*)", lines[1] if lines else "", re.M)
    said = {names: " ".join(text.split()).replace("``", "") for names, text in entries}
    return {name: text for names, text in said.items() for name in names.split(", ")}


def _sample(args: Sequence[str]) -> None:
    request: Sample = _parse(Sample, args, "cfgtoy sample")
    if not request.w:
        raise ValueError("w: got no weights, takes at least one")
    device = pick_device(request.device)
    if request.model not in MIXTURES:
        _sample_images(request, Settings.load(request.model, request.sampling, device))
        return
    mixture = MIXTURES[request.model]()
    # a worse model of it: each component twice as wide
    wide = GaussianMixture(mixture.means, 2 * mixture.covs, mixture.weights, mixture.labels)
    ratios = Ratios(mixture, *mixture.sample_labeled(3000, torch.Generator().manual_seed(0)))
    parts: dict[str, Any] = {"classifier": ExactClassifier(mixture), "bad": wide, "ratios": ratios}
    _sample_points(request, Settings.load(mixture, request.sampling, "cpu", **parts), mixture)


def _chosen(names: Sequence[str], known: Sequence[str]) -> dict[str, int]:
    """Class names and numbers as given -> class numbers, in the order given."""
    numbers = {name: i for i, name in enumerate(known)}
    takes = {str(i): name for name, i in numbers.items()} | {name: name for name in (*known, "none")}
    for name in names:
        if name not in takes:
            raise ValueError(f"classes: got {name!r}, takes {', '.join(known)}, 0..{len(known) - 1}, or none")
    return {takes[name]: numbers.get(takes[name], -1) for name in names or known}


def _drawn(
    request: Sample, settings: Settings, k: int, out: Path | None, batch: int | None = None
) -> tuple[dict[str, int], Tensor, list[Tensor]]:
    """The classes asked for, those of the samples, ``k`` each by default, and the samples at each w, on the CPU."""
    chosen = _chosen(request.classes, settings.classes or ())
    k = _checks.positive_int("per_class", k if request.per_class is None else request.per_class)
    if out is not None:
        _files.try_writing(out)
    y = torch.tensor(list(chosen.values())).repeat_interleave(k)
    how: dict[str, Any] = {"seed": request.seed, "batch": batch or len(y), "progress": True}
    return chosen, y, [images.sample(settings, y, w=w, **how).cpu() for w in request.w]


def _sample_images(request: Sample, settings: Settings) -> None:
    sheets.pillow()
    how, out = request.sampling, request.out or Path("samples.png")
    scale = max(1, 64 // settings.shape[2]) if request.scale is None else request.scale
    _checks.positive_int("scale", scale)
    chosen, y, runs = _drawn(request, settings, 8, out, _checks.positive_int("batch", request.batch))
    titles = [f"w = {w:g}" for w in request.w]
    images.sweep_sheet([to_uint8(x) for x in runs], titles, list(chosen), scale=scale).save(out)
    print(f"{out}: {len(request.w) * len(y)} images, {how.steps} levels, {how.sampler}, seed {request.seed}")


def _sample_points(request: Sample, settings: Settings, mixture: GaussianMixture) -> None:
    from . import metrics

    how = request.sampling
    chosen, y, runs = _drawn(request, settings, 1000, request.out)
    k = len(y) // len(chosen)
    print(f"{request.model}, {k} samples a class, {how.sampler}, {how.steps} levels\n")
    print("     w  class   mean             std            own class  Frechet distance to p(x|c)")
    for w, x in zip(request.w, runs, strict=True):
        posterior = mixture.class_log_prob(x, settings.grid[-1].cpu()).exp()  # (n, C)
        for (name, c), part, p in zip(chosen.items(), x.split(k), posterior.split(k), strict=True):
            mean, std = part.mean(0).tolist(), part.std(0, correction=0).tolist()
            own = f"{p.mean(0)[c]:9.3f}" if c >= 0 else "        -"
            truth = mixture.mean_cov(c if c >= 0 else None)
            distance = metrics.frechet_from_moments(*metrics.moments(part), *truth) if k > 1 else float("nan")
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
    for ax in axes.flat[len(runs) :]:
        ax.set_axis_off()
    fig.savefig(out, facecolor="white")


def _evaluate(args: Sequence[str]) -> None:
    config: Evaluate = _parse(Evaluate, args, "cfgtoy evaluate")
    record = images.evaluate(config, command=shlex.join(["cfgtoy", "evaluate", *args]))
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
    how = {name: value for name, value in vars(request).items() if name not in ("rules", "on", "w", "plot")}
    how |= {"progress": sys.stderr.isatty(), "command": shlex.join(["cfgtoy", "compare", *args])}
    sys.path.insert(0, str(Path.cwd()))  # a user's rule lies where the command is given
    try:
        records = compare.run(request.rules, request.on, request.w, **how)
    finally:
        sys.path.remove(str(Path.cwd()))
    print(compare.table(records))
    if request.plot is not None:
        import matplotlib

        matplotlib.use("Agg")
        compare.plot(records).savefig(request.plot, facecolor="white")


def _weights(args: Sequence[str]) -> None:
    _parse(Weights, args, "cfgtoy weights")
    folder, states = _files.data_folder(), {}
    for name, entry in _files.manifest(folder).items():
        path = folder / entry["file"]
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        states[name] = "missing" if digest is None else "ok" if digest == entry["sha256"] else "ALTERED"
        print(f"{name:28} {entry['bytes'] / 1e6:7.2f} MB  {states[name]:8} {path}")
    if damaged := [name for name, state in states.items() if state != "ok"]:
        raise ValueError(f"damaged: {', '.join(damaged)}")


def _train(args: Sequence[str]) -> None:
    from .training import trainer
    from .training.config import PRESETS as recipes

    if not args or args[0] in ("-h", "--help"):
        print("usage: cfgtoy train RECIPE [options]    (cfgtoy train RECIPE --help lists them)\n")
        print("recipes:\n  " + "\n  ".join(recipes))
        return
    name, rest = args[0], list(args[1:])
    if name == "folder" and rest and not rest[0].startswith("-"):
        rest.insert(0, "--dataset")  # cfgtoy train folder PATH
    default = recipes[_checks.one_of("recipe", name, recipes)]
    config = _parse(type(default), rest, f"cfgtoy train {name}", default)
    try:
        print(trainer.train(config))
    except trainer.Diverged as error:
        raise SystemExit(f"cfgtoy train: {error}") from error


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    run.__name__.removeprefix("_"): run for run in (_train, _sample, _evaluate, _compare, _weights)
}
