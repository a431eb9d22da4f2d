"""One training for the tests that need a process of its own: ``python run.py '{"images": 640, …}'``.

``python run.py serve`` imports what takes seconds, once, and then forks: for each line of its input,
``{"options": {…}, "environments": [{…}, …]}``, a training for each environment; it answers with a line of their
process numbers, and, when all have ended, one of their exit codes. With ``torchrun`` among the options, a list of those
of the command of that name, a training is what that command makes of it, but that its ranks are forked too.

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
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # which optimizers import at their first step, in seconds
from torch import Generator, Tensor, nn

from cfgtoy.datasets.images import ImageData
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


def train(options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    die_at, die_rank = options.pop("die_at", None), options.pop("die_rank", 0)
    comparable = options.pop("plain", False)
    config = tiny(Path(options.pop("out")), **options)
    run = trainer.Trainer(config, data())
    if comparable:
        run.losses = plain
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


def torchrun(words: list[str], options: dict[str, Any]) -> None:
    from torch.distributed import run
    from torch.distributed.launcher.api import elastic_launch

    config, *_ = run.config_from_args(run.parse_args([*words, __file__]))
    config.start_method = "fork"
    elastic_launch(config, train)(options)


def fork(options: dict[str, Any], environment: dict[str, str]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ.update(environment)
        words = options.pop("torchrun", None)
        train(options) if words is None else torchrun(words, options)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def serve() -> None:
    torch.set_num_threads(1)
    # imports the rest; without gradients, whose threads do not survive a fork
    with tempfile.TemporaryDirectory() as folder:
        trainer.Trainer(tiny(Path(folder)), data()).grid(Path(folder) / "grid.png")
    for line in sys.stdin:
        request = json.loads(line)
        children = [fork(request["options"], environment) for environment in request["environments"]]
        print(json.dumps(children), flush=True)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else train(json.loads(sys.argv[1]))
