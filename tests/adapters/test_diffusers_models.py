"""Models of diffusers as denoisers: whole guided trajectories against loops that know nothing of this package."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from cfgtoy import guidance, logsnr, samplers

diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
from cfgtoy.adapters.diffusers import from_diffusers, grid_from  # noqa: E402

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}  # Stable Diffusion's
W = 2.0
STEPS = 8
Y = torch.tensor([0, 1, 2])


def noise(*shape: int) -> Tensor:
    return torch.randn(len(Y), *shape, generator=Generator().manual_seed(1))


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(2))


# -- a small random model of each family, with how it is called: call(z, t, y), y = −1 for ∅ ---


def unet(**options):
    blocks = {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    model = diffusers.UNet2DModel(
        sample_size=8, in_channels=2, out_channels=2, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, attention_head_dim=4, num_class_embeds=4, **blocks, **options,
    ).eval()  # fmt: skip

    def call(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return model(z, t, class_labels=torch.where(y < 0, 3, y)).sample

    return model, call, {"null": 3}, (2, 8, 8)


def dit(**options):
    model = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=2, out_channels=4, num_layers=1, sample_size=8,
        norm_num_groups=4, num_embeds_ada_norm=5,
    ).eval()  # fmt: skip
    for block in model.transformer_blocks:  # as it is made, a DiT's blocks do nothing
        torch.nn.init.normal_(block.norm1.linear.weight, std=0.1)

    def call(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        out = model(z, t.expand(len(z)), class_labels=torch.where(y < 0, 5, y)).sample
        return out.chunk(2, dim=1)[0]  # the other half is the variance's

    return model, call, {"null": 5}, (2, 8, 8)


def text_unet(**options):
    model = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=2, out_channels=2, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, attention_head_dim=4, cross_attention_dim=6,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **options,
    ).eval()  # fmt: skip
    text, empty = rows(3, 5, 6), torch.zeros(5, 6)

    def call(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return model(z, t, encoder_hidden_states=torch.cat([text, empty[None]])[y]).sample

    return model, call, {"conditions": text, "null": empty}, (2, 8, 8)


def xl_unet():
    model, _, _, shape = text_unet(
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 7,
    )
    text, pooled, sizes = rows(3, 5, 6), rows(3, 7), torch.tensor([[8.0, 8, 0, 0, 8, 8]]).repeat(3, 1)

    def call(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        zero = torch.zeros(1, 5, 6), torch.zeros(1, 7), sizes[:1]
        text_, pooled_, sizes_ = (
            torch.cat([a, b])[y] for a, b in zip((text, pooled, sizes), zero, strict=True)
        )
        added = {"text_embeds": pooled_, "time_ids": sizes_}
        return model(z, t, encoder_hidden_states=text_, added_cond_kwargs=added).sample

    conditions = {
        "encoder_hidden_states": text,
        "added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes},
    }
    null = {
        "encoder_hidden_states": torch.zeros(5, 6),
        "added_cond_kwargs": {"text_embeds": torch.zeros(7), "time_ids": sizes[0]},
    }
    return model, call, {"conditions": conditions, "null": null}, shape


def sd3():
    model = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=6, caption_projection_dim=16, pooled_projection_dim=7,
        pos_embed_max_size=8,
    ).eval()  # fmt: skip
    text, pooled = rows(4, 5, 6), rows(4, 7)  # the last is the empty prompt

    def call(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        t = t.expand(len(z))
        return model(z, encoder_hidden_states=text[y], pooled_projections=pooled[y], timestep=t).sample

    return (
        model,
        call,
        {"conditions": {"encoder_hidden_states": text, "pooled_projections": pooled}, "null": 3},
        (4, 8, 8),
    )


def flux(guidance_scale: float | None = None):
    model = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=6, pooled_projection_dim=7, axes_dims_rope=(2, 2, 4),
        guidance_embeds=guidance_scale is not None,
    ).eval()  # fmt: skip
    text, pooled = rows(4, 5, 6), rows(4, 7)

    def call(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        b, c, h, w = z.shape
        # as FluxPipeline packs: each square of two by two pixels becomes channels
        packed = z.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)
        places = torch.cartesian_prod(torch.zeros(1), torch.arange(h // 2.0), torch.arange(w // 2.0))
        out = model(
            packed, encoder_hidden_states=text[y], pooled_projections=pooled[y], timestep=t.expand(b) / 1000,
            img_ids=places, txt_ids=torch.zeros(5, 3),
            guidance=None if guidance_scale is None else torch.full((b,), guidance_scale),
        ).sample  # fmt: skip
        return out.view(b, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)

    scale = {} if guidance_scale is None else {"guidance": guidance_scale}
    conditions = {"encoder_hidden_states": text, "pooled_projections": pooled, **scale}
    return model, call, {"conditions": conditions, "null": 3}, (4, 8, 8)


# -- the two loops ---


@torch.no_grad()
def theirs(call, scheduler, z: Tensor, w: float = W) -> Tensor:
    """diffusers' loop with classifier-free guidance at its scale 1 + w, as its pipelines write it."""
    for t in scheduler.timesteps:
        inputs = scheduler.scale_model_input(z, t) if hasattr(scheduler, "scale_model_input") else z
        cond, uncond = call(inputs, t, Y), call(inputs, t, torch.full_like(Y, -1))
        z = scheduler.step(uncond + (1 + w) * (cond - uncond), t, z).prev_sample
    return z


def ours(model, scheduler, arguments, z: Tensor, method: str = "ddim", w: float = W) -> Tensor:
    denoiser = from_diffusers(model, scheduler, **arguments)
    guided = guidance.classifier_free(denoiser, w=w)
    return samplers.sample(guided, Y, shape=z.shape, grid=grid_from(scheduler), z=z, method=method)


@torch.no_grad()
def driven(model, scheduler, arguments, z: Tensor, w: float = W) -> Tensor:
    """Their scheduler, told by our guided denoiser: for methods that are not ours step for step."""
    denoiser = from_diffusers(model, scheduler, **arguments)
    guided = guidance.classifier_free(denoiser, w=w)
    # a level for each step; Heun's scheduler visits some twice
    for i, t in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[i].double()
        flow = denoiser.kind == "flow"
        lam = (2 * torch.log((1 - sigma) / sigma) if flow else -2 * sigma.log()).float()
        if flow:
            model_z = logsnr.from_flow(z, lam)
        else:
            model_z = scheduler.scale_model_input(z, t)
        z = scheduler.step(guided(model_z, lam, Y).estimate, t, z).prev_sample
    return z


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("family", [unet, dit, text_unet, xl_unet])
def test_ddim_of_every_family(family, prediction_type):
    model, call, arguments, shape = family()
    scheduler = diffusers.DDIMScheduler(**SD, clip_sample=False, prediction_type=prediction_type)
    scheduler.set_timesteps(STEPS)
    z = noise(*shape)
    close(ours(model, scheduler, arguments, z), theirs(call, scheduler, z))


@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_euler_carries_z_over_alpha(spacing, karras):
    model, call, arguments, shape = unet()
    scheduler = diffusers.EulerDiscreteScheduler(
        **SD, prediction_type="v_prediction", timestep_spacing=spacing, use_karras_sigmas=karras
    )
    scheduler.set_timesteps(STEPS)
    z = noise(*shape)
    start = z * (scheduler.sigmas[0] ** 2 + 1).sqrt()
    close(ours(model, scheduler, arguments, z), theirs(call, scheduler, start))


@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize(
    "made", ["DPMSolverMultistepScheduler", "HeunDiscreteScheduler", "UniPCMultistepScheduler"]
)
def test_other_solvers_ask_it_at_their_own_steps(made, karras):
    model, call, arguments, shape = text_unet()
    scheduler = getattr(diffusers, made)(**SD, prediction_type="v_prediction", use_karras_sigmas=karras)
    z, size = noise(*shape), 1.0
    scheduler.set_timesteps(STEPS)
    if made == "HeunDiscreteScheduler":  # it carries z/α, and visits each level twice
        size = (scheduler.sigmas[0] ** 2 + 1).sqrt()
        assert len(grid_from(scheduler)) == STEPS
    got = driven(model, scheduler, arguments, z * size)
    scheduler.set_timesteps(STEPS)
    close(got, theirs(call, scheduler, z * size))


def test_zero_terminal_snr_starts_at_minus_infinity():
    model, call, arguments, shape = unet()
    scheduler = diffusers.DDIMScheduler(
        **SD,
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(STEPS)
    grid = grid_from(scheduler)
    assert grid[0] == -torch.inf
    assert grid[1:].isfinite().all()
    z = noise(*shape)
    close(ours(model, scheduler, arguments, z), theirs(call, scheduler, z))


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize(
    "family", [unet, sd3, flux, lambda: flux(3.5)], ids=["unet", "sd3", "flux", "flux-distilled"]
)
def test_flow_models(family, shift):
    model, call, arguments, shape = family()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(STEPS)
    assert grid_from(scheduler)[0] == -torch.inf
    z = noise(*shape)
    close(ours(model, scheduler, arguments, z), theirs(call, scheduler, z))


def test_flow_with_a_shift_by_resolution():
    model, call, arguments, shape = flux()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(STEPS, mu=0.9)
    z = noise(*shape)
    close(ours(model, scheduler, arguments, z), theirs(call, scheduler, z))


def test_a_flow_model_in_dpm_solver():
    model, call, arguments, shape = sd3()
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    z = noise(*shape)
    scheduler.set_timesteps(STEPS)
    got = driven(model, scheduler, arguments, z)
    scheduler.set_timesteps(STEPS)
    close(got, theirs(call, scheduler, z))


# -- what is the same whichever way one asks ---


def test_classes_are_rows_of_the_table_and_null_may_be_one():
    model, _, arguments, shape = text_unet()
    scheduler = diffusers.DDIMScheduler(**SD)
    text, empty = arguments["conditions"], arguments["null"]
    z, lam, y = noise(*shape), torch.tensor(0.5), torch.tensor([2, -1, 0])
    want = from_diffusers(model, scheduler, conditions=text, null=empty)(z, lam, y).eps
    with_row = torch.cat([text, empty[None]])
    as_dict = {"encoder_hidden_states": text}, {"encoder_hidden_states": empty}
    for conditions, null in [(with_row, 3), as_dict, (text, empty[None])]:
        got = from_diffusers(model, scheduler, conditions=conditions, null=null)(z, lam, y).eps
        torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_a_model_without_classes():
    model = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
        layers_per_block=1, norm_num_groups=4,
    ).eval()  # fmt: skip
    scheduler = diffusers.DDIMScheduler()
    z = noise(3, 8, 8)
    lam = torch.logit(scheduler.alphas_cumprod[400].double()).float()
    with torch.no_grad():
        want = model(z, 400).sample
        torch.testing.assert_close(from_diffusers(model, scheduler)(z, lam).eps, want)


def test_half_precision_inside_and_float32_outside():
    model, _, arguments, shape = text_unet()
    scheduler = diffusers.DDIMScheduler(**SD)
    z, lam = noise(*shape), torch.tensor(1.0)
    want = from_diffusers(model, scheduler, **arguments)(z, lam, Y).eps
    got = from_diffusers(model.to(torch.bfloat16), scheduler, **arguments)(z, lam, Y).eps
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=0.05, atol=0.05)


def test_levels_between_and_beyond_those_of_training():
    from cfgtoy.adapters.diffusers.levels import Levels

    scheduler = diffusers.DDIMScheduler(**SD)
    levels, table = Levels(scheduler), torch.logit(scheduler.alphas_cumprod.double())
    steps = torch.tensor([0.0, 17.0, 998.0, 999.0])
    torch.testing.assert_close(levels.timestep(table[steps.long()]), steps)
    torch.testing.assert_close(levels.timestep((table[500] + table[501]) / 2), torch.tensor(500.5))
    torch.testing.assert_close(
        levels.timestep(torch.tensor([30.0, -30.0, -torch.inf])), torch.tensor([0.0, 999.0, 999.0])
    )
    some = torch.linspace(table[-1].item(), table[0].item(), 50, dtype=torch.float64)
    torch.testing.assert_close(levels.logsnr(levels.timestep(some)), some, rtol=1e-4, atol=2e-3)
    flow = Levels(diffusers.FlowMatchEulerDiscreteScheduler())
    torch.testing.assert_close(flow.timestep(torch.tensor([0.0, -torch.inf])), torch.tensor([500.0, 1000.0]))


# -- what is refused ---


def test_a_scheduler_that_is_none():
    model, _, arguments, _ = unet()
    for scheduler in [None, "ddim", diffusers.EDMEulerScheduler()]:
        with pytest.raises(ValueError, match=r"^scheduler: got .*takes .*alphas_cumprod"):
            from_diffusers(model, scheduler, **arguments)
        with pytest.raises(ValueError, match=r"^scheduler: got"):
            grid_from(scheduler)


def test_prediction_types_and_directions():
    model, _, arguments, _ = unet()
    with pytest.raises(ValueError, match=r"^scheduler: got prediction_type='noise', takes one of 'epsilon'"):
        from_diffusers(model, diffusers.DDIMScheduler(prediction_type="noise"), **arguments)
    with pytest.raises(ValueError, match=r"^scheduler: got invert_sigmas=True"):
        from_diffusers(model, diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True), **arguments)


def test_a_null_that_is_missing_or_does_not_fit():
    scheduler = diffusers.DDIMScheduler(**SD)
    model, _, arguments, shape = text_unet()
    text = arguments["conditions"]
    lonely = from_diffusers(model, scheduler, conditions=text)
    lonely(noise(*shape), torch.tensor(0.0), Y)  # a class needs no null
    for call in (
        lambda: lonely(noise(*shape), torch.tensor(0.0)),
        lambda: guidance.apg(lonely, w=1.0)(noise(*shape), torch.tensor(0.0), Y),
    ):
        with pytest.raises(ValueError, match=r"^null: got None, takes what stands for no class"):
            call()
    for null in (torch.zeros(4, 6), torch.zeros(2, 5, 6), {"pooled": torch.zeros(6)}):
        with pytest.raises(ValueError, match=r"^null: got .* takes a tensor of shape \(5, 6\)"):
            from_diffusers(model, scheduler, conditions=text, null=null)
    for null in (3, -1, True):
        with pytest.raises(ValueError, match=r"^null: got"):
            from_diffusers(model, scheduler, conditions=text, null=null)
    labelled, *_ = unet()
    for null in (-1, 1.5, torch.zeros(3), 4):
        with pytest.raises(ValueError, match=r"^null: got .* takes the class label"):
            from_diffusers(labelled, scheduler, null=null)


def test_conditions_that_do_not_fit():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    model, _, arguments, _ = sd3()
    conditions = arguments["conditions"]
    unequal = conditions | {"pooled_projections": torch.zeros(2, 7)}
    with pytest.raises(
        ValueError, match=r"^conditions: got 4 rows of 'encoder_hidden_states', 2 rows of 'pooled_pro"
    ):
        from_diffusers(model, scheduler, conditions=unequal, null=0)
    with pytest.raises(
        ValueError, match=r"^conditions: got .*takes 'pooled_projections' too for a SD3Transformer2DModel"
    ):
        from_diffusers(model, scheduler, conditions=conditions["encoder_hidden_states"], null=0)
    with pytest.raises(
        ValueError, match=r"^conditions: got 'prompt', takes arguments of SD3Transformer2DModel: encoder"
    ):
        from_diffusers(model, scheduler, conditions=conditions | {"prompt": torch.zeros(4, 2)}, null=0)
    with pytest.raises(ValueError, match=r"^conditions: got None, takes 'encoder_hidden_states'"):
        from_diffusers(model, scheduler)
    for wrong in ([torch.zeros(5, 6), torch.zeros(4, 6)], "a cat"):
        with pytest.raises(ValueError, match=r"^conditions"):
            from_diffusers(model, scheduler, conditions=wrong, null=0)
    distilled, _, given, _ = flux(3.5)
    del given["conditions"]["guidance"]
    with pytest.raises(
        ValueError, match=r"^conditions: got .*takes 'guidance' too .*scale that the distilled model"
    ):
        from_diffusers(distilled, scheduler, **given)


def test_a_class_that_is_none():
    model, _, arguments, shape = text_unet()
    denoiser = from_diffusers(model, diffusers.DDIMScheduler(**SD), **arguments)
    with pytest.raises(ValueError, match=r"^y: got class 3, takes 0 … 2"):
        denoiser(noise(*shape), torch.tensor(0.0), torch.tensor([0, 1, 3]))


def test_a_model_that_is_none():
    with pytest.raises(ValueError, match=r"^model: got str, takes one of diffusers' models"):
        from_diffusers("model", diffusers.DDIMScheduler())
