"""Pipelines of SD3.5's architectures with random weights, built from their published configurations.

Denoiser and autoencoder have full size. Prompts are encoded by one-layer stand-ins that give embeddings of the right
shapes, 77 tokens of CLIP and 256 of T5; those of T5 are zeros, as in diffusers without T5. Text is encoded once per
prompt, and these benchmarks measure what happens in every step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

N = TypeVar("N", bound=torch.nn.Module)

TOKENS = 77 + 256
"""Tokens of every prompt for the denoiser."""


@dataclass(frozen=True)
class Architecture:
    """One size of the model."""

    layers: int
    """Layers of the denoiser, and as many heads."""
    positions: int
    """Side of the position table, in patches."""
    dual: int
    """First layers that have a second attention among the patches."""
    side: int = 128
    """Side of the latent; the image is 8 times larger."""
    head: int = 64
    """Width of a head."""
    clips: tuple[int, int] = (768, 1280)
    """Widths of the two CLIP encoders."""
    text: int = 4096
    """Width of T5."""
    blocks: tuple[int, ...] = (128, 256, 512, 512)
    """Widths of the autoencoder."""


ARCHITECTURES: Mapping[str, Architecture] = {
    "medium": Architecture(layers=24, positions=384, dual=13),
    "large": Architecture(layers=38, positions=192, dual=0),
    "smoke": Architecture(
        layers=2, positions=8, dual=1, side=8, head=8, clips=(16, 16), text=32, blocks=(32, 32, 32, 32)
    ),
}
"""By name: the two published ones at 1024 pixels, and one of 64 for testing the code."""


def pipeline(size: Architecture, device: torch.device, dtype: torch.dtype) -> StableDiffusion3Pipeline:
    """The pipeline on its device, from the same random weights every time."""
    torch.manual_seed(0)
    with device:
        network, autoencoder = denoiser(size), _autoencoder(size)
    pipe = StableDiffusion3Pipeline(
        transformer=_cast(network, dtype),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_cast(autoencoder, dtype),
        text_encoder=_cast(_clip(size.clips[0]), dtype),
        tokenizer=_tokenizer(),
        text_encoder_2=_cast(_clip(size.clips[1]), dtype),
        tokenizer_2=_tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    ).to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def t5(size: Architecture, device: torch.device, dtype: torch.dtype) -> T5EncoderModel:
    """A T5 of XXL's sizes with a small vocabulary for a full-size ``Architecture``, on its device."""
    full = size.text == 4096
    layers, heads, width = (24, 64, 64) if full else (1, 2, size.text // 2)
    inner = {"d_ff": 10240 if full else 2 * size.text, "feed_forward_proj": "gated-gelu", "vocab_size": 4}
    with device:
        return _cast(
            T5EncoderModel(T5Config(d_model=size.text, d_kv=width, num_layers=layers, num_heads=heads, **inner)), dtype
        )


def flops_of_row(size: Architecture) -> float:
    """Floating point operations of one row of a forward pass, counted without computing it."""
    with torch.device("meta"):
        network = denoiser(size)
        inputs = {
            "hidden_states": torch.empty(1, 16, size.side, size.side),
            "timestep": torch.empty(1),
            "encoder_hidden_states": torch.empty(1, TOKENS, size.text),
            "pooled_projections": torch.empty(1, sum(size.clips)),
        }
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(**inputs)
    return counter.get_total_flops()


def flops_of_decoding(size: Architecture) -> float:
    """Floating point operations of decoding one latent, counted without computing it."""
    with torch.device("meta"):
        autoencoder = _autoencoder(size)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            autoencoder.decode(torch.empty(1, 16, size.side, size.side))
    return counter.get_total_flops()


def _cast(network: N, dtype: torch.dtype) -> N:
    """The network in this precision, in eval mode; its own ``to`` warns of parts that these do not have."""
    torch.nn.Module.to(network, dtype)
    return network.eval()


def denoiser(size: Architecture) -> SD3Transformer2DModel:
    """Only the denoiser, on torch's current device."""
    return SD3Transformer2DModel(
        sample_size=size.side,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=size.layers,
        attention_head_dim=size.head,
        num_attention_heads=size.layers,
        joint_attention_dim=size.text,
        caption_projection_dim=size.head * size.layers,
        pooled_projection_dim=sum(size.clips),
        pos_embed_max_size=size.positions,
        dual_attention_layers=tuple(range(size.dual)),
        qk_norm="rms_norm",
    )


def _autoencoder(size: Architecture) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=size.blocks,
        layers_per_block=2,
        latent_channels=16,
        sample_size=8 * size.side,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _clip(width: int) -> CLIPTextModelWithProjection:
    sizes: dict[str, Any] = {"hidden_size": width, "intermediate_size": width, "projection_dim": width}
    ids: dict[str, Any] = {"vocab_size": 4, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    return CLIPTextModelWithProjection(CLIPTextConfig(num_hidden_layers=1, num_attention_heads=1, **sizes, **ids))


def _tokenizer() -> PreTrainedTokenizerFast:
    """Maps every word to the unknown token."""
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "<begin>": 2, "<end>": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="<begin> $A <end>", special_tokens=[("<begin>", 2), ("<end>", 3)]
    )
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<begin>", "eos_token": "<end>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=77, **names)
