"""Denoisers of this package in diffusers' pipelines, saved as its models, and back again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from cfgtoy import NetDenoiser, artifacts, datasets, guidance, samplers
from cfgtoy.nets import MLP

diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
from cfgtoy.adapters.diffusers import DenoiserModel, from_diffusers, grid_from, to_diffusers  # noqa: E402

COSINE = {"beta_schedule": "squaredcos_cap_v2"}
W = 2.0


def run(pipeline, steps: int = 10, batch: int = 2, **options) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    seed = Generator().manual_seed(3)
    return pipeline(
        batch_size=batch, num_inference_steps=steps, generator=seed, output_type="np", **options
    ).images


def as_images(x: Tensor) -> np.ndarray:
    """What a pipeline makes of samples."""
    return (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def digits():
    return artifacts.load_denoiser("digits")


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_ddim_pipeline(digits, prediction_type):
    scheduler = diffusers.DDIMScheduler(**COSINE, clip_sample=False, prediction_type=prediction_type)
    guided = guidance.classifier_free(digits, w=W)
    got = run(diffusers.DDIMPipeline(to_diffusers(guided, scheduler, 3), scheduler))
    scheduler.set_timesteps(10)
    z = torch.randn(2, 1, 8, 8, generator=Generator().manual_seed(3))
    x = samplers.sample(guided, 3, shape=z.shape, z=z, grid=grid_from(scheduler), method="ddim")
    np.testing.assert_allclose(got, as_images(x), atol=1e-5)


def test_ddpm_pipeline(digits):
    scheduler = diffusers.DDPMScheduler(**COSINE, clip_sample=False, prediction_type="v_prediction")
    guided = guidance.apg(digits, w=W)
    got = run(diffusers.DDPMPipeline(to_diffusers(guided, scheduler, torch.tensor([3, 7])), scheduler))
    scheduler.set_timesteps(10)
    seed = Generator().manual_seed(3)
    z = torch.randn(2, 1, 8, 8, generator=seed)
    y = torch.tensor([3, 7])
    x = samplers.sample(guided, y, shape=z.shape, z=z, grid=grid_from(scheduler), v=0.0, generator=seed)
    np.testing.assert_allclose(got, as_images(x), atol=1e-4)  # its variances are float32 differences


def test_dpm_solver_in_a_pipeline(digits):
    scheduler = diffusers.DPMSolverMultistepScheduler(**COSINE, prediction_type="v_prediction")
    guided = guidance.classifier_free(digits, w=W)
    got = run(diffusers.DDPMPipeline(to_diffusers(guided, scheduler, 3), scheduler))
    scheduler.set_timesteps(10)
    z = torch.randn(2, 1, 8, 8, generator=Generator().manual_seed(3))
    levels = torch.logit(scheduler.alphas_cumprod.double()).float()
    for t in scheduler.timesteps:
        z = scheduler.step(guided(z, levels[t], torch.tensor([3, 3])).v.detach(), t, z).prev_sample
    np.testing.assert_allclose(got, as_images(z), atol=1e-5)


def test_a_mixture_in_a_pipeline_and_in_a_flow_loop():
    mixture = datasets.three_gaussians()
    guided = guidance.classifier_free(mixture, w=1.0)
    scheduler = diffusers.DDIMScheduler(**COSINE, clip_sample=False)
    model = to_diffusers(guided, scheduler, 1)
    assert (model.config.in_channels, list(model.config.sample_size)) == (2, [1, 1])
    got = run(diffusers.DDIMPipeline(model, scheduler), batch=3)
    scheduler.set_timesteps(10)
    z = torch.randn(3, 2, 1, 1, generator=Generator().manual_seed(3))
    x = samplers.sample(guided, 1, shape=(3, 2), z=z.flatten(1), grid=grid_from(scheduler), method="ddim")
    np.testing.assert_allclose(got, as_images(x[..., None, None]), atol=1e-5)

    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    flow.set_timesteps(10)
    model, x = to_diffusers(guided, flow, 1), z.flatten(1)
    for t in flow.timesteps:
        x = flow.step(model(x, t, return_dict=False)[0], t, x).prev_sample
    want = samplers.sample(guided, 1, shape=(3, 2), z=z.flatten(1), grid=grid_from(flow), method="ddim")
    torch.testing.assert_close(x, want, rtol=1e-5, atol=1e-5)


def test_there_and_back_again(digits):
    scheduler = diffusers.DDIMScheduler(**COSINE, prediction_type="v_prediction")
    model = to_diffusers(digits, scheduler, 5)
    back = from_diffusers(model, scheduler)
    z = torch.randn(4, 1, 8, 8)
    levels = torch.logit(scheduler.alphas_cumprod.double())[[10, 400, 800]]
    for lam in levels.float():
        torch.testing.assert_close(back(z, lam).v, digits(z, lam, torch.tensor(5)).v, rtol=1e-4, atol=1e-4)


def test_a_model_without_weights_is_a_denoiser_too():
    mixture = datasets.three_gaussians()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    back = from_diffusers(to_diffusers(mixture, scheduler, 2), scheduler)
    z, lam = torch.randn(5, 2, 1, 1), torch.tensor(0.5)
    want = mixture(z.flatten(1), lam, torch.tensor(2).expand(5)).flow
    torch.testing.assert_close(back(z, lam).flow.flatten(1), want, rtol=1e-5, atol=1e-5)


def test_saved_and_loaded(digits, tmp_path):
    scheduler = diffusers.DPMSolverMultistepScheduler(**COSINE, prediction_type="v_prediction")
    model = to_diffusers(digits, scheduler, 3)
    model.save_pretrained(tmp_path / "model")
    again = DenoiserModel.from_pretrained(tmp_path / "model")
    z = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(again(z, 500).sample, model(z, 500).sample)
    pipeline = diffusers.DDPMPipeline(model, scheduler)
    pipeline.save_pretrained(tmp_path / "pipeline")
    np.testing.assert_allclose(
        run(diffusers.DDPMPipeline.from_pretrained(tmp_path / "pipeline")), run(pipeline), atol=1e-5
    )


def test_a_small_network_is_saved_too(tmp_path):
    net = MLP(dim=2, num_classes=3, width=16, depth=1)
    torch.nn.init.normal_(net.leave.weight)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    model = to_diffusers(NetDenoiser(net, "v"), scheduler, [0, 2])
    model.save_pretrained(tmp_path)
    z = torch.randn(2, 2)
    again = DenoiserModel.from_pretrained(tmp_path)
    torch.testing.assert_close(again(z, torch.tensor(300.0)).sample, model(z, torch.tensor(300.0)).sample)


def test_moving_the_model_moves_the_networks_inside(digits):
    scheduler = diffusers.DDIMScheduler(**COSINE)
    worse = artifacts.load_denoiser("digits")
    model = to_diffusers(
        guidance.interval(guidance.auto(digits, worse, w=1.0), digits, lo=-3, hi=3), scheduler, 3
    )
    held = {id(p) for p in model.parameters()}
    assert {id(p) for p in digits.net.parameters()} | {id(p) for p in worse.net.parameters()} == held


def test_what_has_no_file(digits, tmp_path):
    scheduler = diffusers.DDIMScheduler()
    for denoiser in (guidance.classifier_free(digits, w=1.0), datasets.three_gaussians()):
        with pytest.raises(
            ValueError, match=r"^denoiser: got .*save_pretrained takes a NetDenoiser around a"
        ):
            to_diffusers(denoiser, scheduler, 0).save_pretrained(tmp_path)


def test_what_is_refused(digits):
    scheduler = diffusers.DDIMScheduler()
    with pytest.raises(ValueError, match=r"^scheduler: got NoneType"):
        to_diffusers(digits, None, 0)
    with pytest.raises(ValueError, match=r"^scheduler: got prediction_type='noise'"):
        to_diffusers(digits, diffusers.DDIMScheduler(prediction_type="noise"), 0)
    with pytest.raises(ValueError, match=r"^denoiser: got int"):
        to_diffusers(3, scheduler, 0)
    with pytest.raises(ValueError, match=r"^shape: got None, takes that of one sample"):
        to_diffusers(lambda z, logsnr, y=None: None, scheduler, 0)
    with pytest.raises(ValueError, match=r"^shape: got \(1, 2\)"):
        to_diffusers(digits, scheduler, 0, shape=(1, 2))
    for y in (1.5, "cat", [0.5], torch.tensor(0.5)):
        with pytest.raises(ValueError, match=r"^y: got"):
            to_diffusers(digits, scheduler, y)
