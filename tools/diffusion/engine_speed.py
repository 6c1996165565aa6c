"""What makes a denoiser fast on the device it is on, beside batches."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from torch.nn.attention import SDPBackend

from .denoise import Sample, advance

Advance = Callable[[Sequence[Sample]], None]
"""Takes one step of samples that fit together."""


def stepper(transformer: SD3Transformer2DModel, compiled: bool) -> Advance:
    """How the engine takes a step: as it is, or with the denoiser's blocks compiled at their first use.

    Compiled blocks round otherwise, so a sample alone goes through the blocks as they are and stays, bit for
    bit, what the pipeline makes. Block by block takes a fraction of the time that the whole model takes to
    compile, for about the same speed.
    """
    if not compiled:
        return lambda samples: advance(transformer, samples)
    blocks: Any = transformer.transformer_blocks
    for block in blocks:
        block.compile(dynamic=True)

    def step(samples: Sequence[Sample]) -> None:
        with torch.compiler.set_stance("force_eager") if len(samples) == 1 else nullcontext():
            advance(transformer, samples)

    return step


def attention_backend(transformer: SD3Transformer2DModel, dtype: torch.dtype, device: torch.device) -> str:
    """Name of the kernel that torch's scaled dot product attention takes for this model, in lower case."""
    config: Any = transformer.config
    shape = (2, config.num_attention_heads, 64, config.attention_head_dim)
    query = torch.empty(shape, dtype=dtype, device=device)
    choose: Any = torch._fused_sdp_choice  # pyright: ignore[reportPrivateUsage] - torch has no public way to ask
    return SDPBackend(choose(query, query, query)).name.lower()
