"""What makes a denoiser fast on the device it is on, beside batches."""

from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from torch.nn.attention import SDPBackend


def compile_blocks(transformer: SD3Transformer2DModel) -> None:
    """Compile the denoiser's blocks, once for all and for any size of batch, at their first use.

    One block is compiled instead of the whole model, which takes a fraction of the time for about the same speed.
    """
    blocks: Any = transformer.transformer_blocks
    for block in blocks:
        block.compile(dynamic=True)


def attention_backend(transformer: SD3Transformer2DModel, dtype: torch.dtype, device: torch.device) -> str:
    """Name of the kernel that torch's scaled dot product attention takes for this model, in lower case."""
    config: Any = transformer.config
    shape = (2, config.num_attention_heads, 64, config.attention_head_dim)
    query = torch.empty(shape, dtype=dtype, device=device)
    choose: Any = torch._fused_sdp_choice  # pyright: ignore[reportPrivateUsage] - torch has no public way to ask
    return SDPBackend(choose(query, query, query)).name.lower()
