"""What the denoiser is told of a prompt, encoded as the loaded model was trained to read it."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import StableDiffusion3Pipeline

BUCKET = 8
"""A model with one encoder reads prompts padded to a multiple of it, in tokens."""


@dataclass(frozen=True)
class Embedding:
    """One encoded prompt."""

    tokens: torch.Tensor
    """(tokens, width) one vector a token."""
    pooled: torch.Tensor
    """(pooled width,) one vector for the whole prompt."""


def has_both_clips(pipe: StableDiffusion3Pipeline) -> bool:
    """Whether the model reads prompts as SD3 does; otherwise it has one CLIP encoder alone."""
    return pipe.text_encoder_2 is not None


@torch.no_grad()
def encode(pipe: StableDiffusion3Pipeline, prompt: str, max_tokens: int = 256, length: int = 0) -> Embedding:
    """Encode one prompt.

    With both CLIP encoders it is exactly what ``pipe.encode_prompt`` makes, with zeros for an absent T5.
    With one, see ``encode_with_one_clip``; ``length`` counts there alone.
    """
    if not has_both_clips(pipe):
        return encode_with_one_clip(pipe, prompt, length)
    encoded: Any = pipe.encode_prompt(
        prompt, prompt, prompt, do_classifier_free_guidance=False, max_sequence_length=max_tokens
    )
    tokens, _, pooled, _ = encoded
    return Embedding(tokens[0], pooled[0])


def encode_with_one_clip(pipe: StableDiffusion3Pipeline, prompt: str, length: int = 0) -> Embedding:
    """The last but one hidden state and the projection of a single CLIP encoder.

    The prompt is padded to a multiple of ``BUCKET`` tokens and to ``length`` at least, and cut off at
    the longest text that the encoder reads.
    """
    tokenizer: Any = pipe.tokenizer
    encoder: Any = pipe.text_encoder
    longest = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    written = len(tokenizer(prompt, truncation=True, max_length=longest).input_ids)
    padded = min(longest, max(length, -(-written // BUCKET) * BUCKET))
    ids = tokenizer(prompt, truncation=True, padding="max_length", max_length=padded, return_tensors="pt").input_ids
    read = encoder(ids.to(encoder.device), output_hidden_states=True)
    return Embedding(read.hidden_states[-2][0].to(encoder.dtype), read.text_embeds[0])


class Encoder:
    """Encodes prompts and remembers the last few."""

    def __init__(self, pipe: StableDiffusion3Pipeline, max_tokens: int = 256, remembered: int = 64) -> None:
        self._pipe = pipe
        self._max_tokens = max_tokens
        self._remembered = remembered
        self._cache: OrderedDict[tuple[str, int], Embedding] = OrderedDict()

    def prompt(self, prompt: str) -> Embedding:
        """The encoded prompt."""
        return self._recall((prompt, 0), lambda: encode(self._pipe, prompt, self._max_tokens))

    def negative(self, beside: Embedding) -> Embedding:
        """The empty prompt, of as many tokens as ``beside``."""
        length = len(beside.tokens)
        return self._recall(("", length), lambda: encode(self._pipe, "", self._max_tokens, length))

    def _recall(self, key: tuple[str, int], make: Callable[[], Embedding]) -> Embedding:
        if key not in self._cache:
            self._cache[key] = make()
        self._cache.move_to_end(key)
        while len(self._cache) > self._remembered:
            self._cache.popitem(last=False)
        return self._cache[key]
