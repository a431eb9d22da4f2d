"""Drawing from any denoiser with any rule: the one loop behind commands, grids, sheets, sweeps and chapters.

The same seed gives the same noise for every rule, every w and any number of GPUs.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from .. import _checks, artifacts, guidance, samplers, schedules
from ..datasets.images import to_float
from ..datasets.load import load_images
from ..guidance import Rule
from ..guidance import rule as make_rule
from ..mixture import GaussianMixture
from ..prediction import Denoiser
from ..schedules import Schedule

Levels = Literal["model", "cosine", "uniform", "linear-beta", "rectified-flow", "karras"]
Arithmetic = Literal["float32", "bfloat16"]
SPREADS: dict[str, Callable[..., Schedule]] = {
    "cosine": schedules.Cosine, "uniform": schedules.Uniform, "linear-beta": schedules.LinearBeta,
    "rectified-flow": schedules.RectifiedFlow,
}  # fmt: skip
_EARLIER = {
    "cfg": Rule("classifier-free"),
    "classifier": Rule("classifier"),
    "classifier-unconditional": Rule("classifier", {"unconditional": True}),
}


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn. A name or a rule's option that is not known, or a number out of range, is refused."""

    #: The guidance rule: a name of guidance.RULES, a Rule with options, or its record.
    rule: Rule | str | Mapping[str, Any] = "classifier-free"
    sampler: samplers.Method = "dpm++2m"  #: The sampler: a name of samplers.SAMPLERS.
    #: Levels T of the grid. A guided step takes two evaluations of the network, heun twice that.
    steps: int = 20
    v: float = 0.3  #: Variance interpolation of the ancestral sampler, 0 to 1.
    #: How the levels are spread: evenly in log-SNR, as in training (model), by another schedule, or evenly in
    #: (sigma/alpha)^(1/7) (karras).
    levels: Levels = "uniform"
    lo: float | None = None  #: Lowest log-SNR; by default -9, or the model's if that is higher.
    hi: float | None = None  #: Highest log-SNR; by default 12, or the model's if that is lower.
    #: Arithmetic inside the network; bfloat16 by autocast, the samples stay float32.
    dtype: Arithmetic = "float32"
    compile: bool = False  #: Compile the network with torch.compile; pays off on a GPU.
    #: Guide only at log-SNRs between these two, by whatever rule; by default everywhere.
    interval: tuple[float, float] | None = None
    #: Weights of the noisy classifier, by name or path; by default the one shipped for the model's dataset.
    classifier: str | None = None
    #: Earlier spelling of the rule: cfg for classifier-free, classifier, or classifier-unconditional.
    guidance: Literal["cfg", "classifier", "classifier-unconditional"] | None = None

    def __post_init__(self) -> None:
        _checks.positive_int("steps", self.steps)
        _checks.unit_interval("v", self.v)
        _checks.one_of("sampler", self.sampler, samplers.SAMPLERS)
        _checks.one_of("levels", self.levels, get_args(Levels))
        _checks.one_of("dtype", self.dtype, get_args(Arithmetic))
        chosen = make_rule(self.rule)
        if self.guidance is not None:
            chosen = _EARLIER[_checks.one_of("guidance", self.guidance, _EARLIER)]
        if self.classifier is not None:
            chosen = make_rule(chosen, classifier=self.classifier)
        if self.interval is not None:
            lo, hi = self.interval
            if not lo <= hi:
                raise ValueError(f"interval: got {self.interval}, takes two log-SNRs, the lower first")
            chosen = make_rule("interval", lo=lo, hi=hi, of=chosen)
        # The rule says it all now; written twice, it could say two things.
        for name, value in {"rule": chosen, "guidance": None, "classifier": None, "interval": None}.items():
            object.__setattr__(self, name, value)

    def but(self, **fields: Any) -> Sampling:
        """The same with other values in some fields; ``ValueError`` for one that does not exist, or as the class."""
        names = [f.name for f in dataclasses.fields(self)]
        for name in fields:
            if name not in names:
                raise ValueError(f"{name}: got an option that does not exist, takes {', '.join(names)}")
        return dataclasses.replace(self, **fields)

    def to_json(self) -> dict[str, Any]:
        """All but the rule, as plain values; ``make_rule(sampling.rule).to_json()`` is the rest of the record."""
        apart = ("rule", "guidance", "classifier", "interval")
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in apart}


def level_grid(how: Sampling, schedule: Schedule) -> Tensor:
    """The rising log-SNRs (T,) that ``how`` asks for by ``levels``, ``steps``, ``lo`` and ``hi``, float32.

    ``schedule`` is the model's, for ``levels="model"`` and the ends that are not given. A ``ValueError`` where lo is
    not below hi, or with ``levels="model"`` one of them is outside the schedule.
    """
    lo = max(schedule.lo, -9.0) if how.lo is None else how.lo
    hi = min(schedule.hi, 12.0) if how.hi is None else how.hi
    if not lo < hi:
        raise ValueError(f"lo: got {lo} with hi {hi}, takes a log-SNR below hi")
    match how.levels:
        case "model":
            if lo < schedule.lo or hi > schedule.hi:
                takes = f"[{schedule.lo}, {schedule.hi}] with levels='model'"
                raise ValueError(f"lo, hi: got {lo}, {hi}, takes values in {takes}")
            noisy, clean = schedule.u(torch.tensor([lo, hi], dtype=torch.float64)).tolist()
            lam = schedule.logsnr(torch.linspace(noisy, clean, how.steps, dtype=torch.float64))
        case "karras":  # Karras et al. 2022, eq. 5, rho = 7; their sigma is our sigma/alpha = exp(-lam/2)
            first, last = math.exp(-lo / 14), math.exp(-hi / 14)
            lam = -14 * torch.linspace(first, last, how.steps, dtype=torch.float64).log()
        case _:
            lam = SPREADS[how.levels](lo=lo, hi=hi).grid(how.steps, dtype=torch.float64)
    return lam.float()


@dataclass(frozen=True)
class Settings:
    """A denoiser made ready to be drawn from with one :class:`Sampling`.

    Attributes:
        model, sampling: the denoiser, on its device, with the arithmetic that was asked for; the options.
        grid: rising log-SNRs (T,), on the device.
        shape, classes: of one sample; their names, or None where nobody knows them.
        parts: what the rule needs beside the model: ``classifier``, ``bad``.
    """

    model: Denoiser
    sampling: Sampling
    grid: Tensor
    shape: tuple[int, ...]
    classes: tuple[str, ...] | None
    parts: Mapping[str, Any]

    @classmethod
    def load(
        cls,
        model: str | Path | Denoiser,
        how: Sampling,
        device: torch.device | str | None = None,
        *,
        shape: tuple[int, ...] | None = None,
        **parts: Any,
    ) -> Settings:
        """Make ready what ``how`` needs. A denoiser that is handed in stays as and where it is.

        Args:
            model, how: weights by name or path, or any denoiser; the options.
            device: where to work; by default where the denoiser is, and the CPU for weights.
            shape: of one sample, for a denoiser that does not say.
            parts: ``classifier``, ``bad``, for a rule that needs them; by default by the name that the rule holds, or
                those shipped for the model's dataset.

        Raises:
            ValueError, FileNotFoundError: as :func:`cfgtoy.artifacts.load_denoiser`; and for options that this
                denoiser cannot follow.
        """
        if isinstance(model, str | Path):
            model = artifacts.load_denoiser(model, device or "cpu")
        elif not callable(model):
            raise ValueError(f"model: got {type(model).__name__}, takes a denoiser, or weights' name or path")
        place = _place(model) if device is None else torch.empty(0, device=device).device
        shape = getattr(model, "shape", (model.dim,) if isinstance(model, GaussianMixture) else shape)
        if shape is None:
            raise ValueError("shape: got None, takes that of one sample, which this denoiser does not say")
        classes = getattr(model, "classes", None)
        if classes is None and isinstance(number := getattr(model, "num_classes", None), int):
            classes = tuple(map(str, range(number)))
        rule = make_rule(how.rule)
        own = None  # the levels of a student
        if isinstance(model, artifacts.StudentDenoiser):
            if rule != make_rule("classifier-free"):
                takes = "'classifier-free', or hand in student.at(w), which any rule guides a second time"
                raise ValueError(
                    f"rule: got {rule.name!r} for a student, for which w is an input, takes {takes}"
                )
            if (own := model.grid) is not None:
                how = how.but(sampler="ddim", steps=model.steps)
        needed = sorted(rule.needs - {"grid"})
        parts = {part: parts.get(part) or _part(part, rule, model, place) for part in needed}
        known = getattr(parts.get("classifier"), "classes", classes)
        if known is not None and classes is not None and len(known) != len(classes):
            raise ValueError(f"classifier: got one of {len(known)} classes, takes {len(classes)}")
        grid = level_grid(how, getattr(model, "schedule", schedules.Cosine())) if own is None else own
        for part in parts.keys() - {"ratios"}:  # which are a function, made from the model as it is
            parts[part] = _prepared(parts[part], how, place)
        return cls(_prepared(model, how, place), how, grid.to(place), tuple(shape), classes, parts)

    @property
    def device(self) -> torch.device:
        return self.grid.device

    @property
    def classifier(self) -> Any:
        """The noisy classifier, where the rule needs one."""
        return self.parts.get("classifier")

    def guided(self, w: float) -> Denoiser:
        """The denoiser that is drawn from at w, by the rule; a student is told w. Errors as the rule."""
        if isinstance(self.model, artifacts.StudentDenoiser):
            return self.model.at(w)
        return make_rule(self.sampling.rule)(self.model, w=w, grid=self.grid, **self.parts)


def _place(model: Any) -> torch.device:
    """Where a denoiser is; of one that does not say, the CPU."""
    if isinstance(model, GaussianMixture):
        return model.means.device
    net = getattr(model, "net", None)
    tensors = net.parameters() if isinstance(net, nn.Module) else ()
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _part(name: str, rule: Rule, model: Any, device: torch.device) -> Any:
    """What a rule needs beside the model: by the name it holds, else what goes with the model."""
    holder: Rule | None = rule
    while holder is not None and name not in holder.options:
        holder = holder.of
    given = holder and holder.options[name]
    dataset = getattr(model, "meta", {}).get("dataset")
    if name == "ratios":
        if given is not None or dataset is None:
            raise ValueError("ratios: got no data, takes a function of levels and classes: guidance.Ratios")
        data = load_images(dataset, "train")
        return guidance.Ratios(model, to_float(data.images).to(device), data.labels.to(device))
    kind, load = {
        "classifier": ("noisy-classifier", artifacts.load_noisy_classifier),
        "bad": ("weak", artifacts.load_denoiser),
    }[name]
    if given is None and (dataset is None or f"{dataset}-{kind}" not in artifacts.manifest()):
        raise ValueError(f"{name}: got nothing, takes weights by name or path: the rule {rule.name} needs it")
    return load(given or f"{dataset}-{kind}", device)


class _Autocast(nn.Module):
    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.dtype = net, dtype

    def forward(self, z: Tensor, *rest: Tensor) -> Tensor:
        with torch.autocast(z.device.type, self.dtype):
            return self.net(z, *rest).float()


def _prepared(model: Any, how: Sampling, device: torch.device) -> Any:
    """A denoiser or classifier on ``device``, with the arithmetic and compilation asked for; the one given is kept."""
    net = getattr(model, "net", None)
    if not isinstance(net, nn.Module):
        if how.dtype != "float32" or how.compile:
            got = f"{how.dtype!r}, {how.compile} for a denoiser without a network of its own"
            takes = "'float32', False; or hand in the network's denoiser, and the rule"
            raise ValueError(f"dtype, compile: got {got}, takes {takes}")
        away = isinstance(model, GaussianMixture) and model.means.device != device
        return model.to(device) if away else model
    if any(p.device != device for p in net.parameters()):
        net = copy.deepcopy(net).to(device)
    if how.dtype == "bfloat16":
        net = _Autocast(net, torch.bfloat16)
    ready = copy.copy(model)
    ready.net = torch.compile(net, dynamic=False) if how.compile else net
    return ready


def sample(
    model: str | Path | Denoiser | Settings,
    y: Tensor,
    *,
    rule: Rule | str | Mapping[str, Any] | None = None,
    w: float = 0.0,
    sampling: Sampling | None = None,
    shape: tuple[int, ...] | None = None,
    seed: int = 0,
    batch: int = 500,
    device: torch.device | str | None = None,
    progress: bool = False,
    **options: Any,
) -> Tensor:
    r"""Draw one sample for each class in ``y`` from any denoiser, guided by any rule.

    >>> x = sample("digits", torch.arange(10), rule="apg", w=2.0, steps=12)  # doctest: +SKIP

    Args:
        model: weights by name or path; any denoiser, such as a mixture, a network's or a guided one, which stays where
            it is; or :class:`Settings`, which hold ``sampling`` already.
        y, w: classes (n,), -1 for none; guidance weight, 0 conditional, -1 unconditional.
        rule, sampling, options: what guides; how; and single fields of ``sampling``, such as ``steps=50``.
        shape, device: as for :meth:`Settings.load`.
        seed, batch, progress: of all noise; samples at a time; whether to show a bar.

    Returns:
        x (n, \*shape), float32, on that device. Images are in [-1, 1] where the model is right, and not clamped.

    Raises:
        ValueError: a class that the model does not know, ``w`` not finite, or an option that does not exist.
    """
    if rule is not None:
        options["rule"] = rule
    if not isinstance(model, Settings):
        model = Settings.load(model, (sampling or Sampling()).but(**options), device, shape=shape)
    elif sampling is not None or options or shape is not None or device is not None:
        raise ValueError("sampling: got options beside Settings, takes none: they hold their own")
    return torch.cat([x for x, _ in draws(model, y, w, seed=seed, batch=batch, progress=progress)])


def draws(
    ready: Settings,
    y: Tensor,
    w: float = 0.0,
    *,
    seed: int = 0,
    batch: int = 500,
    rank: int = 0,
    world: int = 1,
    progress: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    r"""Draw one sample for each class in ``y``, a batch at a time.

    Every batch has a generator of its own, made from ``seed`` and the batch's number: the noise is the same for any w
    and any number of ranks. All batches have the same size, so that compiled code runs as it is; what is drawn over
    is cut off.

    Args:
        ready, rank, world: from :meth:`Settings.load`; this process draws batches rank, rank + world, ….
        y, w, seed, batch, progress: as for :func:`sample`, and so are the errors.

    Yields:
        Samples (b, \*shape), float32, not clamped, and their classes (b,), on the model's device.
    """
    _checks.positive_int("batch", batch)
    _checks.positive_int("seed", seed, least=0)
    if not isinstance(y, Tensor) or y.ndim != 1 or len(y) == 0:
        raise ValueError(f"y: got {y!r}, takes a tensor (n,) of classes, n ≥ 1")
    _checks.labels("y", y, 2**62 if ready.classes is None else len(ready.classes), null=-1)
    denoiser, how, size = ready.guided(w), ready.sampling, min(batch, len(y))

    def drawn(number: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator(ready.device).manual_seed((seed * 1_000_003 + number) % 2**63)
        part = y[number * size : (number + 1) * size].to(ready.device)
        filled = torch.cat([part, part.new_zeros(size - len(part))])
        x = samplers.sample(
            denoiser, filled, shape=(size, *ready.shape), grid=ready.grid, method=how.sampler, v=how.v,
            generator=generator,
        )  # fmt: skip
        return x[: len(part)], part

    numbers: Iterable[int] = range(rank, math.ceil(len(y) / size), world)
    if progress:
        from tqdm.auto import tqdm

        numbers = tqdm(
            numbers, desc=f"w = {w:g}", unit="batch", leave=False, disable=None
        )  # where one watches
    return map(drawn, numbers)
