"""Speed of this tree against another one: an exact score, training and sampling of small networks, U-Nets on the CPU.

    git worktree add /tmp/before COMMIT
    python benchmarks/against.py /tmp/before [--rounds 15]

Both trees do the same work in turns, each in a process of its own on one thread, and count their CPU seconds, which a
busy machine moves less than the clock. A line a task: milliseconds here and there, the ratio's median over the rounds
and its quartiles. Exits with 1 where this tree is slower by more than 5 % with the whole middle half of its rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
MOST = 1.05
TASKS = (
    "exact score, 20,000 points",
    "guided Heun, 4,000 points, 32 levels",
    "MLP, 60 training steps",
    "MLP, guided DDIM, 4,000 points, 32 levels",
    "digits U-Net, training step of 64",
    "CIFAR-10 U-Net, 4 images",
)


def serve() -> None:
    """Do task after task, as told by standard input; write CPU seconds."""
    # by the tree that PYTHONPATH names
    import torch

    from cfgtoy import NetDenoiser, artifacts, datasets, guidance, nets, samplers, schedules, training
    from cfgtoy.nets.unet import UNet

    assert Path(artifacts.__file__).is_relative_to(Path.cwd()), artifacts.__file__
    torch.set_num_threads(1)

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    mixture, grid = datasets.three_gaussians(), schedules.Cosine(-10, 10).grid(32)
    z, y = torch.randn(20_000, 2, generator=seeded()), torch.arange(20_000) % 3
    few = y[:4_000]
    torch.manual_seed(0)
    mlp = nets.MLP(2, 3)
    own = nets.MLP(2, 3)
    unet = UNet.preset("digits")
    optimizer = torch.optim.Adam(unet.parameters(), lr=1e-4)
    images, labels = torch.randn(64, 1, 8, 8, generator=seeded()), torch.arange(64) % 10
    large = artifacts.load_denoiser("cifar10")
    photographs = torch.randn(4, 3, 32, 32, generator=seeded())

    def drawn(denoiser: object, method: str) -> None:
        guided = guidance.classifier_free(denoiser, w=2.0)  # type: ignore[arg-type]
        samplers.sample(guided, few, shape=(4_000, 2), grid=grid, method=method, generator=seeded())

    def score() -> None:
        for lam in (-2.0, 0.0, 2.0, 4.0):
            mixture.score(z, torch.tensor(lam), y)

    def fit() -> None:
        for _ in training.fit(mlp, mixture.sample_labeled, steps=60, batch_size=512, generator=seeded()):
            pass

    def step() -> None:
        loss = unet(images, torch.zeros(64), labels).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def look() -> None:
        large(photographs, torch.tensor(0.0), labels[:4])

    work = (
        score, lambda: drawn(mixture, "heun"), fit,
        torch.no_grad()(lambda: drawn(NetDenoiser(own, "eps"), "ddim")), step, look,
    )  # fmt: skip
    for line in sys.stdin:
        begin = time.process_time()
        work[int(line)]()
        print(json.dumps(time.process_time() - begin), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="root of the other tree")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    if not (args.other / "cfgtoy").is_dir():
        parser.error(f"{args.other} holds no cfgtoy")

    def started(tree: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}, cwd=tree,
        )  # fmt: skip

    def asked(process: subprocess.Popen[str], task: int) -> float:
        assert process.stdin
        assert process.stdout
        print(task, file=process.stdin, flush=True)
        return float(process.stdout.readline())

    here, there = started(HERE), started(args.other)
    slower = False
    for task, name in enumerate(TASKS):
        pairs = [(asked(here, task), asked(there, task)) for _ in range(args.rounds + 1)][1:]
        low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
        mine, theirs = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:<42} {mine:7.1f} {theirs:7.1f} ms  {middle:.3f} [{low:.3f}, {high:.3f}]", flush=True)
        slower |= low > MOST
    for process in (here, there):
        process.communicate()
    return int(slower)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        sys.exit(main())
