r"""Samplers: from noise to data along a rising grid of log-SNRs, with any denoiser.

Each sampler is a generator of :class:`State`, so whoever iterates owns the plotting and the logging, and
:func:`sample` runs one to its end. All start from z ~ N(0, I) at λ_1, take one step for each pair of neighbours in the
grid, and end with the clean estimate x̂ at λ_T, as Algorithm 2 of Ho & Salimans 2022 does.

==============  ============================================================  =====  =================
``ancestral``   the reverse process itself, a random step at each level       1      T evaluations
``ddim``        the probability-flow ODE, Euler in σ/α                        1      T
``heun``        the same ODE, trapezoidal                                     2      2T − 1
``dpm++2m``     the same ODE, exponential two-step multistep                  2      T
==============  ============================================================  =====  =================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from . import _checks
from .logsnr import log_alpha_sigma
from .prediction import NULL, Denoiser, Prediction
from .process import _reverse

__all__ = [
    "Method",
    "State",
    "ancestral",
    "ddim",
    "dpmpp_2m",
    "heun",
    "initial_noise",
    "sample",
    "trajectory",
]

Method = Literal["ancestral", "ddim", "heun", "dpm++2m"]


@dataclass(frozen=True, eq=False)
class State:
    """One stop of a sampler.

    Attributes:
        step: 0 … T; T is the end.
        logsnr: the level λ that ``z`` stands at; +inf at the end.
        z: the samples there, (b, \\*d); at the end the clean estimate.
        prediction: what the denoiser said here (at the end: at the last level).
    """

    step: int
    logsnr: Tensor
    z: Tensor
    prediction: Prediction


def initial_noise(
    shape: Sequence[int],
    generator: Generator | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """z ~ N(0, I) at λ_min: where every sampler starts. ``shape`` is (b, \\*d)."""
    if device is None and generator is not None:
        device = generator.device
    return torch.randn(tuple(shape), generator=generator, device=device, dtype=dtype)


def _start(z: Tensor, grid: Tensor, y: Tensor | int | None) -> tuple[Tensor, Tensor | None]:
    _checks.finite("z", z)
    grid = _checks.rising("grid", grid).to(z)
    if y is not None:
        y = y if isinstance(y, Tensor) else torch.tensor(y)
        if y.is_floating_point() or y.ndim > 1 or (y.ndim == 1 and len(y) != len(z)):
            raise ValueError(
                f"y: got {y.dtype} of shape {tuple(y.shape)}, takes one integer class a sample, ({len(z)},)"
            )
        if bool((y < NULL).any()):
            raise ValueError(f"y: got class {int(y.min())}, takes classes from 0, or {NULL} for none")
        y = y.to(z.device, torch.int64).expand(len(z))
    return grid, y


def _end(steps: int, z: Tensor, pred: Prediction) -> State:
    return State(steps, z.new_tensor(float("inf")), pred.x, pred)


def ancestral(
    denoiser: Denoiser,
    z: Tensor,
    grid: Tensor,
    y: Tensor | int | None = None,
    *,
    v: float = 0.3,
    generator: Generator | None = None,
) -> Iterator[State]:
    """The ancestral sampler: z' ~ N(μ̃(z, x̂), (σ̃²)^{1−v} (σ²_{λ|λ'})^v), the last step returns x̂.

    Args:
        denoiser: any denoiser, guided or not.
        z: N(0, I) samples at the grid's first level, (b, \\*d).
        grid: rising levels, (T,).
        y: classes, (b,), one int for all, or None.
        v: where the variance lies between its lower (0) and upper (1) bound, in log space.
        generator: source of randomness, on z's device.

    Yields:
        T + 1 states.

    Raises:
        ValueError: ``v`` outside [0, 1], a grid that does not rise, NaN, or labels that do not fit.

    Source: Ho & Salimans 2022, Algorithm 2.
    """
    v = _checks.unit_interval("v", v)
    grid, y = _start(z, grid, y)
    for step, lam in enumerate(grid):
        pred = denoiser(z, lam, y)
        yield State(step, lam, z, pred)
        if step + 1 < len(grid):
            mean, log_var = _reverse(z, pred.x, lam, grid[step + 1], v)
            noise = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
            z = mean + (0.5 * log_var).exp() * noise
    yield _end(len(grid), z, pred)


def ddim(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | int | None = None) -> Iterator[State]:
    """DDIM: z' = α' x̂ + σ' ε̂, the exact Euler step of the probability-flow ODE in σ/α. First order.

    Arguments, states and errors as in :func:`ancestral`.

    Source: Song, Meng & Ermon 2021, eq. 12 with η = 0.
    """
    grid, y = _start(z, grid, y)
    log_alpha, log_sigma = log_alpha_sigma(grid)
    for step, lam in enumerate(grid):
        pred = denoiser(z, lam, y)
        yield State(step, lam, z, pred)
        if step + 1 < len(grid):
            z = log_alpha[step + 1].exp() * pred.x + log_sigma[step + 1].exp() * pred.eps
    yield _end(len(grid), z, pred)


def heun(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | int | None = None) -> Iterator[State]:
    """Heun's method on the probability-flow ODE d(z/α)/d(σ/α) = ε̂. Second order, two evaluations a step.

    Arguments, states and errors as in :func:`ancestral`.

    Source: Karras et al. 2022, Algorithm 1.
    """
    grid, y = _start(z, grid, y)
    log_alpha, log_sigma = log_alpha_sigma(grid)
    alpha, sigma = log_alpha.exp(), log_sigma.exp()
    pred = denoiser(z, grid[0], y)
    for step, lam in enumerate(grid[:-1]):
        yield State(step, lam, z, pred)
        eps = pred.eps
        euler = alpha[step + 1] * pred.x + sigma[step + 1] * eps
        ahead = denoiser(euler, grid[step + 1], y)
        # Replacing ε̂ by the mean of both ends moves the Euler point by (σ' − α'σ/α)(ε̂' − ε̂)/2.
        slope = sigma[step + 1] * -torch.expm1((grid[step + 1] - lam) / 2)
        z = euler + 0.5 * slope * (ahead.eps - eps)
        pred = denoiser(z, grid[step + 1], y)
    yield State(len(grid) - 1, grid[-1], z, pred)
    yield _end(len(grid), z, pred)


def dpmpp_2m(denoiser: Denoiser, z: Tensor, grid: Tensor, y: Tensor | int | None = None) -> Iterator[State]:
    """DPM-Solver++(2M): exponential integrator in x̂, extrapolated from two levels. Second order, one evaluation a step.

    With few steps it wants a grid about even in λ, such as ``Uniform.grid``: where a step is much longer than the one
    before, as at the ends of the cosine grid, the extrapolation overshoots.

    Arguments, states and errors as in :func:`ancestral`.

    Source: Lu et al. 2022b, Algorithm 2. Their λ is half of ours.
    """
    grid, y = _start(z, grid, y)
    log_alpha, log_sigma = log_alpha_sigma(grid)
    x_before: Tensor | None = None
    for step, lam in enumerate(grid):
        pred = denoiser(z, lam, y)
        yield State(step, lam, z, pred)
        if step + 1 < len(grid):
            x = pred.x
            target = x
            if x_before is not None:
                ratio = (grid[step + 1] - lam) / (lam - grid[step - 1])
                target = x + 0.5 * ratio * (x - x_before)
            keep = (log_sigma[step + 1] - log_sigma[step]).exp()
            fill = log_alpha[step + 1].exp() * -torch.expm1((lam - grid[step + 1]) / 2)
            z = keep * z + fill * target
            x_before = x
    yield _end(len(grid), z, pred)


_SAMPLERS = {"ddim": ddim, "heun": heun, "dpm++2m": dpmpp_2m}


def trajectory(
    denoiser: Denoiser,
    z: Tensor,
    grid: Tensor,
    y: Tensor | int | None = None,
    *,
    method: Method = "ancestral",
    v: float = 0.3,
    generator: Generator | None = None,
) -> Iterator[State]:
    """The states of the sampler called ``method``; ``v`` and ``generator`` matter to ``"ancestral"`` alone.

    Raises:
        ValueError: unknown ``method``, or as in :func:`ancestral`.
    """
    if method == "ancestral":
        return ancestral(denoiser, z, grid, y, v=v, generator=generator)
    if method not in _SAMPLERS:
        raise ValueError(f"method: got {method!r}, takes one of {', '.join(map(repr, get_args(Method)))}")
    return _SAMPLERS[method](denoiser, z, grid, y)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    y: Tensor | int | None = None,
    *,
    shape: Sequence[int],
    grid: Tensor,
    method: Method = "ancestral",
    v: float = 0.3,
    generator: Generator | None = None,
    z: Tensor | None = None,
    progress: bool = False,
) -> Tensor:
    """Draw samples: run a sampler from noise to the end and return x, (b, \\*d).

    Args:
        denoiser: any denoiser, guided or not.
        y: classes, (b,) int64, one int for all, or None.
        shape: of the result, (b, \\*d), the batch included.
        grid: rising levels, (T,); its dtype and device are the result's. See ``Schedule.grid``.
        method: ``"ancestral"``, ``"ddim"``, ``"heun"`` or ``"dpm++2m"``.
        v: of the ancestral sampler, in [0, 1].
        generator: source of all randomness; the same seed gives the same samples.
        z: the starting noise, (b, \\*d); drawn when absent.
        progress: show a tqdm bar.

    Raises:
        ValueError: unknown ``method``, a shape that does not match ``y`` or ``z``, or as in :func:`ancestral`.

    Source: Ho & Salimans 2022, Algorithm 2.
    """
    grid = _checks.rising("grid", grid)
    shape = tuple(shape) if isinstance(shape, Iterable) else ()
    if len(shape) < 1 or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"shape: got {shape}, takes positive integers (b, *d), the batch first")
    if isinstance(y, Tensor) and y.ndim == 1 and len(y) != shape[0]:
        raise ValueError(
            f"shape: got {shape} for {len(y)} classes in y, takes ({len(y)}, *d), the batch first"
        )
    if z is None:
        z = initial_noise(shape, generator, grid.device, grid.dtype)
    elif tuple(_checks.tensor("z", z).shape) != shape:
        raise ValueError(f"z: got shape {tuple(z.shape)}, takes shape = {shape}")
    states: Iterable[State] = trajectory(denoiser, z, grid, y, method=method, v=v, generator=generator)
    if progress:
        from tqdm.auto import tqdm

        states = tqdm(states, total=len(grid) + 1, desc=method, leave=False)
    return deque(states, maxlen=1).pop().z
