"""From latents to pictures."""

from typing import cast

import torch
from diffusers import StableDiffusion3Pipeline
from PIL import Image


@torch.no_grad()
def decode(pipe: StableDiffusion3Pipeline, latents: torch.Tensor) -> list[Image.Image]:
    """Pictures of final latents (n, channels, height, width), as the pipeline itself makes them."""
    config = pipe.vae.config
    scaled = (latents / config.scaling_factor) + config.shift_factor
    decoded = pipe.vae.decode(scaled, return_dict=False)[0]
    return cast("list[Image.Image]", pipe.image_processor.postprocess(decoded, output_type="pil"))
