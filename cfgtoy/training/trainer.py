"""The trainer for images: one process or many, resumable to the bit, and safe against what goes wrong.

``train(config)`` does it all; ``torchrun --nproc-per-node=N -m cfgtoy train …`` does it on N GPUs. Three kinds of
network share the loop: the denoiser, the classifier of noisy images and the evaluator of clean ones. They differ in
their loss and in what their weight file says, which is what a :class:`Task` holds.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .. import artifacts, guidance, samplers
from .._ranks import Ranks
from ..datasets.batches import ResidentBatches
from ..datasets.images import ImageData, to_float, to_uint8
from ..datasets.load import load_images
from ..evaluation import provenance, sheet
from ..nets.evaluator import Evaluator
from ..nets.unet import NoisyClassifier, UNet
from ..prediction import NetDenoiser
from ..process import diffuse
from . import checkpoint
from .augment import augment
from .config import TrainConfig
from .muon import Muon
from .objective import EMA, diffusion_loss

__all__ = ["Diverged", "Stopped", "Task", "make_task", "train"]

log = logging.getLogger(__name__)


class Diverged(RuntimeError):
    """The loss or a weight is no longer finite; the newest checkpoint holds the last good state."""


class Stopped(SystemExit):
    """The run was asked to stop, and saved its state first. Exit code 0."""


# -- what is trained -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """One kind of network to train.

    Attributes:
        net: the network, on the device.
        losses: ``losses(net, x, y, generator) -> (b,)`` for x (b, c, h, w) in [−1, 1] and y (b,) int64.
        meta: what the weight file says of the network.
        report: ``report(net) -> {name: figure}``, measured on the averaged weights at the end.
    """

    net: nn.Module
    losses: Callable[[nn.Module, Tensor, Tensor, Generator], Tensor]
    meta: dict[str, Any]
    report: Callable[[nn.Module], dict[str, float]]


def make_task(config: TrainConfig, data: ImageData, device: torch.device) -> Task:
    """The network of ``config`` for images like ``data``, freshly initialised, with its loss.

    Raises:
        ValueError: no such size, or images that it does not fit.
    """
    channels, height, width = data.shape
    schedule = config.noise_schedule()
    shape: dict[str, Any] = {"in_channels": channels, "num_classes": data.num_classes}
    meta: dict[str, Any] = {
        "image": list(data.shape), "classes": list(data.classes), "dataset": config.dataset,
    }  # fmt: skip
    net: nn.Module
    if config.model == "evaluator":
        net = Evaluator.preset(config.size, **shape)
        meta |= {"role": "evaluator"}

        def losses(net: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
            if config.shift or config.cutout:
                x = augment(x, shift=config.shift, cutout=config.cutout, generator=generator)
            return F.cross_entropy(net(x), y, label_smoothing=config.label_smoothing, reduction="none")

        def report(net: nn.Module) -> dict[str, float]:
            return _accuracy(lambda x: net(x), config, device)

    else:
        if height != width:
            raise ValueError(f"data: got images of {height} × {width}, takes square ones")
        shape |= {"image_size": height, "dropout": config.dropout}
        meta |= {"schedule": artifacts.schedule_to_meta(schedule)}
        if config.model == "noisy-classifier":
            net = NoisyClassifier.preset(config.size, **shape)
            meta |= {"role": "noisy_classifier"}

            def losses(net: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
                if config.shift:
                    x = augment(x, shift=config.shift, generator=generator)
                lam = schedule.sample(len(x), generator, stratified=True, device=x.device, dtype=x.dtype)
                logits = net(diffuse(x, lam, generator=generator), lam)
                return F.cross_entropy(logits, y, label_smoothing=config.label_smoothing, reduction="none")

            def report(net: nn.Module) -> dict[str, float]:
                figures: dict[str, float] = {}
                for level in (0.0, 4.0, 8.0):
                    noise = torch.Generator(device).manual_seed(0)

                    def logits(x: Tensor, level: float = level, noise: Generator = noise) -> Tensor:
                        lam = torch.full((len(x),), level, device=x.device)
                        return net(diffuse(x, lam, generator=noise), lam)

                    found = _accuracy(logits, config, device)
                    figures |= {f"{name}_at_logsnr_{level:g}": figure for name, figure in found.items()}
                return figures

        else:
            net = UNet.preset(config.size, **shape)
            meta |= {"role": "denoiser", "kind": config.kind}
            weighting = _weighting(config)

            def losses(net: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
                return diffusion_loss(
                    NetDenoiser(net, config.kind), x, y, schedule=schedule, p_uncond=config.p_uncond,
                    target=config.kind, weighting=weighting, generator=generator,
                )  # fmt: skip

            def report(net: nn.Module) -> dict[str, float]:
                return {}

    meta |= {"net": {"class": type(net).__name__, "args": net.args}}
    return Task(net.to(device), losses, meta, report)


def _weighting(config: TrainConfig) -> Callable[[Tensor], Tensor] | None:
    """The loss's further weight, relative to the squared error in the network's own kind."""
    to_eps = {
        "v": lambda lam: torch.sigmoid(lam),  # |ε̂ − ε|² = α² |v̂ − v|²
        "x": lambda lam: lam.exp(),  # |ε̂ − ε|² = e^λ |x̂ − x|²
        "eps": lambda lam: torch.ones_like(lam),
    }[config.kind]
    match config.weighting:
        case "none":
            return None
        case "min-snr":  # Hang et al. 2023, eq. 8: min(SNR, 5) on the error in x
            return lambda lam: to_eps(lam) * (5 * (-lam).exp()).clamp(max=1.0)
        case "sigmoid":  # Hoogeboom et al. 2024, "Simpler diffusion": sigmoid(2 − λ) on the error in ε
            return lambda lam: to_eps(lam) * torch.sigmoid(2.0 - lam)


@torch.no_grad()
def _accuracy(
    logits: Callable[[Tensor], Tensor], config: TrainConfig, device: torch.device
) -> dict[str, float]:
    """The share of the test images that are named rightly; nothing where there is no test split."""
    try:
        test = load_images(config.dataset, "test", root=config.root)
    except (ValueError, FileNotFoundError):
        return {}
    right = 0
    for images, y in zip(test.images.split(1000), test.labels.split(1000), strict=True):
        right += int((logits(to_float(images.to(device))).argmax(1).cpu() == y).sum())
    return {"test_accuracy": right / len(test)}


# -- optimizers ------------------------------------------------------------------------------------

_NOT_HIDDEN = {"stem", "conditioning", "modulation", "last", "head", "classifier"}


def _optimizers(net: nn.Module, config: TrainConfig, device: torch.device) -> list[torch.optim.Optimizer]:
    params = dict(net.named_parameters())
    fused = device.type == "cuda"
    if config.optimizer == "sgd":
        decayed = [p for p in params.values() if p.ndim > 1]
        rest = [p for p in params.values() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
        decay = config.weight_decay
        return [
            torch.optim.SGD(groups, config.lr, momentum=0.9, weight_decay=decay, nesterov=True, fused=fused)
        ]
    hidden: list[nn.Parameter] = []
    if config.optimizer == "muon":
        hidden = [
            p for name, p in params.items()
            if (p.ndim == 2 or (p.ndim == 4 and p.shape[-1] > 1)) and not _NOT_HIDDEN & set(name.split("."))
        ]  # fmt: skip
    taken = {id(p) for p in hidden}
    rest = [p for p in params.values() if id(p) not in taken]
    adam = torch.optim.AdamW(
        rest, config.lr_adam if hidden else config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay,
        fused=fused,
    )  # fmt: skip
    return [adam, Muon(hidden, config.lr, weight_decay=config.weight_decay)] if hidden else [adam]


def _rate(images: int, config: TrainConfig) -> float:
    """The learning rate's factor after ``images``: up over the warm-up, down to zero over the last part."""
    up = min(1.0, (images + config.batch) / max(config.warmup, 1))
    down = min(1.0, (config.images - images) / max(config.decay * config.images, 1.0))
    return max(0.0, min(up, down))


# -- the run ---------------------------------------------------------------------------------------


class _StopRequest:
    """Notes SIGTERM, so that the loop can end between two steps; restores the old handler on exit."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> _StopRequest:
        self._old: Any = None
        with contextlib.suppress(ValueError):  # not in the main thread: nothing to catch
            self._old = signal.signal(signal.SIGTERM, self._note)
        return self

    def _note(self, *_: Any) -> None:
        self.asked = True

    def __exit__(self, *_: Any) -> None:
        if self._old is not None:
            signal.signal(signal.SIGTERM, self._old)


class Trainer:
    """A run in progress: everything that a checkpoint holds, and the loop over it.

    Args:
        config: the run's options.
        data: images to train on; loaded as the config says when absent.

    Raises:
        ValueError: options that do not fit each other, the data or the checkpoints in ``config.out``.
        OSError: ``config.out`` cannot be written.
    """

    def __init__(self, config: TrainConfig, data: ImageData | None = None) -> None:
        self.config = config
        self.ranks = ranks = Ranks(config.device, config.rank_timeout)
        self.device = ranks.device
        share, left = divmod(config.batch, ranks.world * config.accumulate)
        if left or share < 1:
            raise ValueError(
                f"batch: got {config.batch} for {ranks.world} processes and accumulate={config.accumulate}, "
                "takes a multiple of their product"
            )
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        self.data = data or load_images(config.dataset, "train", root=config.root)
        torch.manual_seed(config.seed)
        self.task = make_task(config, self.data, self.device)
        self.net = self.task.net.train()
        self.earlier = self._init(config.init)
        self.ema = EMA(self.net, 0.5 ** (config.batch / max(config.ema_halflife, 1)))
        self.optimizers = _optimizers(self.net, config, self.device)
        self.peak = [[group["lr"] for group in o.param_groups] for o in self.optimizers]
        self.batches = ResidentBatches(
            self.data, share, device=self.device, flip=config.flip, seed=config.seed, rank=ranks.rank,
            world=ranks.world, channels_last=True,
        )  # fmt: skip
        # dropout draws from the global generators, everything else from this one
        torch.manual_seed(config.seed * 1_000_003 + ranks.rank)
        self.generator = Generator(self.device).manual_seed(config.seed * 1_000_003 + ranks.rank)
        self.step = self.images = 0
        self.seconds = 0.0  # of training, over all resumed parts
        self.runner = self._runner()
        self.folder = config.out / "checkpoints"
        self._resume()

    def _init(self, path: Path | None) -> dict[str, Any]:
        """Take over the weights of ``config.init``; returns what their file says of who made them."""
        if path is None:
            return {}
        role = self.task.meta["role"]
        net, artifact = artifacts.load_net(path, role)
        try:
            self.net.load_state_dict(net.state_dict())
        except RuntimeError as error:
            raise ValueError(f"init: {path} does not fit this network ({error})") from error
        return artifact.meta.get("made_by", {})

    def _runner(self) -> nn.Module:
        """The network as the loop calls it: compiled, and wrapped for several processes."""
        net = self.net
        if self.config.compile and self.device.type == "cuda":
            net = torch.compile(net, dynamic=False)  # type: ignore[assignment]
        if self.ranks.world > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            net = DistributedDataParallel(net, device_ids=ids, gradient_as_bucket_view=True)
        return net

    # .. checkpoints ..

    def _tensors(self) -> dict[str, Tensor]:
        """Everything with numbers in it, by name. All ranks must call this."""
        out = {f"net/{k}": v for k, v in self.net.state_dict().items()}
        out |= {f"ema/{k}": v for k, v in self.ema.net.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for j, slots in optimizer.state_dict()["state"].items():
                out |= {f"optimizer{i}/{j}/{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
        random = {"cpu": torch.get_rng_state(), "loop": self.generator.get_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        for name, value in random.items():
            out |= {f"random/{rank}/{name}": v for rank, v in enumerate(self.ranks.gather(value))}
        return out

    def save(self) -> Path | None:
        """Write a checkpoint and drop the oldest; on a failed write, warn and go on with those there are.

        Raises:
            Diverged: a weight is not finite.
        """
        finite = torch.stack([p.isfinite().all() for p in self.net.parameters()]).all()
        if not bool(finite):
            raise self._diverged("a weight is not finite")
        tensors = self._tensors()
        if not self.ranks.first:
            return None
        state = {
            "step": self.step, "images": self.images, "seconds": self.seconds, "ema_step": self.ema.step,
            "data": self.batches.state_dict(), "world": self.ranks.world, "config": self.config.to_json(),
        }  # fmt: skip
        try:
            path = checkpoint.write(self.folder, self.step, tensors, state)
        except OSError as error:
            log.error("no checkpoint at step %d: %s; the earlier ones are untouched", self.step, error)
            return None
        checkpoint.prune(self.folder, self.config.keep)
        return path

    def _resume(self) -> None:
        config = self.config
        self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK):
            raise PermissionError(f"{self.folder}: cannot be written")
        restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
        if not config.resume and not restarted:
            if checkpoint.paths(self.folder):
                raise ValueError(
                    f"out: got {config.out}, which holds a run; takes another folder, or resume=True"
                )
            return
        found = checkpoint.newest(self.folder)
        if found is None:
            if checkpoint.paths(self.folder):
                raise ValueError(f"{self.folder}: none of its checkpoints is whole")
            return
        self.load(found)

    def load(self, found: checkpoint.Checkpoint) -> None:
        """Take over the state of a checkpoint.

        Raises:
            ValueError: it is of another network, or its weights and optimizers do not fit this one.
        """
        then, now = found.state["config"], self.config.to_json()
        for name in ("dataset", "model", "size", "kind", "schedule", "optimizer", "seed"):
            if then[name] != now[name]:
                raise ValueError(f"{name}: got {now[name]!r}, but {found.path} was made with {then[name]!r}")
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in found.tensors.items():
            head, _, rest = name.partition("/")
            parts.setdefault(head, {})[rest] = tensor
        try:
            self.net.load_state_dict(parts["net"])
            self.ema.net.load_state_dict(parts["ema"])
            for i, optimizer in enumerate(self.optimizers):
                _load_optimizer(optimizer, parts.get(f"optimizer{i}", {}))
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{found.path}: does not fit this network ({error})") from error
        self.step, self.images = found.state["step"], found.state["images"]
        self.seconds, self.ema.step = found.state["seconds"], found.state["ema_step"]
        self.batches.load_state_dict(found.state["data"])
        random = parts["random"]
        if found.state["world"] == self.ranks.world:
            torch.set_rng_state(random[f"{self.ranks.rank}/cpu"])
            self.generator.set_state(random[f"{self.ranks.rank}/loop"])
            if self.device.type == "cuda" and f"{self.ranks.rank}/cuda" in random:
                torch.cuda.set_rng_state(random[f"{self.ranks.rank}/cuda"], self.device)
        else:  # another number of processes: new streams, which no earlier part has used
            for generator in (torch.default_generator, self.generator):
                generator.manual_seed(hash((self.config.seed, self.step, self.ranks.rank)) % 2**63)
        log.info("resumed %s at step %d, %d images", found.path, self.step, self.images)

    def _diverged(self, what: str) -> Diverged:
        last = checkpoint.paths(self.folder)
        where = f"the last good state is {last[-1]}" if last else "there is no checkpoint yet"
        return Diverged(f"{what} at step {self.step}; {where}. A lower lr, or clip, may help")

    # .. the loop ..

    def run(self) -> Path:
        """Train to the end, save the averaged weights and return their file.

        Raises:
            Diverged: the loss or a weight is not finite.
            Stopped: SIGTERM came; the state is saved.
        """
        config, first = self.config, self.ranks.first
        with _StopRequest() as stop, _Journal(config, self.step, self.images, enabled=first) as journal:
            begun, mark, mark_images = time.monotonic(), time.monotonic(), self.images
            before = self.seconds
            window = torch.zeros(3, dtype=torch.float64, device=self.device)  # Σ loss, Σ |gradient|, steps
            next_save = (self.images // config.checkpoint_every + 1) * config.checkpoint_every
            next_grid = (self.images // max(config.grid_every, 1) + 1) * config.grid_every
            while self.images < config.images:
                loss, norm = self.update()
                window += torch.stack([loss, norm, torch.ones_like(loss)])
                self.seconds = before + time.monotonic() - begun
                ended = self.images >= config.images
                # on a GPU, and among several processes, looking costs a wait: every log_every steps only
                cheap = self.ranks.world == 1 and self.device.type == "cpu"
                due = self.step % config.log_every == 0 or ended
                if not (due or self.images >= next_save or cheap):
                    continue
                asked = torch.tensor([float(stop.asked)], dtype=torch.float64, device=self.device)
                total, grad, steps, stopping = self.ranks.sum(torch.cat([window, asked])).tolist()
                if not math.isfinite(total) or not math.isfinite(grad):
                    raise self._diverged("the loss or its gradient is not finite")
                if due or stopping:
                    now = time.monotonic()
                    journal.write(
                        step=self.step, images=self.images, loss=total / steps, gradient=grad / steps,
                        lr=self.optimizers[-1].param_groups[0]["lr"], seconds=round(self.seconds, 2),
                        images_per_second=round((self.images - mark_images) / max(now - mark, 1e-9), 1),
                    )  # fmt: skip
                    window.zero_()
                    mark, mark_images = now, self.images
                if self.images >= next_save or stopping:
                    path = self.save()
                    next_save += config.checkpoint_every
                    journal.event(checkpoint=None if path is None else path.name, step=self.step)
                if stopping:
                    raise Stopped(0)
                if config.grid_every and self.images >= next_grid:
                    next_grid += config.grid_every
                    if first:
                        self.grid(config.out / f"grid-{self.images:010d}.png")
            return self._finish(journal)

    def update(self) -> tuple[Tensor, Tensor]:
        """One optimizer step; returns the mean loss on this rank and the gradient's norm, as 0-d float64."""
        config = self.config
        rate = _rate(self.images, config)
        for optimizer, peaks in zip(self.optimizers, self.peak, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rate
        half = config.precision == "bfloat16"
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        for i in range(config.accumulate):
            x, y = next(self.batches)
            waits = self.ranks.world > 1 and i + 1 < config.accumulate
            with (
                self.runner.no_sync() if waits else contextlib.nullcontext(),  # type: ignore[operator]
                torch.autocast(self.device.type, torch.bfloat16, enabled=half),
            ):
                part = self.task.losses(self.runner, x, y, self.generator).mean() / config.accumulate
                part.backward()
            loss += part.detach()
        params = list(self.net.parameters())
        norm = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
        if config.clip:
            torch.nn.utils.clip_grads_with_norm_(params, config.clip, norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.ema.update()
        self.step += 1
        self.images += config.batch
        return loss, norm.double()

    @torch.no_grad()
    def grid(self, path: Path, w: float = 1.0, rows: int = 8, steps: int = 20) -> None:
        """Write a sheet of samples, a column a class, from the averaged weights."""
        if self.config.model != "unet":
            return
        y = torch.arange(self.data.num_classes, device=self.device).repeat(rows)
        denoiser = guidance.classifier_free(NetDenoiser(self.ema.net, self.config.kind), w=w)
        generator = Generator(self.device).manual_seed(self.config.seed)
        schedule = self.config.noise_schedule()
        grid = torch.linspace(max(schedule.lo, -9.0), min(schedule.hi, 10.0), steps, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            x = samplers.sample(
                denoiser,
                y,
                shape=(len(y), *self.data.shape),
                grid=grid,
                method="dpm++2m",
                generator=generator,
            )
        png = io.BytesIO()
        sheet(to_uint8(x).cpu(), self.data.num_classes).save(png, "png")
        try:
            artifacts.write_atomically(path, png.getvalue())
        except OSError as error:
            log.error("no sample grid: %s", error)

    def _public_config(self) -> dict[str, Any]:
        """The options that shape the result: no folders, no switches of this one start."""
        private = {"root", "out", "init", "progress", "resume", "tensorboard"}
        return {k: v for k, v in self.config.to_json().items() if k not in private}

    def _finish(self, journal: _Journal) -> Path:
        self.save()
        path = self.config.out / "weights.safetensors"
        if self.ranks.first:
            self.grid(self.config.out / "grid.png")
            figures = self.task.report(self.ema.net)
            made_by = provenance(self.device, _command()) | {
                "seed": self.config.seed, "minutes": round(self.seconds / 60, 2), "gpus": self.ranks.gpus,
                "images": self.images + self.earlier.get("images", 0), "steps": self.step, **figures,
                "config": self._public_config(),
            }  # fmt: skip
            if self.earlier:
                made_by["started_from"] = self.earlier
            dtype = getattr(torch, self.config.weights)
            tensors = {
                k: v.to(dtype) if v.is_floating_point() else v for k, v in self.ema.net.state_dict().items()
            }
            artifacts.save(path, tensors, self.task.meta | {"made_by": made_by})
            journal.event(weights=path.name, step=self.step, images=self.images, **figures)
        self.ranks.barrier()
        return path


def _load_optimizer(optimizer: torch.optim.Optimizer, slots: dict[str, Tensor]) -> None:
    """Fill an optimizer's state from ``{"parameter/slot": tensor}``, in the memory format of the parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in slots.items():
        index, _, slot = name.partition("/")
        state.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for p, values in optimizer.state.items():
        for slot, value in values.items():
            if isinstance(value, Tensor) and value.shape == p.shape:
                values[slot] = torch.empty_like(p, requires_grad=False).copy_(value)


def _command() -> str:
    """The command line that started this process, without its folder."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return shlex.join(["cfgtoy", *words[1:]] if words[0] == "__main__.py" else words)


class _Journal:
    """The run's log: JSON lines, a progress bar, and TensorBoard where asked for."""

    def __init__(self, config: TrainConfig, step: int, images: int, *, enabled: bool) -> None:
        self.config, self.enabled, self.images = config, enabled, images
        self._bar: Any = None
        self._events: Any = None
        if not enabled:
            return
        from tqdm.auto import tqdm

        self._path = config.out / "log.jsonl"
        self._bar = tqdm(
            total=config.images, initial=images, unit="img", unit_scale=True, desc=config.model,
            disable=not config.progress,
        )  # fmt: skip
        if config.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(config.out))
        self.event(started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), step=step, images=images)

    def event(self, **fields: Any) -> None:
        """Append one line to the log."""
        if not self.enabled:
            return
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(fields) + "\n")
        except OSError as error:  # a log line is not worth a run
            log.error("no log line: %s", error)

    def write(self, *, step: int, images: int, **figures: float) -> None:
        """Log the figures of a step, on all channels."""
        if not self.enabled:
            return
        self.event(step=step, images=images, **figures)
        self._bar.update(images - self.images)
        self._bar.set_postfix(loss=f"{figures['loss']:.4f}")
        self.images = images
        if self._events is not None:
            for name, figure in figures.items():
                self._events.add_scalar(name, figure, images)

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._events is not None:
            self._events.close()


@contextlib.contextmanager
def _closing(trainer: Trainer) -> Iterator[Trainer]:
    try:
        yield trainer
    finally:
        trainer.ranks.close()


def train(config: TrainConfig, data: ImageData | None = None) -> Path:
    """Train as ``config`` says and return the file of the averaged weights.

    Under ``torchrun`` every process calls this; gradients are averaged over them, and a restart goes on from the
    newest checkpoint.

    Args:
        config: the run's options; see :func:`cfgtoy.training.config.preset`.
        data: images to train on; loaded as the config says when absent.

    Returns:
        ``config.out / "weights.safetensors"``, which ``cfgtoy.artifacts`` loads.

    Raises:
        Diverged: the loss or a weight is no longer finite; the last good state is kept.
        Stopped: SIGTERM came; the state is saved.
        ValueError, OSError: as :class:`Trainer`.
    """
    with _closing(Trainer(config, data)) as trainer:
        return trainer.run()
