"""One training for the tests that need a process of its own: ``python run.py '{"images": 640, …}'``.

Beside the options of ``TrainConfig``: ``die_at`` kills this process once that many images are done, if it is of the
first attempt and of rank ``die_rank``; ``plain`` takes noise and dropped labels out of the loss, so that runs which cut
the batches differently can be compared.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from cfgtoy.datasets.resident import ImageData
from cfgtoy.training import trainer
from cfgtoy.training.config import TrainConfig, preset


def data() -> ImageData:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return ImageData(images, torch.arange(100) % 10, tuple("0123456789"))


def tiny(out: Path, **options: object) -> TrainConfig:
    """A run of 20 steps that takes a second."""
    few = {
        "images": 320, "batch": 16, "warmup": 32, "dropout": 0.1, "checkpoint_every": 80, "log_every": 5,
        "progress": False, "device": "cpu", "weights": "float32", "decay": 0.0, "ema_halflife": 64,
        "rank_timeout": 30.0,
    }  # fmt: skip
    return dataclasses.replace(preset("digits"), out=out, **(few | options))  # type: ignore[arg-type]


def plain(net: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
    return (net(x, torch.zeros(len(x)), y) - x).square().flatten(1).mean(1)


def main() -> None:
    torch.set_num_threads(1)
    options = json.loads(sys.argv[1])
    die_at, die_rank = options.pop("die_at", None), options.pop("die_rank", 0)
    comparable = options.pop("plain", False)
    config = tiny(Path(options.pop("out")), **options)
    run = trainer.Trainer(config, data())
    if comparable:
        run.task = dataclasses.replace(run.task, losses=plain)
    update = run.update

    def mortal() -> tuple[Tensor, Tensor]:
        found = update()
        again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
        if die_at is not None and run.images >= die_at and run.ranks.rank == die_rank and not again:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    run.update = mortal  # type: ignore[method-assign]
    try:
        run.run()
    finally:
        run.ranks.close()


if __name__ == "__main__":
    main()
