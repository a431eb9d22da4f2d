"""The rules beside ``diffusers.guiders``, where those follow the papers, and where they do not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cfgtoy import Prediction, guidance
from tests.guidance.pyramid import pyramid_parts

guiders = pytest.importorskip("diffusers.guiders")

F64 = torch.float64
LAM = torch.tensor(0.6, dtype=F64)
W = 3.5  # their scale is s = 1 + w


class Images:
    """Fixed estimates of one kind, shaped like images: what theirs are handed, ours are told."""

    def __init__(self, kind: str, dtype: torch.dtype = F64) -> None:
        self.kind = kind
        self.z, self.cond, self.uncond, self.bad = torch.randn(4, 5, 3, 6, 6, dtype=dtype)

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        known = torch.zeros(len(z), dtype=torch.bool) if y is None else y >= 0
        cond, uncond = self.cond.repeat(len(z) // 5, 1, 1, 1), self.uncond.repeat(len(z) // 5, 1, 1, 1)
        return Prediction(z, logsnr, torch.where(known[:, None, None, None], cond, uncond), self.kind)

    def guided(self, rule: str, w: float = W, **options: object) -> Prediction:
        denoiser = guidance.rule(rule, **options)(self, w=w)
        return denoiser(self.z, LAM.to(self.z), torch.zeros(5, dtype=torch.int64))


def theirs(name: str, first: Tensor, second: Tensor, **options: object) -> Tensor:
    guider = getattr(guiders, name)(**options)
    guider.set_state(step=5, num_inference_steps=10, timestep=torch.tensor(0))
    return guider.forward(first, second).pred


@pytest.mark.parametrize("kind", ["eps", "v", "x", "flow"])
def test_classifier_free(kind):
    images = Images(kind)
    want = theirs("ClassifierFreeGuidance", images.cond, images.uncond, guidance_scale=1 + W)
    torch.testing.assert_close(images.guided("classifier-free").estimate, want)
    want = theirs(
        "ClassifierFreeGuidance",
        images.cond,
        images.uncond,
        guidance_scale=W,
        use_original_formulation=True,
    )
    torch.testing.assert_close(images.guided("classifier-free").estimate, want)


def test_auto():
    images = Images("v")

    def bad(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        return Prediction(z, logsnr, images.bad, "v")

    layers = {"auto_guidance_layers": 0, "dropout": 0.1}
    want = theirs("AutoGuidance", images.cond, images.bad, guidance_scale=1 + W, **layers)
    torch.testing.assert_close(images.guided("auto", bad=bad).estimate, want)


@pytest.mark.parametrize("kind", ["eps", "v", "x", "flow"])
@pytest.mark.parametrize("phi", [0.3, 1.0])
def test_rescale(kind, phi):
    images = Images(kind)
    want = theirs(
        "ClassifierFreeGuidance", images.cond, images.uncond, guidance_scale=1 + W, guidance_rescale=phi
    )
    torch.testing.assert_close(images.guided("rescale", phi=phi).estimate, want)


@pytest.mark.parametrize(("eta", "threshold"), [(0.0, math.inf), (0.3, 2.5), (1.0, 2.5)])
def test_apg(eta, threshold):
    """The paper adds to x_c, and projects x̂; theirs does both if it is told to start at x_c and is handed x̂.

    By default it starts at x_∅ with the scale 1 + w instead, which is another point unless Δ is kept whole; and it
    projects whatever the network puts out, ε or v, on itself.
    """
    images = Images("x")
    options = {
        "eta": eta,
        "adaptive_projected_guidance_rescale": 0.0 if threshold == math.inf else threshold,
    }
    paper = {"guidance_scale": W, "use_original_formulation": True}
    got = images.guided("apg", eta=eta, threshold=threshold).estimate
    want = theirs("AdaptiveProjectedGuidance", images.cond, images.uncond, **paper, **options)
    torch.testing.assert_close(got, want)
    default = theirs("AdaptiveProjectedGuidance", images.cond, images.uncond, guidance_scale=1 + W, **options)
    assert (default - got).norm() > 0.1 * got.norm()
    images = Images("eps")
    by_output = theirs("AdaptiveProjectedGuidance", images.cond, images.uncond, **paper, **options)
    projected = images.guided("apg", eta=eta, threshold=threshold).estimate
    assert (eta == 1.0 and threshold == math.inf) or (by_output - projected).norm() > 0.01 * projected.norm()


def test_apgs_momentum():
    """Theirs sums what it is handed over its steps; handed x̂, that is the paper's."""
    from diffusers.guiders import adaptive_projected_guidance as buffers

    options = {"eta": 0.3, "adaptive_projected_guidance_rescale": 2.5, "guidance_scale": W}
    guider = guiders.AdaptiveProjectedGuidance(
        adaptive_projected_guidance_momentum=-0.5, use_original_formulation=True, **options
    )
    guider.momentum_buffer = buffers.MomentumBuffer(-0.5)
    images = Images("x")
    denoiser = guidance.apg(images, w=W, eta=0.3, threshold=2.5, momentum=-0.5)
    for step, lam in enumerate([-4.0, -1.0, 0.5, 2.0]):
        images.cond, images.uncond = torch.randn(2, *images.z.shape, dtype=F64)
        guider.set_state(step=step, num_inference_steps=10, timestep=torch.tensor(0))
        want = guider.forward(images.cond, images.uncond).pred
        got = denoiser(images.z, torch.tensor(lam, dtype=F64), torch.zeros(5, dtype=torch.int64)).estimate
        torch.testing.assert_close(got, want)


def along_axis(matrix: Tensor, image: Tensor) -> Tensor:
    """One matrix along both axes of images, (b, c, n, n)."""
    return matrix @ image @ matrix.mT


def test_frequency_decoupled(monkeypatch):
    """Theirs takes its pyramid from kornia, which is no dependency here: a written-out one stands in for it."""
    from diffusers.guiders import frequency_decoupled_guidance as theirs_in

    images = Images("v")
    images.z, images.cond, images.uncond = torch.randn(3, 5, 3, 8, 8, dtype=F64)
    down, up = pyramid_parts(8)

    def pyramid(image: Tensor, levels: int) -> list[Tensor]:
        assert levels == 2
        small = along_axis(down, image)
        return [image - along_axis(up, small), small]

    monkeypatch.setattr(theirs_in, "_CAN_USE_KORNIA", True)
    monkeypatch.setattr(theirs_in, "build_laplacian_pyramid_func", pyramid)
    monkeypatch.setattr(theirs_in, "upsample_and_blur_func", lambda image: along_axis(up, image))
    want = theirs(
        "FrequencyDecoupledGuidance", images.cond, images.uncond, guidance_scales=[1 + W, 1 + 0.4 * W]
    )
    torch.testing.assert_close(images.guided("frequency-decoupled", low=0.4).estimate, want)


@pytest.mark.parametrize("steps", [1, 3])
def test_zero_init(steps):
    """Theirs returns zero for the velocity in its first steps, and fits afterwards."""
    images = Images("flow", torch.float32)
    guider = guiders.ClassifierFreeZeroStarGuidance(guidance_scale=1 + W, zero_init_steps=steps)
    grid = torch.linspace(-6, 6, 6)
    rule = guidance.cfg_zero_star(images, w=W)
    for step, lam in enumerate(grid):
        guider.set_state(step=step, num_inference_steps=6, timestep=torch.tensor(0))
        want = guider.forward(images.cond, images.uncond).pred
        got = guidance.zero_init(rule, until=grid[steps - 1].item())(
            images.z, lam, torch.zeros(5, dtype=torch.int64)
        )
        torch.testing.assert_close(got.flow, want)


def test_cfg_zero_star():
    """Theirs fits on whatever the network puts out, so it follows the paper where that is the flow velocity."""
    images = Images("flow", torch.float32)
    want = theirs(
        "ClassifierFreeZeroStarGuidance",
        images.cond,
        images.uncond,
        guidance_scale=1 + W,
        zero_init_steps=0,
    )
    torch.testing.assert_close(images.guided("cfg-zero-star").estimate, want)


def test_tcfg():
    """Theirs is a singular value decomposition, of whatever the network puts out; the paper's is of the score, as ε."""
    images = Images("eps", torch.float32)
    want = theirs("TangentialClassifierFreeGuidance", images.cond, images.uncond, guidance_scale=1 + W)
    # Theirs starts at the damped ε_∅ with the scale 1 + w, which is ε_c plus w times the rest.
    torch.testing.assert_close(images.guided("tcfg").estimate, want, rtol=1e-4, atol=1e-4)


def test_mambo_g():
    """Theirs measures whatever the network puts out, so it follows the paper where that is the flow velocity."""
    images = Images("flow")
    images.uncond = images.cond + 0.1 * images.uncond
    # Its norm takes two axes beside the batch, no more.
    rows = images.cond.flatten(2), images.uncond.flatten(2)
    want = theirs("MagnitudeAwareGuidance", *rows, guidance_scale=1 + W, alpha=8.0).view_as(images.cond)
    plain = images.guided("classifier-free").estimate
    # Theirs starts at u_∅ with the scale 1 + w exp(−alpha r): the same point.
    torch.testing.assert_close(images.guided("mambo-g").estimate, want)
    torch.testing.assert_close(images.guided("mambo-g", alpha=0.0).estimate, plain)
    assert (plain - want).norm() > 0.1 * (plain - images.cond).norm()


def test_interval():
    """Theirs counts in shares of the steps, from start to before stop: on a grid, an interval of its levels."""
    images, steps = Images("v"), 20
    grid = torch.linspace(-8, 8, steps, dtype=F64)
    theirs = guiders.ClassifierFreeGuidance(guidance_scale=1 + W, start=0.25, stop=0.7)
    ours = guidance.rule("interval", lo=grid[5].item(), hi=grid[13].item())(images, w=W)
    for step, lam in enumerate(grid):
        theirs.set_state(step=step, num_inference_steps=steps, timestep=torch.tensor(0))
        want = theirs.forward(images.cond, images.uncond).pred
        got = ours(images.z, lam, torch.zeros(5, dtype=torch.int64)).estimate
        torch.testing.assert_close(got, want)


def test_dynamic_threshold():
    from diffusers import DDPMScheduler

    images = Images("x")
    images.cond = 3 * images.cond
    scheduler = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=1e6)
    got = images.guided("dynamic-threshold", quantile=0.9).x
    raw = images.guided("classifier-free").x
    torch.testing.assert_close(got, scheduler._threshold_sample(raw))
