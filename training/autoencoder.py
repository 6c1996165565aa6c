"""Trains the autoencoder on the cells of random scenes."""

import itertools
import random
from pathlib import Path

import torch

from detailscribe.tools.world.autoencoder import CellAutoencoder

from .common import Checkpoint, Schedule, normalized, pixels, random_scene, scenes_for_training, train

_BATCH = 64
_LATENT_NOISE = 0.05
"""Standard deviation of noise added to latents, so that the decoder tolerates errors of the denoiser."""


def train_autoencoder(folder: Path, minutes: float, scenes: int = 6000, seed: int = 1) -> None:
    """Train the autoencoder, or continue, and write it to ``folder/vae``."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = CellAutoencoder()
    _fit(model, list(model.parameters()), folder / "checkpoints" / "autoencoder.pt", minutes, _pictures(rng, scenes))
    with torch.no_grad():
        latents = model.encode(normalized(_pictures(rng, 256))).latents
    model.register_to_config(scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean()))
    _finish(model, folder, rng)


def train_decoder(folder: Path, minutes: float, scenes: int = 8000, seed: int = 5) -> None:
    """Train only the decoder of ``folder/vae`` further: the latents do not change, so the denoiser need not wait."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = CellAutoencoder.from_pretrained(folder / "vae")
    model.encoder.requires_grad_(False)
    _fit(
        model, list(model.decoder.parameters()), folder / "checkpoints" / "decoder.pt", minutes, _pictures(rng, scenes)
    )
    _finish(model, folder, rng)


def _pictures(rng: random.Random, count: int) -> torch.Tensor:
    """Images, half of meaningful scenes, half of things at random places."""
    meaningful = [scene for _, scene in itertools.islice(scenes_for_training(rng), count // 2)]
    return pixels(meaningful + [random_scene(rng) for _ in range(count - len(meaningful))])


def _fit(
    model: CellAutoencoder, weights: list[torch.nn.Parameter], path: Path, minutes: float, pictures: torch.Tensor
) -> None:
    optimizer = torch.optim.AdamW(weights, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)

    def loss_of(step: int) -> torch.Tensor:
        truth = normalized(pictures[torch.randint(len(pictures), (_BATCH,))])
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encode(truth).latents
            (drawn,) = model.decode(latents + _LATENT_NOISE * torch.randn_like(latents), return_dict=False)
        return _distance(drawn.float(), truth) + 1e-3 * latents.float().pow(2).mean()

    train(Checkpoint(path, model=model, optimizer=optimizer), Schedule(minutes, 2e-3, decay=0.7), optimizer, loss_of)


def _finish(model: CellAutoencoder, folder: Path, rng: random.Random) -> None:
    model.save_pretrained(folder / "vae")
    print(f"autoencoder: {_peak_signal_to_noise(model, _pictures(rng, 256)):.1f} dB on new scenes")


def _distance(drawn: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of the pixels and of their differences to their neighbours, which keeps edges sharp."""
    error = drawn - truth
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.pow(2).mean() + edges


def _peak_signal_to_noise(model: CellAutoencoder, pictures: torch.Tensor) -> float:
    """PSNR of the reconstructed images, in dB."""
    with torch.no_grad():
        truth = normalized(pictures)
        error = (model(truth).clamp(-1, 1) - truth).pow(2).mean()
    return float(10 * torch.log10(4 / error))
