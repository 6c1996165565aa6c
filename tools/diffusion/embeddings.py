"""Encodes prompts and decodes pictures with the text encoders and the autoencoder of a pipeline."""

import re
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers import DiffusionPipeline, StableDiffusion3Pipeline
from PIL import Image

from ..quiet import quiet_encoding

BUCKET = 8
"""Prompts of a model with one encoder are padded to a multiple of so many tokens."""


@dataclass(frozen=True)
class Embedding:
    """One encoded prompt."""

    tokens: torch.Tensor
    """(tokens, width)"""
    pooled: torch.Tensor
    """(pooled width,), for the whole prompt."""


@torch.no_grad()
def encode(
    pipe: StableDiffusion3Pipeline, prompt: str, max_tokens: int = 256, length: int = 0, refined: bool = False
) -> Embedding:
    """Encode one prompt as in the model's training.

    With two CLIP encoders it is what ``pipe.encode_prompt`` returns for ``max_tokens`` T5 tokens (zeros without a T5);
    the CLIPs read the corrections of a ``refined`` prompt first (``corrections_first``). With one CLIP encoder it is
    its last but one hidden state and its projection; the prompt is padded to a multiple of ``BUCKET`` tokens and at
    least to ``length``, and truncated to what the encoder reads.
    """
    if pipe.text_encoder_2 is not None:
        short = corrections_first(pipe, prompt) if refined else prompt
        with quiet_encoding(pipe):
            encoded: Any = pipe.encode_prompt(
                short, short, prompt, do_classifier_free_guidance=False, max_sequence_length=max_tokens
            )
        tokens, _, pooled, _ = encoded
        return Embedding(tokens[0], pooled[0])
    tokenizer: Any = pipe.tokenizer
    encoder: Any = pipe.text_encoder
    longest = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    tokens = len(tokenizer(prompt, truncation=True, max_length=longest).input_ids)
    padded = min(longest, max(length, -(-tokens // BUCKET) * BUCKET))
    ids = tokenizer(prompt, truncation=True, padding="max_length", max_length=padded, return_tensors="pt").input_ids
    output = encoder(ids.to(encoder.device), output_hidden_states=True)
    return Embedding(output.hidden_states[-2][0].to(encoder.dtype), output.text_embeds[0])


def corrections_first(pipe: DiffusionPipeline, prompt: str) -> str:
    """A refined prompt for CLIP, which reads 77 tokens: if CLIP would cut off the corrections, which follow the user's
    prompt in the first sentence, that sentence is moved to the end."""
    clip: Any = pipe
    first, *corrections = re.split(r"(?<=[.!?;])\s+", prompt.strip())
    if not corrections or len(clip.tokenizer(prompt, verbose=False).input_ids) <= clip.tokenizer_max_length:
        return prompt
    return " ".join((*corrections, first))


@torch.no_grad()
def decode(pipe: StableDiffusion3Pipeline, latents: torch.Tensor) -> list[Image.Image]:
    """Pictures of final latents (n, channels, height, width), as the pipeline itself decodes them."""
    config = pipe.vae.config
    scaled = (latents / config.scaling_factor) + config.shift_factor
    decoded = pipe.vae.decode(scaled, return_dict=False)[0]
    return cast("list[Image.Image]", pipe.image_processor.postprocess(decoded, output_type="pil"))
