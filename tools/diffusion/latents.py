"""Latents as files of a store."""

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ..errors import MissingLatentError
from ..store import Store


def final_reference(image: str) -> str:
    """Where the final latent of an image lies."""
    return f"latents/{image}.safetensors"


def kept_reference(image: str, step: int) -> str:
    """Where x_step of an image's denoising lies."""
    return f"latents/{image}.k{step:02d}.safetensors"


def write_latent(store: Store, reference: str, latent: torch.Tensor) -> str:
    """Write one latent (channels, height, width) in its own dtype and return its reference."""
    return store.write(reference, save({"latent": latent.cpu().contiguous()}))


def read_latent(store: Store, reference: str) -> torch.Tensor:
    """The latent (channels, height, width), on the CPU; ``MissingLatentError`` if it is gone or broken."""
    try:
        return load(store.read(reference))["latent"]
    except (OSError, SafetensorError, KeyError) as error:
        raise MissingLatentError(
            f"the latent {store.path(reference)} is missing or cannot be read: draw the image again"
        ) from error
