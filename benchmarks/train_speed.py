"""How fast the trainer trains, beside the matrix rate of the same GPU.

    python benchmarks/train_speed.py                      # the shipped size
    python benchmarks/train_speed.py --size wide --batch 512
    torchrun --nproc-per-node=2 benchmarks/train_speed.py  # batch is per GPU, so two GPUs should do 2× the images

Times whole updates of ``cfgtoy.training.trainer`` (data, noise, forward, backward, gradient norm, optimizer, average of
the weights) on images of random bytes. The arithmetic counted is that of convolutions and matrix products, forward
once and backward twice; the rate beside it is a bfloat16 product of two random 8192 × 8192 matrices, in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from cfgtoy.datasets.images import ImageData
from cfgtoy.nets.unet import UNet
from cfgtoy.training.config import preset
from cfgtoy.training.trainer import Trainer


def seconds(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median seconds of a call, over three rounds of ``repeats``."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    rounds = []
    for _ in range(3):
        wait()
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        wait()
        rounds.append((time.perf_counter() - start) / repeats)
    return median(rounds)


def matmul_rate(device: torch.device) -> float:
    """FLOP/s of a large bfloat16 matrix product on random data."""
    n = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    return 2 * n**3 / seconds(lambda: a @ b, 10, device)


def flops(net: UNet) -> int:
    """FLOP of one forward pass for one image: convolutions and matrix products."""
    twin = UNet(**net.args).eval()
    c, s = net.args["in_channels"], net.args["image_size"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        twin(torch.randn(1, c, s, s), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="cifar", help="digits, cifar or wide")
    parser.add_argument("--batch", type=int, default=512, help="images a step on each GPU")
    parser.add_argument("--optimizer", default="muon", help="muon or adam")
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()

    base = preset("digits" if args.size == "digits" else "cifar10")
    side, channels = (8, 1) if args.size == "digits" else (32, 3)
    images = torch.randint(0, 256, (10_000, channels, side, side), dtype=torch.uint8)
    data = ImageData(images, torch.arange(len(images)) % 10, tuple(map(str, range(10))))
    with tempfile.TemporaryDirectory() as folder:
        world = int(os.environ.get("WORLD_SIZE", 1))
        config = replace(
            base, size=args.size, batch=args.batch * world, optimizer=args.optimizer, out=Path(folder),
            progress=False,
        )  # fmt: skip
        trainer = Trainer(config, data)
        start = time.perf_counter()
        for _ in range(5):
            trainer.update()
        seconds(lambda: None, 1, trainer.device)
        compiling = time.perf_counter() - start
        step = seconds(trainer.update, args.repeats, trainer.device)
        rate = matmul_rate(trainer.device)
        work = 3 * flops(trainer.net) * args.batch / step  # type: ignore[arg-type]
        if trainer.ranks.first:
            cuda = trainer.device.type == "cuda"
            found = {
                "size": args.size, "optimizer": args.optimizer, "gpus": world, "batch_per_gpu": args.batch,
                "parameters": sum(p.numel() for p in trainer.net.parameters()),
                "gflop_forward": flops(trainer.net) / 1e9,  # type: ignore[arg-type]
                "images_per_second": config.batch / step, "ms_per_step": step * 1e3,
                "tflops_per_gpu": work / 1e12, "matmul_tflops": rate / 1e12, "ratio": work / rate,
                "first_steps_seconds": compiling,
                "gib": torch.cuda.max_memory_allocated() / 2**30 if cuda else None,
                "device": torch.cuda.get_device_name() if cuda else "cpu", "torch": torch.__version__,
            }  # fmt: skip
            print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}))
        trainer.ranks.close()


if __name__ == "__main__":
    main()
