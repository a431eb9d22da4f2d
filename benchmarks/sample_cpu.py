"""Seconds for a guided image from the shipped weights on the CPU, beside the machine's own rate.

    python benchmarks/sample_cpu.py [MODEL] [--steps 20] [--images 20] [--threads 2]

A guided image takes 2 × steps evaluations of the network. The time is given alone, in evaluations a second, and as a
share of the float32 matrix rate measured in the same run, which a slow or busy machine lowers as much.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from cfgtoy.images import Sampling, Settings, sample


def matrix_rate(n: int = 1024, seconds: float = 1.0) -> float:
    """Floating-point operations a second of a float32 n × n product, over ``seconds``."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    out = a @ b
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        torch.mm(a, b, out=out)
        count += 1
    return count * 2 * n**3 / (time.perf_counter() - begin)


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="cifar10", help="shipped weights or a .safetensors file")
    parser.add_argument("--steps", type=int, default=20, help="levels of the sampler")
    parser.add_argument("--images", type=int, default=20, help="images, drawn in one batch")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--w", type=float, default=1.0, help="guidance weight")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="inside the network"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    settings = Settings.load(args.model, Sampling(steps=args.steps, dtype=args.dtype))
    y = torch.arange(args.images) % len(settings.classes)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        settings.model(torch.randn(1, *settings.shape), torch.zeros(()), y[:1])
    flops = counter.get_total_flops()  # of one evaluation for one image

    rates = [matrix_rate()]
    begin, begin_cpu = time.perf_counter(), time.process_time()
    sample(settings, y, w=args.w, batch=args.images)
    seconds = (time.perf_counter() - begin) / args.images
    cpu_seconds = (time.process_time() - begin_cpu) / args.images
    rates.append(matrix_rate())
    rate = sum(rates) / 2
    evaluations = 2 * args.steps if args.w != 0 else args.steps
    figures = {
        "model": args.model,
        "steps": args.steps,
        "threads": args.threads,
        "dtype": args.dtype,
        "seconds_per_guided_image": round(seconds, 4),
        "cpu_seconds_per_guided_image": round(cpu_seconds, 4),
        "evaluations_per_second": round(evaluations / seconds, 1),
        "gflop_per_evaluation": round(flops / 1e9, 3),
        "matrix_gflops": round(rate / 1e9, 1),
        "share_of_matrix_rate": round(flops * evaluations / seconds / rate, 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
