"""The table of samplers, and :func:`sample`, which runs any of them."""

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Generator, Tensor

from .. import _checks
from ..prediction import Denoiser
from ..schedules import RectifiedFlow, Schedule
from .ode import ddim, dpmpp_2m, heun
from .sde import ancestral, langevin
from .state import Noise, State, checked_shape, source


@dataclass(frozen=True)
class Sampler:
    """What there is to know of a sampler. One entry of :data:`SAMPLERS` makes it available everywhere.

    Attributes:
        name, run: what ``method=`` calls it, and ``run(denoiser, z, grid, y, ...)``, a generator of states; of ``v``,
            ``generator`` and ``noise`` it gets those that its signature names.
        order: of convergence in T (of the samples' moments, where it draws noise).
        evaluations, stochastic: of the denoiser, by the number of levels T; whether it draws noise on the way.
        levels: the schedule, by its two ends, that spreads its levels where no grid is given.
    """

    name: str
    run: Callable[..., Iterator[State]]
    order: float
    evaluations: Callable[[int], int]
    stochastic: bool = False
    levels: Callable[[float, float], Schedule] = RectifiedFlow

    def grid(
        self,
        steps: int,
        *,
        within: Schedule | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Rising levels that suit this sampler, (steps,): from −10 to 12, or as much of that as ``within`` covers.

        Raises ``ValueError`` unless ``steps`` is a positive integer.
        """
        lo, hi = (-10.0, 12.0) if within is None else (max(-10.0, within.lo), min(12.0, within.hi))
        return self.levels(lo, hi).grid(steps, device=device, dtype=dtype)


SAMPLERS: dict[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        Sampler("ancestral", ancestral, order=1, evaluations=lambda t: t, stochastic=True),
        Sampler("ddim", ddim, order=1, evaluations=lambda t: t),
        Sampler("heun", heun, order=2, evaluations=lambda t: 2 * t - 1),
        Sampler("dpm++2m", dpmpp_2m, order=2, evaluations=lambda t: t),
        Sampler("langevin", langevin, order=0.5, evaluations=lambda t: 5 * t - 4, stochastic=True),
    )
}
"""The samplers by name. All spread their levels evenly in t of the straight path: of the schedules here that had the
smallest errors over the gallery, guided and not, from 8 levels to 80."""

if TYPE_CHECKING:
    Method = str
else:
    Method = Literal[tuple(SAMPLERS)]


def _named(method: str) -> Sampler:
    if method not in SAMPLERS:
        raise ValueError(f"method: got {method!r}, takes one of {', '.join(map(repr, SAMPLERS))}")
    return SAMPLERS[method]


def trajectory(
    denoiser: Denoiser,
    z: Tensor,
    grid: Tensor,
    y: Tensor | int | None = None,
    *,
    method: Method = "ancestral",
    v: float = 0.3,
    generator: Generator | None = None,
    noise: Noise | None = None,
) -> Iterator[State]:
    """The states of the sampler called ``method``; ``v``, ``generator`` and ``noise`` matter to those that draw noise.

    Raises ``ValueError`` for an unknown ``method``, or as in :func:`ancestral`.
    """
    run = _named(method).run
    source(generator, noise)
    given = {"v": _checks.unit_interval("v", v), "generator": generator, "noise": noise}
    takes = given.keys() & inspect.signature(run).parameters
    return run(denoiser, z, grid, y, **{name: given[name] for name in takes})


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    y: Tensor | int | None = None,
    *,
    shape: Sequence[int],
    grid: Tensor | None = None,
    steps: int | None = None,
    method: Method = "ancestral",
    v: float = 0.3,
    generator: Generator | None = None,
    noise: Noise | None = None,
    z: Tensor | None = None,
    progress: bool = False,
) -> Tensor:
    """Draw samples: run a sampler from noise to the end and return x, (b, \\*d).

    Args:
        denoiser, y: any denoiser, guided or not; classes, (b,) int64, one int for all, or None.
        shape: of the result, (b, \\*d), the batch included.
        grid: rising levels, (T,); its dtype and device are the result's. See ``Schedule.grid``. When absent, one that
            suits the method, :meth:`Sampler.grid`, within ``denoiser.schedule`` if it has one; in z's dtype or float32,
            and where z, the generator or ``y`` is.
        steps: T when there is no ``grid``; 64 by default.
        method: ``"ancestral"``, ``"ddim"``, ``"heun"``, ``"dpm++2m"`` or ``"langevin"``, a name in :data:`SAMPLERS`.
        v: of the ancestral sampler, in [0, 1].
        generator, noise: source of all randomness, where the same seed gives the same samples; or another one in its
            place, see :data:`Noise`.
        z: the starting noise, (b, \\*d); drawn when absent.
        progress: show a tqdm bar.

    Raises:
        ValueError: unknown ``method``, ``steps`` beside a grid, a shape that does not match ``y`` or ``z``, or as in
            :func:`ancestral`.

    Source: Ho & Salimans 2022, Algorithm 2.
    """
    sampler = _named(method)
    shape = checked_shape(shape, y)
    if z is not None and tuple(_checks.tensor("z", z).shape) != shape:
        raise ValueError(f"z: got shape {tuple(z.shape)}, takes shape = {shape}")
    if grid is None:
        grid = sampler.grid(
            64 if steps is None else steps,
            within=getattr(denoiser, "schedule", None),
            device=next((at.device for at in (z, generator, y) if isinstance(at, Tensor | Generator)), None),
            dtype=torch.float32 if z is None else z.dtype,
        )
    elif steps is not None:
        raise ValueError(f"steps: got {steps!r} beside a grid, takes one of the two")
    grid = _checks.rising("grid", grid)
    if z is None:
        z = source(generator, noise)(grid.new_empty(shape), 0)
    run: Iterable[State]
    run = trajectory(denoiser, z, grid, y, method=method, v=v, generator=generator, noise=noise)
    if progress:
        from tqdm.auto import tqdm

        run = tqdm(run, total=len(grid) + 1, desc=method, leave=False)
    return deque(run, maxlen=1).pop().z
