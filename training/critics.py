"""Trains the critic and the judge, each on its own kind of images.

Both see half of them through the autoencoder, as every generated image comes out of it. The critic sees mostly
meaningful scenes; the judge sees more things at random places, degraded by blur, blocks and noise.
"""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from detailscribe.tools.world.autoencoder import CellAutoencoder
from detailscribe.tools.world.detector import AttentionDetector, ConvolutionalDetector, Logits
from detailscribe.tools.world.scene import Scene

from .common import Checkpoint, Schedule, normalized, random_scene, scenes_for_training, stacked, train
from .planted import NO_COLOUR, Truths, plant, truths, worsen

_LATENT_NOISE = 0.3
"""Largest standard deviation of the noise added to latents, which have standard deviation 1."""
_FEW = (0, 0, 0, 1, 1, 2, 3)
"""Number of fragments, chosen at random from these."""
_BATCH = 64
_REFRESH = 3
"""Steps between two batches of new images; with too few new ones the model overfits."""


def train_critic(folder: Path, minutes: float, pictures: int = 8192, seed: int = 3) -> None:
    """Train the critic, or continue, and write it to ``folder/critic.safetensors``."""
    _train(ConvolutionalDetector(), folder, "critic", Schedule(minutes, 2e-3, 0.03, 0.7), pictures, seed, 2 / 3)


def train_judge(folder: Path, minutes: float, pictures: int = 8192, seed: int = 4) -> None:
    """Train the judge, or continue, and write it to ``folder/judge.safetensors``."""
    _train(AttentionDetector(), folder, "judge", Schedule(minutes, 1e-3, 0.03, 0.7), pictures, seed, 1 / 2, worsen)


def _train(
    model: torch.nn.Module,
    folder: Path,
    name: str,
    schedule: Schedule,
    pictures: int,
    seed: int,
    meaningful: float,
    changed: Callable[[Image.Image, random.Random], Image.Image] | None = None,
) -> None:
    """Train on a pool of this many images, in which new ones continually replace the oldest."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.02)
    checkpoint = Checkpoint(folder / "checkpoints" / f"{name}.pt", model=model, optimizer=optimizer)
    torch.manual_seed(seed + checkpoint.steps)
    rng = random.Random(seed + checkpoint.steps)
    batches = _batches(CellAutoencoder.from_pretrained(folder / "vae"), _scenes(rng, meaningful), rng, changed)
    pool = [next(batches) for _ in range(max(1, pictures // _BATCH))]

    def loss_of(step: int) -> torch.Tensor:
        if step % _REFRESH == 0:
            pool[step // _REFRESH % len(pool)] = next(batches)
        seen, truth = _mixed(pool)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(normalized(seen) + 0.03 * torch.randn(_BATCH, 1, 1, 1))
        return loss(logits, truth)

    train(checkpoint, schedule, optimizer, loss_of)
    halves = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    partial = folder / f"{name}.partial"
    save_file(halves, partial)
    os.replace(partial, folder / f"{name}.safetensors")


def _scenes(rng: random.Random, meaningful: float) -> Iterator[Scene]:
    """Endless scenes for a detector: a share is meaningful, the others are things at random places."""
    source = scenes_for_training(rng)
    while True:
        yield next(source)[1] if rng.random() < meaningful else random_scene(rng)


def _batches(
    vae: CellAutoencoder,
    scenes: Iterator[Scene],
    rng: random.Random,
    changed: Callable[[Image.Image, random.Random], Image.Image] | None,
) -> Iterator[tuple[torch.Tensor, Truths]]:
    """Images with planted errors, uint8 (batch, 3, SIZE, SIZE), and their targets."""
    while True:
        planted = [plant(next(scenes), rng, rng.choice(_FEW)) for _ in range(_BATCH)]
        drawn = [p.picture if changed is None else changed(p.picture, rng) for p in planted]
        yield _through(vae, stacked(drawn)), truths(planted)


def _through(vae: CellAutoencoder, pictures: torch.Tensor) -> torch.Tensor:
    """The images, half of them through the autoencoder, some from a noisy latent."""
    half = len(pictures) // 2
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(normalized(pictures[:half])).latents
        noise = _LATENT_NOISE * latents.std() * torch.rand(half, 1, 1, 1) * torch.randn(latents.shape)
        (drawn,) = vae.decode(latents + noise, return_dict=False)
    return torch.cat([drawn.float().clamp(-1, 1).add(1).mul(127.5).round().byte(), pictures[half:]])


def _mixed(pool: list[tuple[torch.Tensor, Truths]]) -> tuple[torch.Tensor, Truths]:
    """A batch of images drawn at random from the pool."""
    picked = [divmod(i, _BATCH) for i in torch.randint(len(pool) * _BATCH, (_BATCH,)).tolist()]
    truth = Truths(*(torch.stack([getattr(pool[i][1], field.name)[j] for i, j in picked]) for field in fields(Truths)))
    return torch.stack([pool[i][0][j] for i, j in picked]), truth


def loss(logits: Logits, truth: Truths) -> torch.Tensor:
    """Sum of the cross entropies of all answers; sparse ones are weighted per image, not per cell."""
    nouns = functional.binary_cross_entropy_with_logits(logits.nouns.float(), truth.nouns, reduction="none")
    strange = functional.binary_cross_entropy_with_logits(logits.strange.float(), truth.strange, reduction="none")
    colours = functional.cross_entropy(logits.colours.float(), truth.colours, ignore_index=NO_COLOUR)
    places = functional.cross_entropy(logits.places.float(), truth.places)
    return nouns.sum((1, 2, 3)).mean() + strange.sum((1, 2)).mean() + colours + places
