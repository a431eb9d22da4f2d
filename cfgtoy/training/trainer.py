"""The trainer for images: one process or many, resumable to the bit, and safe against what goes wrong.

A resumed run may have other options than its beginning, but for those in ``config.fixed``; the weights then say, under
``stages``, which held up to which image. Refusing them all would drive such runs to ``init``, without the optimizer.
"""

import contextlib
import copy
import hashlib
import io
import logging
import math
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .._files import save, write_atomically
from .._provenance import provenance
from .._ranks import Ranks
from ..datasets.batches import ResidentBatches
from ..datasets.images import ImageData, to_uint8
from ..datasets.load import load_images
from ..images import sheet
from ..nets.files import load_net
from . import checkpoint, optimizers
from .journal import Journal
from .objective import EMA
from .options import TrainConfig

log = logging.getLogger(__name__)

# of one start, no part of the result; and of how it is done, no part of the result but for rounding
_HERE = {"root", "out", "init", "progress", "resume", "tensorboard"}
_HOW = {
    "accumulate", "device", "compile", "rank_timeout", "checkpoint_every", "keep", "log_every", "grid_every",
    "weights",
}  # fmt: skip


class Diverged(RuntimeError):
    """The loss or a weight is no longer finite; the newest checkpoint holds the last good state."""


class Stopped(SystemExit):
    """The run was asked to stop, and saved its state first. Exit code 0."""


@contextlib.contextmanager
def _sigterm() -> Iterator[list[int]]:
    """A list that fills when SIGTERM comes, so that the loop can end between two steps; restores the old handler."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
        yield asked
        return
    old = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, old or signal.SIG_DFL)


class Trainer:
    """A run in progress: all that a checkpoint holds, and the loop over it; loads its data when none are given.

    Options that do not fit each other, the data or the checkpoints in ``config.out`` are a ``ValueError``.
    """

    def __init__(self, config: TrainConfig, data: ImageData | None = None) -> None:
        self.config = config
        self.ranks = ranks = Ranks(config.device, config.rank_timeout)
        self.device = ranks.device
        share, left = divmod(config.batch, ranks.world * config.accumulate)
        if left:
            got = f"{config.batch} for {ranks.world} processes and accumulate={config.accumulate}"
            raise ValueError(f"batch: got {got}, takes a multiple of their product")
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        self.data = data or load_images(config.dataset, "train", root=config.root)
        torch.manual_seed(config.seed)
        self.net, self.losses = config.build(self.data).to(self.device).train(), config.losses
        self.earlier = self._init(config.init)
        self.ema = EMA(self.net, 0.5 ** (config.batch / max(config.ema_halflife, 1)))
        self.optimizers = optimizers.make_optimizers(self.net, config, self.device)
        self.batches = ResidentBatches(
            self.data, share, device=self.device, flip=config.flip, seed=config.seed, rank=ranks.rank,
            world=ranks.world, channels_last=True,
        )  # fmt: skip
        self.generator = Generator(self.device)
        self.step, self.images, self.seconds = 0, 0, 0.0  # over all resumed parts
        self.stages: list[dict[str, Any]] = []  # what held before the options changed
        self._seed()
        # the network as the loop calls it: compiled, and wrapped for several processes
        self.runner: nn.Module = self.net
        if config.compile and self.device.type == "cuda":
            self.runner = torch.compile(self.runner, dynamic=False)  # type: ignore[assignment]
        if ranks.world > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.runner = DistributedDataParallel(self.runner, device_ids=ids, gradient_as_bucket_view=True)
        self.folder = config.out / "checkpoints"
        self._resume()

    def _init(self, path: Path | None) -> dict[str, Any]:
        """Take over the weights of ``config.init``; returns what their file says of who made them."""
        if path is None:
            return {}
        net, artifact = load_net(path, self.config.role)
        try:
            self.net.load_state_dict(net.state_dict())
        except RuntimeError as error:
            raise ValueError(f"init: {path} does not fit this network ({error})") from error
        return artifact.meta.get("made_by", {})

    def _seed(self) -> None:
        """Begin streams that no other rank, step or purpose shares: the global ones for dropout, ours for the rest."""
        for purpose, seed in (("dropout", torch.manual_seed), ("noise", self.generator.manual_seed)):
            name = f"{self.config.seed} {purpose} {self.step} {self.ranks.rank}"
            seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1)

    def _tensors(self) -> dict[str, Tensor]:
        """Everything with numbers in it, by name. All ranks must call this."""
        random = {"cpu": torch.get_rng_state(), "loop": self.generator.get_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        out = optimizers.state(self.optimizers)
        for name, net in (("net", self.net), ("ema", self.ema.net)):
            out |= {f"{name}/{k}": v for k, v in net.state_dict().items()}
        for name, value in random.items():
            out |= {f"random/{rank}/{name}": v for rank, v in enumerate(self.ranks.gather(value))}
        return out

    def save(self) -> Path | None:
        """Write a checkpoint and drop the oldest, or warn and go on; ``Diverged`` where a weight is not finite."""
        if not torch.stack([p.isfinite().all() for p in self.net.parameters()]).all():
            raise self._diverged("a weight is not finite")
        tensors = self._tensors()
        if not self.ranks.first:
            return None
        state = {
            "step": self.step, "images": self.images, "seconds": self.seconds, "ema_step": self.ema.step,
            "data": self.batches.state_dict(), "world": self.ranks.world, "device": self.device.type,
            "config": self.config.to_json(), "stages": self.stages, "earlier": self.earlier,
        }  # fmt: skip
        try:
            path = checkpoint.write(self.folder, self.step, tensors, state)
        except OSError as error:
            log.error("no checkpoint at step %d: %s; the earlier ones are untouched", self.step, error)
            return None
        checkpoint.prune(self.folder, self.config.keep)
        return path

    def _resume(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK):
            raise PermissionError(f"{self.folder}: cannot be written")
        if not checkpoint.paths(self.folder):
            return
        if not _resumes(config := self.config):
            raise ValueError(
                f"out: got {config.out}, which holds a run; takes another folder, or resume=True"
            )
        if (found := checkpoint.newest(self.folder)) is None:
            raise ValueError(f"{self.folder}: none of its checkpoints is whole")
        self.load(found)

    def load(self, found: checkpoint.Checkpoint) -> None:
        """Take over a checkpoint; a ``ValueError`` where one of ``config.fixed`` has changed, or it does not fit."""
        state, now = found.state, self.config.to_json()
        then = {k: v for k, v in state["config"].items() if k in now and v != now[k]}
        for name in self.config.fixed:
            if name in then:
                raise ValueError(f"{name}: got {now[name]!r}, but {found.path} was made with {then[name]!r}")
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in found.tensors.items():
            head, _, rest = name.partition("/")
            parts.setdefault(head, {})[rest] = tensor
        try:
            self.net.load_state_dict(parts["net"])
            self.ema.net.load_state_dict(parts["ema"])
            for i, optimizer in enumerate(self.optimizers):
                optimizers.load_state(optimizer, parts.get(f"optimizer{i}", {}))
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{found.path}: does not fit this network ({error})") from error
        self.step, self.images = state["step"], state["images"]
        self.seconds, self.ema.step = state["seconds"], state["ema_step"]
        self.batches.load_state_dict(state["data"])
        self.earlier = state.get("earlier", self.earlier)
        changed = {k: v for k, v in then.items() if k not in _HERE | _HOW}
        self.stages = state.get("stages", []) + ([{"until": self.images, **changed}] if changed else [])
        kind, random, rank = self.device.type, parts["random"], self.ranks.rank
        if (state["world"], state.get("device", kind)) == (self.ranks.world, kind):
            torch.set_rng_state(random[f"{rank}/cpu"])
            self.generator.set_state(random[f"{rank}/loop"])
            if kind == "cuda":
                torch.cuda.set_rng_state(random[f"{rank}/cuda"], self.device)
        else:  # another number of processes, or another kind of device
            self._seed()
        log.info("resumed %s at step %d, %d images", found.path, self.step, self.images)

    def _diverged(self, what: str) -> Diverged:
        last = checkpoint.paths(self.folder)
        where = f"the last good state is {last[-1]}" if last else "there is no checkpoint yet"
        return Diverged(f"{what} at step {self.step}; {where}. A lower lr, or clip, may help")

    def run(self) -> Path:
        """Train to the end, save the averaged weights and return their file; may raise ``Diverged`` or ``Stopped``."""
        config, first = self.config, self.ranks.first
        with _sigterm() as asked, Journal(config, self.step, self.images, enabled=first) as journal:
            begun, mark, at = time.monotonic() - self.seconds, self.seconds, self.images
            window = torch.zeros(3, dtype=torch.float64, device=self.device)  # Σ loss, Σ |gradient|, steps
            while self.images < config.images:
                loss, norm = self.update()
                window += torch.stack([loss, norm, torch.ones_like(loss)])
                self.seconds = time.monotonic() - begun
                due = self.step % config.log_every == 0 or self.images >= config.images
                saves, shows = self._passed(config.checkpoint_every), self._passed(config.grid_every)
                # on a GPU, and among several processes, looking costs a wait: not at every step
                cheap = self.ranks.world == 1 and self.device.type == "cpu"
                if not (due or saves or shows or cheap):
                    continue
                sums = torch.cat([window, window.new_tensor([len(asked)])])
                total, grad, steps, stopping = self.ranks.sum(sums).tolist()
                if not math.isfinite(total + grad):
                    raise self._diverged("the loss or its gradient is not finite")
                if due or stopping:
                    journal.write(
                        step=self.step, images=self.images, loss=total / steps, gradient=grad / steps,
                        lr=self.optimizers[-1].param_groups[0]["lr"], seconds=round(self.seconds, 2),
                        images_per_second=round((self.images - at) / max(self.seconds - mark, 1e-9), 1),
                    )  # fmt: skip
                    window.zero_()
                    mark, at = self.seconds, self.images
                if saves or stopping:
                    path = self.save()
                    journal.event(checkpoint=path and path.name, step=self.step)
                if stopping:
                    raise Stopped(0)
                if shows and first:
                    self.grid(config.out / f"grid-{self.images:010d}.png")
            return self._finish(journal)

    def _passed(self, every: int) -> bool:
        """Whether the last step came to a multiple of so many images, or past it."""
        return every > 0 and self.images // every > (self.images - self.config.batch) // every

    def update(self) -> tuple[Tensor, Tensor]:
        """One optimizer step; returns the mean loss on this rank and the gradient's norm, as 0-d float64."""
        config, rate = self.config, optimizers.rate(self.images, self.config)
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = rate * group.setdefault("peak", group["lr"])
        half = config.precision == "bfloat16"
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        for i in range(config.accumulate):
            x, y = next(self.batches)
            waits = self.ranks.world > 1 and i + 1 < config.accumulate
            with (
                self.runner.no_sync() if waits else contextlib.nullcontext(),  # type: ignore[operator]
                torch.autocast(self.device.type, torch.bfloat16, enabled=half),
            ):
                part = self.losses(self.runner, x, y, self.generator).mean() / config.accumulate
                part.backward()
            loss += part.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), config.clip or math.inf)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.ema.update()
        self.step += 1
        self.images += config.batch
        return loss, norm.double()

    def grid(self, path: Path) -> None:
        """Write what there is to look at, drawn from the averaged weights."""
        if (x := self.config.pictures(self.ema.net, self.data)) is not None:
            png = io.BytesIO()
            sheet(to_uint8(x), self.data.num_classes).save(png, "png")
            try:
                write_atomically(path, png.getvalue())
            except OSError as error:
                log.error("no sample grid: %s", error)

    def _finish(self, journal: Journal) -> Path:
        self.save()
        path = self.config.out / "weights.safetensors"
        if self.ranks.first:
            self.grid(self.config.out / "grid.png")
            figures = self.config.report(self.ema.net, self.device)
            # the command line that started this process, without its folder
            program = Path(sys.argv[0]).name
            words = ["cfgtoy" if program == "__main__.py" else program, *sys.argv[1:]]
            made_by = provenance(self.device, shlex.join(words)) | {
                "seed": self.config.seed, "minutes": round(self.seconds / 60, 2), "gpus": self.ranks.gpus,
                "images": self.images + self.earlier.get("images", 0), "steps": self.step, **figures,
                "config": {k: v for k, v in self.config.to_json().items() if k not in _HERE},
            }  # fmt: skip
            before = {"stages": self.stages, "started_from": self.earlier}
            made_by |= {name: held for name, held in before.items() if held}
            net = copy.deepcopy(self.ema.net).to(getattr(torch, self.config.weights))
            meta = {
                "image": list(self.data.shape), "classes": list(self.data.classes), "dataset": self.config.dataset,
                **self.config.about(), "net": {"class": type(net).__name__, "args": self.net.args},
            }  # fmt: skip
            save(path, net.state_dict(), meta | {"made_by": made_by})
            journal.event(weights=path.name, step=self.step, images=self.images, **figures)
        self.ranks.barrier()
        return path


def train(config: TrainConfig, data: ImageData | None = None) -> Path:
    """Train as ``config`` says, on ``data`` where given, and return the file of the averaged weights.

    A run of several parts trains them one after another; resumed, it passes over those that are done. Under
    ``torchrun`` every process calls this: gradients are averaged over them, and a restart goes on from the newest
    checkpoint. Raises :class:`Diverged`, :class:`Stopped`, ``OSError`` for a folder that cannot be written, and
    ``ValueError`` as :class:`Trainer`.
    """
    *earlier, last = config.parts()
    for part in earlier:
        if not (_resumes(part) and (part.out / "weights.safetensors").exists()):
            _train(part, data)
            torch.compiler.reset()  # each part has networks of its own, and only so many are kept compiled
    return _train(last, data)


def _train(config: TrainConfig, data: ImageData | None) -> Path:
    trainer = Trainer(config, data)
    with contextlib.closing(trainer.ranks):
        return trainer.run()


def _resumes(config: TrainConfig) -> bool:
    """Whether a run goes on where it stopped: because it was asked to, or because torchrun started it again."""
    return config.resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
