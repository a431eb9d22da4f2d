r"""What a diffusers scheduler says of its model: which number stands for which log-SNR, and what the output means.

Most of its schedulers hold DDPM's ᾱ for N training steps, so λ_k = log ᾱ_k − log(1 − ᾱ_k) at timestep k, and the model
is called with z itself, whatever the scheduler carries from step to step (Euler's carries z/α and divides it again).
Flow-matching schedulers hold t instead: z_t = (1 − t) x + t ε is z/(α + σ) at λ = 2 log((1 − t)/t), and the model is
called with N t.
"""

from typing import Any

import torch
from torch import Tensor

from ... import _checks
from ...logsnr import flow_time, from_flow_time
from ...prediction import Kind

_KINDS: dict[str, Kind] = {"epsilon": "eps", "v_prediction": "v", "sample": "x", "flow_prediction": "flow"}
_NOISE = -1000.0  # stands for λ = −inf, a level without signal, where one has to interpolate


class Levels:
    """A scheduler, read: the ``kind`` its model estimates, and whether that is ``flow``, at z_t = (1 − t) x + t ε.

    Raises ``ValueError``: not a scheduler of diffusers' with ``alphas_cumprod`` nor a flow-matching one, or a
    prediction type that is not known.
    """

    def __init__(self, scheduler: Any) -> None:
        config: Any = getattr(scheduler, "config", None)
        flow_matching = any("FlowMatch" in c.__name__ for c in type(scheduler).__mro__)
        known = config is not None and (flow_matching or hasattr(scheduler, "alphas_cumprod"))
        takes = "a scheduler of diffusers with alphas_cumprod (DDPM, DDIM, Euler, …) or a flow-matching one"
        _checks.require(known, "scheduler", type(scheduler).__name__, takes)
        kind = "flow_prediction" if flow_matching else config.get("prediction_type", "epsilon")
        takes = f"one of {', '.join(map(repr, _KINDS))}"
        _checks.require(kind in _KINDS, "scheduler", f"prediction_type={kind!r}", takes)
        takes = "one whose noise falls as it goes, invert_sigmas=False"
        _checks.require(not config.get("invert_sigmas"), "scheduler", "invert_sigmas=True", takes)
        self.scheduler = scheduler
        self.kind: Kind = _KINDS[kind]
        self.flow = self.kind == "flow"
        self._steps = int(config["num_train_timesteps"])
        # EDM's way of telling a model the level: log(σ/α)/4
        self._continuous = config.get("timestep_type") == "continuous" and self.kind == "v"

    def timestep(self, logsnr: Tensor) -> Tensor:
        """The number by which the model knows λ, any shape; beyond its levels that of the nearest.

        At each level that the scheduler is about to visit it is the scheduler's own, which some round; elsewhere that
        of training, between two steps interpolated in λ.
        """
        lam = logsnr.double().clamp(min=_NOISE)
        levels, steps = self._visited()
        return _at(lam, levels, steps, self._trained_step(lam), 2e-6).float()

    def logsnr(self, timestep: Tensor) -> Tensor:
        """λ at the number ``timestep``, any shape, in float64: the inverse of :meth:`timestep`."""
        t = timestep.double()
        if self.flow:
            lam = from_flow_time(t / self._steps)
        elif self._continuous:
            lam = -8 * t
        else:
            lam = _interpolate(t, torch.arange(self._steps, dtype=torch.float64), self._levels)
        levels, steps = self._visited()
        lam = _at(t, steps, levels, lam, 1e-6)
        return torch.where(lam > _NOISE, lam, -torch.inf)

    def _trained_step(self, lam: Tensor) -> Tensor:
        if self.flow:
            return self._steps * flow_time(lam)
        if self._continuous:
            return -lam / 8
        t = _interpolate(lam, self._levels, torch.arange(self._steps, dtype=torch.float64))
        # float32 rounds λ; a step is a whole number and some embeddings look it up
        return torch.where((t - t.round()).abs() < 1e-3, t.round(), t)

    @property
    def _levels(self) -> Tensor:
        """λ of the training steps, (N,), the noisiest last."""
        return torch.logit(self.scheduler.alphas_cumprod.double().cpu()).clamp(min=_NOISE)

    def _visited(self) -> tuple[Tensor, Tensor]:
        """Levels and steps of a scheduler that has σ's of its own and has been told its number of steps, else none."""
        if not hasattr(self.scheduler, "sigmas") or not getattr(self.scheduler, "num_inference_steps", None):
            return torch.zeros(0), torch.zeros(0)
        steps = self.scheduler.timesteps.double().cpu()
        levels = self.of_sigmas().clamp(min=_NOISE)
        # Two-stage schedulers list the stages otherwise.
        fits = (self._trained_step(levels) - steps).abs() <= 1
        return levels[fits], steps[fits]

    def of_sigmas(self) -> Tensor:
        """λ of the scheduler's own σ's at its steps, noise first, in float64."""
        sigma = torch.as_tensor(self.scheduler.sigmas)[: len(self.scheduler.timesteps)].double().cpu()
        return from_flow_time(sigma) if self.flow else -2 * sigma.log()


def _interpolate(at: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """The piecewise linear function through the points (xs, ys), xs rising or falling, flat outside."""
    if xs[0] > xs[-1]:
        xs, ys = xs.flip(0), ys.flip(0)
    xs, ys = xs.to(at.device), ys.to(at.device)
    right = torch.searchsorted(xs, at.contiguous()).clamp(1, len(xs) - 1)
    share = ((at - xs[right - 1]) / (xs[right] - xs[right - 1])).clamp(0, 1)
    return ys[right - 1].lerp(ys[right], share)


def _at(at: Tensor, xs: Tensor, ys: Tensor, otherwise: Tensor, tolerance: float) -> Tensor:
    """ys where ``at`` is one of xs, up to a relative ``tolerance``."""
    if not len(xs):
        return otherwise
    gap, nearest = (at[..., None] - xs.to(at.device)).abs().min(-1)
    return torch.where(gap <= tolerance * (1 + at.abs()), ys.to(at.device)[nearest], otherwise)


def grid_from(scheduler: Any, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """The rising log-SNRs at which a scheduler asks its model, (T,): a grid for :mod:`cfgtoy.samplers`.

    Call ``scheduler.set_timesteps(…)`` first; before that the levels are all those of training. The levels are read
    from its σ's where it has them and from ᾱ otherwise. Noise without any signal (t = 1 in flow matching, zero
    terminal SNR) is λ = −inf, which stands first.

    Our samplers end with the estimate x̂ at the last level; so do diffusers' whose last σ is zero.

    Args:
        scheduler: one of diffusers' schedulers with ``alphas_cumprod``, or a flow-matching one.
        dtype: of the grid.

    Raises ``ValueError``: another scheduler.
    Source: diffusers, ``schedulers``; Lin et al. 2023 (zero terminal SNR).
    """
    levels = Levels(scheduler)
    if hasattr(scheduler, "sigmas"):
        return levels.of_sigmas().to(dtype).unique()
    alpha_bar = scheduler.alphas_cumprod.double().cpu()[scheduler.timesteps.cpu().long()]
    return torch.logit(alpha_bar).to(dtype).unique()
