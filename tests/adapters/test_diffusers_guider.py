"""Every rule as a guider of diffusers: in denoising loops, in Modular pipelines, and beside diffusers' own guiders."""

from __future__ import annotations

import textwrap

import pytest
import torch
from torch import Generator, Tensor

from cfgtoy import guidance, samplers

diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
pytest.importorskip("diffusers.guiders", reason="needs a diffusers with guiders")
from diffusers.modular_pipelines import (  # noqa: E402
    BlockState,
    ComponentSpec,
    InputParam,
    ModularPipelineBlocks,
    OutputParam,
)

from cfgtoy.adapters.diffusers import Guider, from_diffusers, grid_from  # noqa: E402
from tests.forked import python  # noqa: E402

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
W = 1.5
STEPS = 6
RULES = {
    "classifier-free": {},
    "negative": {"y_negative": 1},
    "interval": {"lo": -3.0, "hi": 2.0},
    "rescale": {"phi": 0.7, "of": "apg"},
    "apg": {"eta": 0.2, "threshold": 3.0},
    "power-law": {"power": 0.5},
    "cfg-plus-plus": {},
    "cfg-zero-star": {},
    "dynamic-threshold": {"quantile": 0.9},
    "tcfg": {},
    "mambo-g": {},
    "weight-schedule": {"lo": -8.0, "hi": 8.0},
    "frequency-decoupled": {},
}


def text(n: int) -> Tensor:
    return torch.randn(n, 5, 6, generator=Generator().manual_seed(2))


def noise(*shape: int) -> Tensor:
    return torch.randn(2, *shape, generator=Generator().manual_seed(1))


def unet():
    return diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=2, out_channels=2, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, attention_head_dim=4, cross_attention_dim=6,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()  # fmt: skip


def ddim(prediction_type: str):
    return diffusers.DDIMScheduler(**SD, clip_sample=False, prediction_type=prediction_type)


def euler():
    return diffusers.EulerDiscreteScheduler(**SD, prediction_type="v_prediction")


class Denoise(ModularPipelineBlocks):
    """A denoising loop as Modular pipelines have them, with the components' guider."""

    model_name = "small"

    @property
    def expected_components(self):
        return [
            ComponentSpec("unet", diffusers.UNet2DConditionModel),
            ComponentSpec("scheduler", diffusers.DDIMScheduler),
            ComponentSpec("guider", diffusers.guiders.ClassifierFreeGuidance),
        ]

    @property
    def inputs(self):
        names = ("latents", "prompt_embeds", "negative_prompt_embeds", "num_inference_steps")
        return [InputParam(name, required=True) for name in names]

    @property
    def intermediate_outputs(self):
        return [OutputParam("latents")]

    @torch.no_grad()
    def __call__(self, components, state):
        block = self.get_block_state(state)
        components.scheduler.set_timesteps(block.num_inference_steps)
        for i, t in enumerate(components.scheduler.timesteps):
            guider = components.guider
            inputs = components.scheduler.scale_model_input(block.latents, t)
            guider.set_state(step=i, num_inference_steps=block.num_inference_steps, timestep=t)
            batches = guider.prepare_inputs(
                {"prompt_embeds": (block.prompt_embeds, block.negative_prompt_embeds)}
            )
            for batch in batches:
                guider.prepare_models(components.unet)
                batch.noise_pred = components.unet(inputs, t, encoder_hidden_states=batch.prompt_embeds)[0]
                guider.cleanup_models(components.unet)
            pred = guider(batches).pred
            block.latents = components.scheduler.step(pred, t, block.latents).prev_sample
        self.set_block_state(state, block)
        return components, state


def theirs(model, scheduler, guider, z: Tensor, negative: Tensor) -> Tensor:
    pipe = Denoise().init_pipeline()
    pipe.update_components(unet=model, scheduler=scheduler, guider=guider)
    embeds = {"prompt_embeds": text(2), "negative_prompt_embeds": negative.expand(2, 5, 6)}
    return pipe(latents=z, num_inference_steps=STEPS, output="latents", **embeds)


SCHEDULERS = {
    "epsilon": lambda: ddim("epsilon"),
    "euler": euler,
    "v": lambda: ddim("v_prediction"),
    "x": lambda: ddim("sample"),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in RULES for kind in ("epsilon", "euler")] + [("apg", "v"), ("apg", "x")],
)
def test_every_rule_in_a_modular_pipeline(name, kind):
    model, rule, scheduler = unet(), guidance.rule(name, **RULES[name]), SCHEDULERS[kind]()
    scheduler.set_timesteps(STEPS)
    z = noise(2, 8, 8)
    size = (scheduler.sigmas[0] ** 2 + 1).sqrt() if hasattr(scheduler, "sigmas") else 1.0
    negative = text(2)[1] if name == "negative" else torch.zeros(5, 6)
    got = theirs(model, scheduler, Guider(rule, W, scheduler), z * size, negative)
    scheduler.set_timesteps(STEPS)
    denoiser = from_diffusers(model, scheduler, conditions=text(2), null=torch.zeros(5, 6))
    grid = grid_from(scheduler)
    guided = rule(denoiser, w=W, grid=grid)
    y = torch.tensor([0, 1])
    want = samplers.sample(guided, y, shape=z.shape, grid=grid, z=z, method="ddim")
    torch.testing.assert_close(got, want, rtol=1e-5, atol=2e-5)


def sd3():
    return diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=6, caption_projection_dim=16, pooled_projection_dim=7,
        pos_embed_max_size=8,
    ).eval()  # fmt: skip


@torch.no_grad()
def flow_loop(model, scheduler, guider, z: Tensor, embeds: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    for i, t in enumerate(scheduler.timesteps):
        guider.set_state(step=i, num_inference_steps=STEPS, timestep=t)
        state = BlockState(
            **{f"{which}_{k}": v[j] for k, v in embeds.items() for j, which in enumerate(("cond", "uncond"))}
        )
        fields = {name: (f"cond_{name}", f"uncond_{name}") for name in embeds}
        batches = guider.prepare_inputs_from_block_state(state, fields)
        for batch in batches:
            guider.prepare_models(model)
            batch.noise_pred = model(
                hidden_states=z,
                timestep=t.expand(len(z)),
                encoder_hidden_states=batch.text,
                pooled_projections=batch.pooled,
            ).sample
            guider.cleanup_models(model)
        z = scheduler.step(guider(batches).pred, t, z).prev_sample
    return z


ON_X = [
    "classifier-free",
    "rescale",
    "apg",
    "dynamic-threshold",
]  # they have something to say where all is noise


@pytest.mark.parametrize(
    ("name", "first"), [(name, 0.98) for name in RULES if name != "negative"] + [(name, 1.0) for name in ON_X]
)
def test_every_rule_on_a_flow(name, first):
    model, rule = sd3(), guidance.rule(name, **RULES[name])
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=torch.linspace(first, 0.05, STEPS).tolist())
    z, pooled = noise(4, 8, 8), torch.randn(3, 7)
    embeds = {
        "text": (text(3)[:2], text(3)[2:].expand(2, 5, 6)),
        "pooled": (pooled[:2], pooled[2:].expand(2, 7)),
    }
    start = z * (first**2 + (1 - first) ** 2) ** 0.5
    got = flow_loop(model, scheduler, Guider(rule, W, scheduler), start, embeds)
    denoiser = from_diffusers(
        model, scheduler, conditions={"encoder_hidden_states": text(3), "pooled_projections": pooled}, null=2
    )
    grid = grid_from(scheduler)
    guided = rule(denoiser, w=W, grid=grid)
    want = samplers.sample(guided, torch.tensor([0, 1]), shape=z.shape, grid=grid, z=z, method="ddim")
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


# -- in diffusers' own Modular blocks, which need transformers ---


def test_in_the_blocks_of_stable_diffusion_3():
    pytest.importorskip("transformers", reason="needs transformers")
    from diffusers.modular_pipelines.stable_diffusion_3.denoise import StableDiffusion3DenoiseStep

    model, scheduler = sd3(), diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(STEPS)
    z, pooled = noise(4, 8, 8), torch.randn(3, 7)
    rule = guidance.rule("apg", eta=0.2)
    pipe = StableDiffusion3DenoiseStep().init_pipeline()
    pipe.update_components(transformer=model, scheduler=scheduler, guider=Guider(rule, W, scheduler))
    got = pipe(
        latents=z, timesteps=scheduler.timesteps, num_inference_steps=STEPS, prompt_embeds=text(3)[:2],
        negative_prompt_embeds=text(3)[2:].expand(2, 5, 6), pooled_prompt_embeds=pooled[:2],
        negative_pooled_prompt_embeds=pooled[2:].expand(2, 7), output="latents",
    )  # fmt: skip
    conditions = {"encoder_hidden_states": text(3), "pooled_projections": pooled}
    guided = rule(from_diffusers(model, scheduler, conditions=conditions, null=2), w=W)
    y = torch.tensor([0, 1])
    want = samplers.sample(guided, y, shape=z.shape, grid=grid_from(scheduler), z=z, method="ddim")
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


# -- beside diffusers' own guiders ---

PEERS = {
    "classifier-free": ({}, lambda: diffusers.guiders.ClassifierFreeGuidance(guidance_scale=1 + W)),
    "apg": (
        {"eta": 0.2},
        lambda: diffusers.guiders.AdaptiveProjectedGuidance(
            guidance_scale=W, eta=0.2, adaptive_projected_guidance_rescale=0.0, use_original_formulation=True
        ),
    ),
    "mambo-g": (
        {"alpha": 2.0},
        lambda: diffusers.guiders.MagnitudeAwareGuidance(
            guidance_scale=W, alpha=2.0, use_original_formulation=True
        ),
    ),
    "tcfg": ({}, lambda: diffusers.guiders.TangentialClassifierFreeGuidance(guidance_scale=1 + W)),
    "cfg-zero-star": (
        {},
        lambda: diffusers.guiders.ClassifierFreeZeroStarGuidance(guidance_scale=1 + W, zero_init_steps=0),
    ),
}


@pytest.mark.parametrize("name", list(PEERS))
def test_without_a_scheduler_it_works_on_raw_outputs_as_theirs_do(name):
    options, peer = PEERS[name]
    cond, uncond = torch.randn(2, 4, 9, 4).unbind()  # (b, n, c): MAMBO-G there takes no more axes
    guider, other = Guider(guidance.rule(name, **options), W), peer()
    for each in (guider, other):
        each.set_state(step=0, num_inference_steps=4, timestep=torch.tensor(999))
    torch.testing.assert_close(guider.forward(cond, uncond).pred, other.forward(cond, uncond).pred)


@pytest.mark.parametrize("name", ["classifier-free", "negative"])
def test_a_mean_is_the_same_with_a_scheduler_and_without(name):
    model, z = unet(), noise(2, 8, 8)
    rule = guidance.rule(name, **RULES[name])
    with_one, without = (
        theirs(model, ddim("v_prediction"), Guider(rule, W, s), z, torch.zeros(5, 6))
        for s in (ddim("v_prediction"), None)
    )
    torch.testing.assert_close(with_one, without, rtol=1e-5, atol=1e-5)


# -- state, files, refusals ---


def test_no_rule_is_left_out():
    assert set(RULES) | {"auto", "classifier", "total", "recfg", "adaptive"} == set(guidance.RULES)


def test_how_many_conditions_a_step_needs():
    guider = Guider("classifier-free", W, start=0.25, stop=0.75)
    needs = []
    for i in range(8):
        guider.set_state(step=i, num_inference_steps=8, timestep=torch.tensor(0))
        needs.append(guider.num_conditions)
    assert needs == [1, 1, 2, 2, 2, 2, 1, 1]
    guider.disable()
    assert guider.num_conditions == 1
    assert Guider("apg", 0.0).num_conditions == 1
    assert Guider("dynamic-threshold", 0.0).num_conditions == 2  # it clips at every weight
    cond = torch.randn(2, 3)
    assert Guider("apg", 0.0).forward(cond).pred is cond


def test_written_down_and_read_back(tmp_path):
    guider = Guider(
        guidance.rule("rescale", of=guidance.rule("apg", eta=0.3)), W, ddim("v_prediction"), stop=0.5
    )
    guider.save_pretrained(tmp_path)
    back = Guider.from_pretrained(tmp_path)
    assert back.rule.to_json() == guider.rule.to_json()
    assert (back.w, back.config.stop, back.config.scheduler["prediction_type"]) == (W, 0.5, "v_prediction")
    assert guider.new(w=3.0).w == 3.0


def test_rules_that_a_guider_cannot_serve():
    for name in ("auto", "classifier"):
        with pytest.raises(ValueError, match=rf"^rule: got '{name}', takes a rule of the two answers"):
            Guider(name, W)
    with pytest.raises(
        ValueError, match=r"^scheduler: got None, takes the pipeline's scheduler: 'interval' needs λ"
    ):
        Guider(guidance.rule("interval", lo=-3.0, hi=3.0), W)
    with pytest.raises(ValueError, match=r"^rule: got 'cfg'"):
        Guider("cfg", W)
    inside = guidance.rule("rescale", of=guidance.rule("apg", momentum=-0.5))
    for remembers in ("adaptive", guidance.rule("apg", momentum=-0.5), inside):
        with pytest.raises(ValueError, match=r"^rule: got '\w+' with a memory"):
            Guider(remembers, W)
    with pytest.raises(ValueError, match=r"^w: got nan"):
        Guider("apg", float("nan"))
    with pytest.raises(ValueError, match=r"^scheduler: got EDMEulerScheduler"):
        Guider("apg", W, diffusers.EDMEulerScheduler())


@pytest.mark.parametrize(
    ("missing", "asked", "says"),
    [
        (
            "diffusers",
            "from_diffusers",
            "diffusers is not installed: pip install 'cfgtoy[diffusers]', or ",
        ),
        (
            "diffusers.guiders",
            "Guider",
            f"Guider needs the guiders of diffusers 0.36 or newer, and this is {diffusers.__version__}: ",
        ),
    ],
)
def test_one_line_where_diffusers_or_its_guiders_are_missing(missing, asked, says):
    program = f"""
        import sys
        sys.modules[{missing!r}] = None
        try:
            from cfgtoy.adapters.diffusers import {asked}
        except ImportError as error:
            assert "\\n" not in str(error)
            print(error)
    """
    done = python(textwrap.dedent(program))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(says)
