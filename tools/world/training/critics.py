"""Trains the critic and the judge, each on pictures of its own making.

Both see half of them through the autoencoder, as every generated picture comes out of it. The critic
sees mostly meaningful scenes; the judge sees more things anywhere, worsened by blur, blocks and noise.
"""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional

from ..autoencoder import CellAutoencoder
from ..detectors import AttentionDetector, ConvolutionalDetector, Readings
from .common import Checkpoint, Schedule, normalized, random_scene, scenes_for_training, stacked, train
from .planted import NO_COLOUR, Planted, Truths, plant, truths, worsen

_LATENT_NOISE = 0.3
"""Most of it, against latents of deviation 1."""
_FEW = (0, 0, 0, 1, 1, 2, 3)
"""Numbers of fragments to choose from."""


def train_critic(folder: Path, minutes: float, pictures: int = 10_000, seed: int = 3) -> None:
    """Train, or go on with, the critic and write it to ``folder/critic.safetensors``."""
    rng = random.Random(seed)
    source = scenes_for_training(rng)
    meaningful = [scene for _, scene in itertools.islice(source, pictures * 2 // 3)]
    scenes = meaningful + [random_scene(rng) for _ in range(pictures - len(meaningful))]
    planted = [plant(scene, rng, rng.choice(_FEW)) for scene in scenes]
    vae = CellAutoencoder.from_pretrained(folder / "vae")
    seen = torch.cat([_through(vae, stacked([p.picture for p in chunk])) for chunk in _chunks(planted, 64)])
    _train(ConvolutionalDetector(), folder, "critic", minutes, 2e-3, seed, (seen, truths(planted)))


def train_judge(folder: Path, minutes: float, pictures: int = 16_000, seed: int = 4) -> None:
    """Train, or go on with, the judge and write it to ``folder/judge.safetensors``."""
    rng = random.Random(seed)
    source = scenes_for_training(rng)
    loose = [random_scene(rng) for _ in range(pictures // 2)]
    scenes = loose + [scene for _, scene in itertools.islice(source, pictures - len(loose))]
    planted = [plant(scene, rng, rng.choice(_FEW)) for scene in scenes]
    vae = CellAutoencoder.from_pretrained(folder / "vae")
    seen = torch.cat([_through(vae, stacked([worsen(p.picture, rng) for p in c])) for c in _chunks(planted, 64)])
    _train(AttentionDetector(), folder, "judge", minutes, 1e-3, seed, (seen, truths(planted)))


def _chunks(planted: list[Planted], size: int) -> Iterator[list[Planted]]:
    return (planted[i : i + size] for i in range(0, len(planted), size))


def _through(vae: CellAutoencoder, pictures: torch.Tensor) -> torch.Tensor:
    """Half of the pictures as the autoencoder draws them, some from a noisy latent."""
    half = len(pictures) // 2
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(normalized(pictures[:half])).latents
        noise = _LATENT_NOISE * latents.std() * torch.rand(half, 1, 1, 1) * torch.randn(latents.shape)
        (drawn,) = vae.decode(latents + noise, return_dict=False)
    return torch.cat([drawn.float().clamp(-1, 1).add(1).mul(127.5).round().byte(), pictures[half:]])


def _train(
    model: torch.nn.Module,
    folder: Path,
    name: str,
    minutes: float,
    rate: float,
    seed: int,
    data: tuple[torch.Tensor, Truths],
) -> None:
    torch.manual_seed(seed)
    seen, truth = data
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.02)
    checkpoint = Checkpoint(folder / "checkpoints" / f"{name}.pt", model=model, optimizer=optimizer)

    def loss_of(step: int) -> torch.Tensor:
        picked = torch.randint(len(seen), (64,))
        pictures = normalized(seen[picked]) + 0.03 * torch.randn(64, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16):
            readings = model(pictures)
        return loss(readings, Truths(*(getattr(truth, f)[picked] for f in ("nouns", "colours", "strange", "places"))))

    train(checkpoint, Schedule(minutes, rate, warmup=0.03, decay=0.7), optimizer, loss_of)
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()},
        folder / f"{name}.safetensors",
    )


def loss(readings: Readings, truth: Truths) -> torch.Tensor:
    """Sum of the cross entropies of all answers; sparse ones count by the picture, not by the cell."""
    nouns = functional.binary_cross_entropy_with_logits(readings.nouns.float(), truth.nouns, reduction="none")
    strange = functional.binary_cross_entropy_with_logits(readings.strange.float(), truth.strange, reduction="none")
    colours = functional.cross_entropy(readings.colours.float(), truth.colours, ignore_index=NO_COLOUR)
    places = functional.cross_entropy(readings.places.float(), truth.places)
    return nouns.sum((1, 2, 3)).mean() + strange.sum((1, 2)).mean() + colours + places
