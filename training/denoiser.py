"""Trains the denoiser and, with it, its text encoder: rectified flow on the autoencoder's latents.

Stock classes: ``SD3Transformer2DModel`` (arXiv 2403.03206) with a ``CLIPTextModelWithProjection``.
"""

import itertools
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from detailscribe.tools.world.autoencoder import CellAutoencoder
from detailscribe.tools.world.language import detailed_caption, short_caption
from detailscribe.tools.world.vocabulary import GRID

from .common import Checkpoint, Schedule, normalized, pixels, scenes_for_training, train
from .text import BEGIN, END, MAX_TOKENS, PAD, build_tokenizer

_BUCKET = 8
"""Captions are padded to a multiple of this length, here and when images are drawn."""
_DROP = 0.1
"""Share of captions that are emptied, for classifier-free guidance."""
_EMA = 0.999
_TIME_SHIFT = 1.0
"""Mean of the logit-normal noise levels: above 0, because layouts are decided at high noise."""

_WORTH_COMPILING = 10
"""Minutes of training from which compiling the step, which makes it twice as fast, pays off."""


@dataclass(frozen=True)
class Architecture:
    """Size of the denoiser."""

    layers: int = 6
    heads: int = 6
    head_width: int = 32
    text_width: int = 128


class Drawer(torch.nn.Module):
    """Text encoder and denoiser, trained together."""

    def __init__(self, size: Architecture) -> None:
        super().__init__()
        tokenizer = build_tokenizer()
        self.text = CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=size.text_width,
                intermediate_size=4 * size.text_width,
                projection_dim=size.text_width,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=MAX_TOKENS,
                pad_token_id=PAD,
                bos_token_id=BEGIN,
                eos_token_id=END,
            )
        )
        width = size.heads * size.head_width
        self.denoiser = SD3Transformer2DModel(
            sample_size=3 * GRID,
            patch_size=3,
            in_channels=4,
            out_channels=4,
            num_layers=size.layers,
            attention_head_dim=size.head_width,
            num_attention_heads=size.heads,
            joint_attention_dim=size.text_width,
            caption_projection_dim=width,
            pooled_projection_dim=size.text_width,
            pos_embed_max_size=GRID,
            qk_norm="rms_norm",
        )
        _learn_positions(self.denoiser)

    def forward(self, noisy: torch.Tensor, sigma: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Predicted velocity, shaped like ``noisy`` (n, 4, 18, 18); sigma (n,) in [0, 1]; ids (n, tokens)."""
        text = self.text(ids, output_hidden_states=True)
        return self.denoiser(
            hidden_states=noisy,
            timestep=1000 * sigma,
            encoder_hidden_states=text.hidden_states[-2],
            pooled_projections=text.text_embeds,
            return_dict=False,
        )[0]


def _learn_positions(denoiser: SD3Transformer2DModel) -> None:
    """Turn the position table, a fixed buffer in diffusers, into a weight, which is saved under the same name."""
    table = cast(torch.Tensor, denoiser.pos_embed.pos_embed).clone()
    del denoiser.pos_embed.pos_embed
    denoiser.pos_embed.register_parameter("pos_embed", torch.nn.Parameter(table))


@dataclass(frozen=True)
class _Captioned:
    """Latents (n, 4, 18, 18) and, by bucket length, rows of (scene, *token ids)."""

    latents: torch.Tensor
    captions: dict[int, torch.Tensor]


def _captioned_latents(vae: CellAutoencoder, scenes: int, seed: int, cache: Path) -> _Captioned:
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        made = _encode_scenes(vae, scenes, seed)
        partial = cache.with_suffix(".partial")
        torch.save({"latents": made.latents, "captions": made.captions}, partial)
        os.replace(partial, cache)
    return _Captioned(**torch.load(cache, weights_only=True))


def _encode_scenes(vae: CellAutoencoder, scenes: int, seed: int) -> _Captioned:
    rng = random.Random(seed)
    config: Any = vae.config
    source = scenes_for_training(rng)
    latents: list[torch.Tensor] = []
    texts: list[tuple[int, str]] = []
    for start in range(0, scenes, 64):
        chunk = list(itertools.islice(source, 64))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            code = vae.encode(normalized(pixels([scene for _, scene in chunk]))).latents.float()
        latents.append(((code - config.shift_factor) * config.scaling_factor).bfloat16())
        for index, (spec, scene) in enumerate(chunk, start):
            short = short_caption(spec, rng)
            texts += [(index, short), (index, detailed_caption(short_caption(spec, rng), scene))]
    return _Captioned(torch.cat(latents), _bucketed(texts))


def _bucketed(texts: list[tuple[int, str]]) -> dict[int, torch.Tensor]:
    rows: dict[int, list[list[int]]] = {}
    encoded = build_tokenizer()([text for _, text in texts]).input_ids
    for (scene, _), ids in zip(texts, encoded, strict=True):
        length = -(-len(ids) // _BUCKET) * _BUCKET
        rows.setdefault(length, []).append([scene, *ids, *[PAD] * (length - len(ids))])
    return {length: torch.tensor(group) for length, group in sorted(rows.items())}


def train_denoiser(
    folder: Path, minutes: float, scenes: int = 60_000, batch: int = 32, seed: int = 2, size: Architecture | None = None
) -> None:
    """Train denoiser and text encoder on ``folder/vae``, or continue, and write ``folder/diffusion``."""
    torch.manual_seed(seed)
    vae = CellAutoencoder.from_pretrained(folder / "vae")
    data = _captioned_latents(vae, scenes, seed, folder / "checkpoints" / f"latents-{scenes}-{seed}.pt")
    model = Drawer(size or Architecture())
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(_EMA))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    checkpoint = Checkpoint(folder / "checkpoints" / "denoiser.pt", model=model, average=average, optimizer=optimizer)
    torch.manual_seed(seed + checkpoint.steps)
    lengths = list(data.captions)
    weights = torch.tensor([float(len(data.captions[length])) for length in lengths])

    def loss_of(step: int) -> torch.Tensor:
        captions = data.captions[lengths[int(torch.multinomial(weights, 1))]]
        rows = captions[torch.randint(len(captions), (batch,))]
        clean, ids = data.latents[rows[:, 0]].float(), _drop_some(rows[:, 1:])
        sigma = torch.sigmoid(torch.randn(batch) + _TIME_SHIFT)
        noise = torch.randn_like(clean)
        at = sigma.view(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16):
            velocity = model((1 - at) * clean + at * noise, sigma, ids)
        return (velocity.float() - (noise - clean)).pow(2).mean()

    if minutes > _WORTH_COMPILING and shutil.which("c++"):
        model.compile(dynamic=False)  # one program for each length of captions
    with sdpa_kernel(SDPBackend.MATH):  # its backward pass is faster on a CPU, by a third of the whole step
        train(checkpoint, Schedule(minutes, 1e-3), optimizer, loss_of, lambda: average.update_parameters(model))
    save_pipeline(cast(Drawer, average.module), CellAutoencoder.from_pretrained(folder / "vae"), folder / "diffusion")


def _drop_some(ids: torch.Tensor) -> torch.Tensor:
    empty = torch.full_like(ids[0], PAD)
    empty[:2] = torch.tensor([BEGIN, END])
    return torch.where(torch.rand(len(ids), 1) < _DROP, empty, ids)


def save_pipeline(model: Drawer, vae: CellAutoencoder, folder: Path, shift: float = 3.0) -> None:
    """Write a folder that ``StableDiffusion3Pipeline.from_pretrained`` loads, in half precision."""
    vae.register_to_config(_name_or_path="vae")  # not the trainer's own path
    parts: dict[str, Any] = {
        "transformer": model.denoiser.half(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=shift),
        "vae": vae.half(),
        "text_encoder": model.text.half(),
        "tokenizer": build_tokenizer(),
    }
    absent: dict[str, Any] = dict.fromkeys(("text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3"))
    StableDiffusion3Pipeline(**parts, **absent).save_pretrained(folder)
