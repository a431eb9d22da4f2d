"""Another library's schedulers as oracles: whole trajectories of diffusers on an exact mixture, step for step.

``diffusers`` is optional; without it this module is skipped. Its schedulers hold ᾱ in float32, so levels are read from
them and everything else is float64. Their clipping of x̂ is turned off.
"""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from cfgtoy import datasets, guidance, logsnr, samplers

diffusers = pytest.importorskip("diffusers", reason="needs diffusers")

F64 = torch.float64
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def levels(scheduler) -> torch.Tensor:
    return logsnr.from_alpha_bar(scheduler.alphas_cumprod.double()[scheduler.timesteps.long()])


def denoiser():
    return guidance.classifier_free(datasets.overlapping(F64), w=1.0)


def run(scheduler, kind: str, z: torch.Tensor, y: torch.Tensor, **step) -> list[torch.Tensor]:
    path = [z]
    model = denoiser()
    for t, lam in zip(scheduler.timesteps, levels(scheduler), strict=True):
        z = scheduler.step(model(z, lam, y).as_kind(kind), t, z, **step).prev_sample
        path.append(z)
    return path


KINDS = {"epsilon": "eps", "v_prediction": "v", "sample": "x"}


@pytest.mark.parametrize("prediction_type", list(KINDS))
@pytest.mark.parametrize(("variance_type", "v"), [("fixed_small", 0.0), ("fixed_large", 1.0)])
@pytest.mark.parametrize("steps", [10, 50])
def test_ancestral_is_ddpm(prediction_type, variance_type, v, steps):
    scheduler = diffusers.DDPMScheduler(
        **SCHEDULE, clip_sample=False, prediction_type=prediction_type, variance_type=variance_type
    )
    scheduler.set_timesteps(steps)
    z = torch.randn(20, 2, generator=Generator().manual_seed(0), dtype=F64)
    y = torch.arange(20) % 2
    theirs = run(scheduler, KINDS[prediction_type], z, y, generator=Generator().manual_seed(1))
    ours = samplers.ancestral(denoiser(), z, levels(scheduler), y, v=v, generator=Generator().manual_seed(1))
    for state, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(state.z, want.double(), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("prediction_type", list(KINDS))
@pytest.mark.parametrize("steps", [10, 50])
def test_ddim_is_ddim(prediction_type, steps):
    scheduler = diffusers.DDIMScheduler(**SCHEDULE, clip_sample=False, prediction_type=prediction_type)
    scheduler.set_timesteps(steps)
    z = torch.randn(20, 2, generator=Generator().manual_seed(0), dtype=F64)
    y = torch.arange(20) % 2
    theirs = run(scheduler, KINDS[prediction_type], z, y, eta=0.0)
    for state, want in zip(samplers.ddim(denoiser(), z, levels(scheduler), y), theirs, strict=True):
        torch.testing.assert_close(state.z, want.double(), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("steps", [10, 50])
def test_dpmpp_2m_is_dpm_solver(steps):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **SCHEDULE,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=False,
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(steps)
    z = torch.randn(20, 2, generator=Generator().manual_seed(0), dtype=F64)
    y = torch.arange(20) % 2
    theirs = run(scheduler, "eps", z, y)
    for state, want in zip(samplers.dpmpp_2m(denoiser(), z, levels(scheduler), y), theirs, strict=True):
        torch.testing.assert_close(state.z, want.double(), rtol=1e-3, atol=1e-3)
