"""The example that guides a Stable Diffusion, run on a small one with random weights."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
transformers = pytest.importorskip("transformers", reason="needs transformers")

SCRIPT = Path(__file__).parents[2] / "examples" / "stable_diffusion_apg.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    words = tmp_path / "words"
    words.mkdir()
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz")]
    vocabulary = {token: i for i, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    (words / "vocab.json").write_text(json.dumps(vocabulary))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=7
    )
    text = transformers.CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=6, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=7, bos_token_id=len(letters), eos_token_id=len(letters) + 1, pad_token_id=0,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, attention_head_dim=4, cross_attention_dim=6,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 4), norm_num_groups=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=transformers.CLIPTextModel(text), tokenizer=tokenizer, unet=unet,
        scheduler=diffusers.PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
        ),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_an_image_comes_out_that_the_prompt_has_a_part_in(folder, tmp_path, monkeypatch):
    images = []
    for prompt in ("a lighthouse", "a lighthouse", "fog"):
        out = tmp_path / f"{len(images)}.png"
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(folder), prompt, str(out)])
        runpy.run_path(str(SCRIPT))
        images.append(np.asarray(Image.open(out)))
    first, again, other = images
    assert first.shape == (16, 16, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_example_is_the_pipeline_itself_at_w_0(folder):
    """Without guidance the example's lines do what the pipeline does with the same scheduler."""
    from cfgtoy import samplers
    from cfgtoy.adapters.diffusers import from_diffusers, grid_from

    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(
        pipe.scheduler.config, clip_sample=False, set_alpha_to_one=True
    )
    z = torch.randn(1, 4, 8, 8)
    want = pipe("fog", latents=z, num_inference_steps=6, guidance_scale=1.0, output_type="latent").images
    text, _ = pipe.encode_prompt("fog", pipe.device, 1, False)
    denoiser = from_diffusers(pipe.unet, pipe.scheduler, conditions=text.detach())
    got = samplers.sample(denoiser, 0, shape=z.shape, z=z, grid=grid_from(pipe.scheduler), method="ddim")
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
