"""Trains the autoencoder: a stock ``AutoencoderDC`` (arXiv 2410.10733), narrow, on crops of random scenes."""

import itertools
import random
from pathlib import Path

import torch
from diffusers import AutoencoderDC

from ..vocabulary import SIZE
from .common import Checkpoint, Schedule, normalized, pixels, random_scene, scenes_for_training, train

_CROP = 72
_LATENT_NOISE = 0.05


def build() -> AutoencoderDC:
    """An untrained autoencoder: 8 pixels to a latent place, 4 channels; most of its work is done at low resolution."""
    widths, attention = (16, 32, 64, 128), ((), (), (), ())
    return AutoencoderDC(
        latent_channels=4,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        encoder_layers_per_block=(0, 1, 1, 2),
        decoder_layers_per_block=(0, 1, 2, 4),
        encoder_qkv_multiscales=attention,
        decoder_qkv_multiscales=attention,
    )


def train_autoencoder(folder: Path, minutes: float, scenes: int = 6000, seed: int = 1) -> None:
    """Train, or go on with, the autoencoder and write it to ``folder/vae``."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = build().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)
    checkpoint = Checkpoint(folder / "checkpoints" / "autoencoder.pt", model=model, optimizer=optimizer)
    meaningful = [scene for _, scene in itertools.islice(scenes_for_training(rng), scenes // 2)]
    pictures = pixels(meaningful + [random_scene(rng) for _ in range(scenes - len(meaningful))])

    def loss_of(step: int) -> torch.Tensor:
        picked = torch.randint(len(pictures), (16,))
        y, x = (8 * int(torch.randint((SIZE - _CROP) // 8 + 1, ())) for _ in range(2))
        crop = normalized(pictures[picked, :, y : y + _CROP, x : x + _CROP]).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latent = model.encode(crop).latent
            drawn = model.decode(latent + _LATENT_NOISE * torch.randn_like(latent)).sample
        return _distance(drawn.float(), crop) + 1e-3 * latent.float().pow(2).mean()

    train(checkpoint, Schedule(minutes, 2e-3, decay=0.6), optimizer, loss_of)
    latents, psnr = _measure(model, pictures[:256])
    # Stable Diffusion 3's pipeline reads the shift, and the scale of its pixels from the number of blocks.
    model.register_to_config(
        scaling_factor=float(1 / latents.std()),
        shift_factor=float(latents.mean()),
        block_out_channels=model.config.decoder_block_out_channels,
    )
    model.save_pretrained(folder / "vae")
    print(f"autoencoder: {psnr:.1f} dB, latents {latents.mean():.3f} ± {latents.std():.3f}")


def _distance(drawn: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of the pixels and of their differences to the neighbours, which keeps edges sharp."""
    error = drawn - truth
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.pow(2).mean() + edges


def _measure(model: AutoencoderDC, pictures: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Latents of some pictures, and the peak signal-to-noise ratio of their reconstruction in dB."""
    with torch.no_grad():
        truth = normalized(pictures)
        latents = model.encode(truth).latent
        error = (model.decode(latents).sample.clamp(-1, 1) - truth).pow(2).mean()
    return latents, float(10 * torch.log10(4 / error))
