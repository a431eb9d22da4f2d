"""How long n guided samples take, and the rate of their arithmetic beside the matrix rate of the same GPU.

    python benchmarks/sample_speed.py                              # 50,000 samples of the shipped weights on one GPU
    python benchmarks/sample_speed.py --n 1 --batch 1 --repeats 5  # one guided image, on a CPU too

Without weights (``--model random``) it times a freshly made network of ``--size``.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from train_speed import flops, matmul_rate

from cfgtoy._ranks import pick_device
from cfgtoy.artifacts import ImageDenoiser
from cfgtoy.datasets.images import to_uint8
from cfgtoy.images import Sampling, Settings, draws
from cfgtoy.nets.unet import UNet
from cfgtoy.samplers import SAMPLERS
from cfgtoy.training.config import preset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="cifar10", help="weights by name or path, or 'random'")
    parser.add_argument("--size", default="cifar", help="of the random network")
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=2500)
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--sampler", default="dpm++2m")
    parser.add_argument("--w", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves them")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = pick_device("auto")
    cuda = device.type == "cuda"
    if cuda:
        torch.backends.cudnn.benchmark = True
    how = Sampling(
        sampler=args.sampler,
        steps=args.steps,
        levels="uniform",
        lo=-9.0,
        hi=10.0,
        dtype="bfloat16",
        compile=cuda,
    )
    model: ImageDenoiser | str = args.model
    if args.model == "random":
        net = UNet.preset(args.size)
        meta = {
            "kind": "v", "image": [net.args["in_channels"], *[net.args["image_size"]] * 2],
            "classes": [str(i) for i in range(10)], "schedule": preset("cifar10").noise_schedule().to_json(),
        }  # fmt: skip
        model = ImageDenoiser(net.eval().requires_grad_(False), meta)
    settings = Settings.load(model, how, device)
    y = torch.arange(args.n) % len(settings.classes)

    def draw(count: int) -> float:
        start = time.perf_counter()
        for x, _ in draws(settings, y[:count], args.w, batch=args.batch):
            last = to_uint8(x)
        last.cpu()
        return time.perf_counter() - start

    first = draw(min(args.batch, args.n))  # compiles
    took = sorted(draw(args.n) for _ in range(args.repeats))[args.repeats // 2]
    net = settings.model.net
    while not isinstance(net, UNet):
        net = getattr(net, "_orig_mod", None) or net.net
    evaluations = SAMPLERS[args.sampler].evaluations(args.steps) * (1 if args.w == 0 else 2)
    work = flops(net) * evaluations * args.n / took
    rate = matmul_rate(device)
    found = {
        "model": args.model, "n": args.n, "batch": args.batch, "sampler": args.sampler,
        "steps": args.steps, "w": args.w,
        "seconds": took, "first_batch_seconds": first, "images_per_second": args.n / took,
        "tflops": work / 1e12, "matmul_tflops": rate / 1e12, "ratio": work / rate,
        "device": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }  # fmt: skip
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}))


if __name__ == "__main__":
    main()
