"""Exact scores of a 100-component full-covariance mixture in the plane, against torch.distributions with autograd.

    python benchmarks/score.py [--points 10000] [--components 100] [--threads 2] [--repeats 40]

Both start from the mixture's parameters, the points and a noise level, and run in float32 in this one process,
taking turns; times are the best of the repeats, and only their ratio matters. Both errors are the largest of any
point and measured against a float64 evaluation that shares no code with either. Exits with 1 below 5x or above 1e-4.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from cfgtoy import GaussianMixture

LEAST_SPEEDUP = 5.0
MOST_ERROR = 1e-4


def parameters(components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Means (k, 2), covariances (k, 2, 2) and weights (k,), float64."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(components, 2, generator=generator, dtype=torch.float64)
    factor = 0.3 * torch.randn(components, 2, 2, generator=generator, dtype=torch.float64)
    covs = factor @ factor.mT + 0.01 * torch.eye(2, dtype=torch.float64)
    return means, covs, 0.2 + torch.rand(components, generator=generator, dtype=torch.float64)


def by_distributions(means: Tensor, covs: Tensor, weights: Tensor, lam: Tensor, z: Tensor) -> Tensor:
    """The score as one would write it with the library: build the diffused mixture, differentiate its log density."""
    alpha, sigma2 = lam.sigmoid().sqrt(), (-lam).sigmoid()
    diffused = MixtureSameFamily(
        Categorical(weights),
        MultivariateNormal(alpha * means, alpha**2 * covs + sigma2 * torch.eye(2).to(covs)),
    )
    leaf = z.detach().requires_grad_()
    (grad,) = torch.autograd.grad(diffused.log_prob(leaf).sum(), leaf)
    return grad


def reference(means: Tensor, covs: Tensor, weights: Tensor, lam: Tensor, z: Tensor) -> Tensor:
    """The score in float64, by solving with every diffused covariance."""
    alpha, sigma2 = lam.double().sigmoid().sqrt(), (-lam.double()).sigmoid()
    covs = alpha**2 * covs + sigma2 * torch.eye(2, dtype=torch.float64)  # (k, 2, 2)
    gap = z.double()[:, None] - alpha * means  # (b, k, 2)
    solved = torch.linalg.solve(covs, gap[..., None])[..., 0]  # (b, k, 2)
    log_joint = weights.log() - 0.5 * (covs.logdet() + (gap * solved).sum(-1))  # (b, k)
    return -(log_joint.softmax(1)[..., None] * solved).sum(1)


def relative_error(got: Tensor, want: Tensor) -> float:
    """The largest error of any point's score, relative to that score's length."""
    return ((got.double() - want).norm(dim=1) / want.norm(dim=1).clamp(min=1e-3)).max().item()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    exact = parameters(args.components)
    means, covs, weights = (a.float() for a in exact)
    mixture = GaussianMixture(means, covs, weights)
    # The parameters that float32 callers actually handed over.
    exact = (means.double(), covs.double(), weights.double())
    print(f"{args.components} full covariances in 2-D, {args.points} points, {args.threads} threads, float32")
    print(
        f"{'λ':>5} {'cfgtoy ms':>10} {'torch ms':>10} {'speedup':>8} {'cfgtoy error':>13} {'torch error':>12}"
    )
    speedups, errors = [], []
    for level in (-8.0, 0.0, 8.0):
        lam = torch.tensor(level)
        z = lam.sigmoid().sqrt() * mixture.sample(args.points, generator=torch.Generator().manual_seed(1))
        z = z + (-lam).sigmoid().sqrt() * torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
        want = reference(*exact, lam, z)
        runs: dict[str, Callable[[], Tensor]] = {
            "ours": lambda z=z, lam=lam: mixture.score(z, lam),
            "theirs": lambda z=z, lam=lam: by_distributions(means, covs, weights, lam, z),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for repeat in range(args.repeats + 2):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                if repeat >= 2:  # the first two warm up
                    times[name].append(time.perf_counter() - start)
        ours_ms, theirs_ms = (1e3 * min(t) for t in times.values())
        error = relative_error(runs["ours"](), want)
        speedups.append(theirs_ms / ours_ms)
        errors.append(error)
        print(
            f"{level:5.0f} {ours_ms:10.2f} {theirs_ms:10.2f} {speedups[-1]:7.1f}x {error:13.1e} "
            f"{relative_error(runs['theirs'](), want):12.1e}"
        )
    good = min(speedups) >= LEAST_SPEEDUP and max(errors) <= MOST_ERROR
    print(f"lowest speedup {min(speedups):.1f}x (takes {LEAST_SPEEDUP:g}x), largest error {max(errors):.1e}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
