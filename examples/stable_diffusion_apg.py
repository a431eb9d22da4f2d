"""Guide a Stable Diffusion that lies in a folder by APG, or by any other rule: ten lines.

    pip install 'cfgtoy[diffusers]' transformers
    python examples/stable_diffusion_apg.py FOLDER "a lighthouse in fog" lighthouse.png

FOLDER is what ``save_pretrained`` of a ``StableDiffusionPipeline`` wrote (versions 1 and 2; for XL and 3 see
``from_diffusers``). Tested on a small pipeline with random weights. It has not been tried on trained ones: none were to
be had where it was written.
"""

import sys

import torch
from diffusers import StableDiffusionPipeline

from cfgtoy import guidance, samplers
from cfgtoy.adapters.diffusers import from_diffusers, grid_from

folder, prompt, out = sys.argv[1:]
pipe = StableDiffusionPipeline.from_pretrained(folder)
text, empty = (embedding.detach() for embedding in pipe.encode_prompt(prompt, pipe.device, 1, True))
denoiser = from_diffusers(pipe.unet, pipe.scheduler, conditions=text, null=empty)
guided = guidance.apg(denoiser, w=6.5, eta=0.2)  # diffusers' guidance_scale 7.5: s = 1 + w
pipe.scheduler.set_timesteps(30)
shape = (1, pipe.unet.config.in_channels, *[pipe.unet.config.sample_size] * 2)
seed = torch.Generator().manual_seed(0)
z = samplers.sample(guided, 0, shape=shape, grid=grid_from(pipe.scheduler), method="ddim", generator=seed)
image = pipe.vae.decode(z / pipe.vae.config.scaling_factor).sample.detach()
pipe.image_processor.postprocess(image)[0].save(out)
