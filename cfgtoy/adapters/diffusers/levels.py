r"""What a diffusers scheduler says of its model: which number stands for which log-SNR, and what the output means.

Most of its schedulers hold DDPM's ᾱ for N training steps, so λ_k = log ᾱ_k − log(1 − ᾱ_k) at timestep k, and the model
is called with z itself, whatever the scheduler carries from step to step (Euler's carries z/α and divides it again).
Flow-matching schedulers hold t instead: z_t = (1 − t) x + t ε is z/(α + σ) at λ = 2 log((1 − t)/t), and the model is
called with N t.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...prediction import Kind

__all__ = ["Levels", "grid_from"]

_KINDS: dict[str, Kind] = {"epsilon": "eps", "v_prediction": "v", "sample": "x", "flow_prediction": "flow"}
_BELOW = 20.0  # λ = −inf, a terminal level without signal, stands this far below the last finite one


class Levels:
    """A scheduler, read.

    Args:
        scheduler: one of diffusers' schedulers with ``alphas_cumprod``, or a flow-matching one.

    Attributes:
        kind: what the model estimates.
        flow: whether the model lives at z_t = (1 − t) x + t ε.

    Raises:
        ValueError: another scheduler, or a prediction type that is not known.
    """

    def __init__(self, scheduler: Any) -> None:
        config = getattr(scheduler, "config", None)
        flow_matching = any("FlowMatch" in c.__name__ for c in type(scheduler).__mro__)
        if config is None or not (flow_matching or hasattr(scheduler, "alphas_cumprod")):
            raise ValueError(
                f"scheduler: got {type(scheduler).__name__}, takes one of diffusers' schedulers with alphas_cumprod "
                "(DDPM, DDIM, Euler, DPM-Solver and their like) or a flow-matching one"
            )
        prediction_type = "flow_prediction" if flow_matching else config.get("prediction_type", "epsilon")
        if prediction_type not in _KINDS:
            raise ValueError(
                f"scheduler: got prediction_type={prediction_type!r}, takes one of {', '.join(map(repr, _KINDS))}"
            )
        if config.get("invert_sigmas"):
            raise ValueError(
                "scheduler: got invert_sigmas=True, takes one whose noise falls as it goes, invert_sigmas=False"
            )
        self.scheduler = scheduler
        self.kind: Kind = _KINDS[prediction_type]
        self.flow = self.kind == "flow"
        self._steps = int(config["num_train_timesteps"])
        # EDM's way of telling a model the level: log(σ/α)/4
        self._continuous = config.get("timestep_type") == "continuous" and self.kind == "v"

    def timestep(self, logsnr: Tensor) -> Tensor:
        """The number by which the model knows λ, any shape; beyond its levels that of the nearest.

        It is the scheduler's own at each level that it will visit, and between training steps interpolated in λ.
        """
        lam = logsnr.double()
        if self.flow:
            t = self._steps * torch.sigmoid(-lam / 2)
        elif self._continuous:
            t = -lam / 8
        else:
            levels, steps = self._pairs()
            floor = levels[levels.isfinite()].min() - _BELOW
            t = _interpolate(lam.clamp(min=floor.item()), levels.clamp(min=floor), steps)
            # float32 rounds λ; a step is a whole number and some embeddings look it up
            t = torch.where((t - t.round()).abs() < 1e-3, t.round(), t)
        return t.float()

    def logsnr(self, timestep: Tensor) -> Tensor:
        """λ at the number ``timestep``, any shape, in float64: the inverse of :meth:`timestep`."""
        t = timestep.double()
        if self.flow:
            return _flow_logsnr(t / self._steps)
        if self._continuous:
            return -8 * t
        levels, steps = self._pairs()
        floor = levels[levels.isfinite()].min() - _BELOW
        lam = _interpolate(t, steps, levels.clamp(min=floor))
        return torch.where(lam > floor.item(), lam, -torch.inf)

    def _pairs(self) -> tuple[Tensor, Tensor]:
        """Levels and steps that belong together, float64: those of training, and those the scheduler will visit."""
        alpha_bar = self.scheduler.alphas_cumprod.double().cpu()
        levels, steps = torch.logit(alpha_bar), torch.arange(len(alpha_bar), dtype=torch.float64)
        # A scheduler with σ's of its own pairs them with its timesteps (and may round these); its word counts.
        if hasattr(self.scheduler, "sigmas") and getattr(self.scheduler, "num_inference_steps", None):
            visited = self.scheduler.timesteps.double().cpu()
            theirs = -2 * self.scheduler.sigmas[: len(visited)].double().cpu().log()
            near = (_interpolate(visited, steps, levels.clamp(min=-1e3)) - theirs).abs() < 1.0
            levels, steps = torch.cat([theirs[near], levels]), torch.cat([visited[near], steps])
        return levels, steps


def _flow_logsnr(t: Tensor) -> Tensor:
    """λ = 2 log((1 − t)/t): −inf at t = 1, inf at t = 0."""
    return 2 * (torch.log1p(-t) - t.log())


def _interpolate(at: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """The piecewise linear function through the points (xs, ys), the first of those at one x; flat outside."""
    xs, order = xs.sort(stable=True)
    first = torch.cat([torch.ones(1, dtype=torch.bool), xs.diff() > 0])
    xs, ys = xs[first].to(at.device), ys[order][first].to(at.device)
    right = torch.searchsorted(xs, at.contiguous()).clamp(1, len(xs) - 1)
    share = ((at - xs[right - 1]) / (xs[right] - xs[right - 1])).clamp(0, 1)
    return ys[right - 1].lerp(ys[right], share)


def grid_from(scheduler: Any, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """The rising log-SNRs at which a scheduler asks its model, (T,): a grid for :mod:`cfgtoy.samplers`.

    Call ``scheduler.set_timesteps(…)`` first; before that the levels are all those of training. The levels are read
    from its σ's where it has them and from ᾱ otherwise. Noise without any signal (t = 1 in flow matching, zero
    terminal SNR) is λ = −inf, which stands first.

    Our samplers end with the estimate x̂ at the last level; so do diffusers' whose last σ is zero.

    Args:
        scheduler: one of diffusers' schedulers with ``alphas_cumprod``, or a flow-matching one.
        dtype: of the grid.

    Raises:
        ValueError: another scheduler.

    Source: diffusers, ``schedulers``; Lin et al. 2023 (zero terminal SNR).
    """
    levels = Levels(scheduler)
    steps = scheduler.timesteps
    if hasattr(scheduler, "sigmas"):
        sigma = torch.as_tensor(scheduler.sigmas)[: len(steps)].double().cpu()
        lam = _flow_logsnr(sigma) if levels.flow else -2 * sigma.log()
    else:
        lam = torch.logit(scheduler.alphas_cumprod.double().cpu()[steps.cpu().long()])
    return lam.to(dtype).unique()
