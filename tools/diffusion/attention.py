"""Attention among images whose prompts have different numbers of tokens."""

from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.attention_processor import JointAttnProcessor2_0
from torch.nn.functional import scaled_dot_product_attention

from ..errors import SettingsError


class MaskedJointAttention(JointAttnProcessor2_0):
    """SD3's joint attention with a mask for padding, or a backend of diffusers; without either it is diffusers' own.

    ``attention_mask`` is (rows, 1, 1, image and text tokens), False where a token is padding.
    """

    _attention_backend = None
    """Where ``set_attention_backend`` of diffusers writes what it is to be."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> Any:
        """As diffusers' processor: the attended image tokens, and the text tokens where there are any."""
        backend = self._attention_backend
        if backend is None and (encoder_hidden_states is None or attention_mask is None):
            return super().__call__(attn, hidden_states, encoder_hidden_states)  # type: ignore[arg-type]
        image = _heads(attn, hidden_states, (attn.to_q, attn.to_k, attn.to_v), (attn.norm_q, attn.norm_k))
        if encoder_hidden_states is None:
            return attn.to_out[0](_attend(image, None, backend))
        text = _heads(
            attn,
            encoder_hidden_states,
            (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj),
            (attn.norm_added_q, attn.norm_added_k),
        )
        both = [torch.cat(pair, dim=2) for pair in zip(image, text, strict=True)]
        seen = _attend(both, attention_mask, backend)
        of_image, of_text = seen.split([hidden_states.shape[1], text[0].shape[2]], dim=1)
        return attn.to_out[0](of_image), of_text if attn.context_pre_only else attn.to_add_out(of_text)


def _heads(attn: Any, tokens: torch.Tensor, projections: tuple[Any, ...], norms: tuple[Any, ...]) -> list[torch.Tensor]:
    """Query, key and value, each (rows, heads, tokens, width of a head)."""
    parts = [project(tokens).unflatten(-1, (attn.heads, -1)).transpose(1, 2) for project in projections]
    return [norm(part) if norm else part for norm, part in zip((*norms, None), parts, strict=True)]


def _attend(parts: list[torch.Tensor], mask: torch.Tensor | None, backend: Any) -> torch.Tensor:
    """(rows, tokens, width) from query, key and value, each (rows, heads, tokens, width of a head)."""
    if backend is None:
        return scaled_dot_product_attention(*parts, attn_mask=mask).transpose(1, 2).flatten(2)
    query, key, value = (part.transpose(1, 2) for part in parts)
    return dispatch_attention_fn(query, key, value, attn_mask=mask, backend=backend).flatten(2)


def set_attention(transformer: Any, backend: str) -> None:
    """Attend through a backend of diffusers' dispatcher; ``SettingsError`` if that is not here or has no effect."""
    processors = [getattr(module, "processor", None) for module in transformer.modules()]
    if not any(hasattr(processor, "_attention_backend") for processor in processors):
        raise SettingsError(f"a {type(transformer).__name__} attends in its own way: leave diffusion.attention out")
    try:
        transformer.set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError) as error:
        raise SettingsError(f'diffusion.attention = "{backend}" cannot be used here: {error}') from error


def mix_lengths(transformer: SD3Transformer2DModel) -> bool:
    """Let prompts of any lengths share a pass; False, and no change, if the model has attention of its own."""
    known = (JointAttnProcessor2_0, MaskedJointAttention)
    if any(type(processor) not in known for processor in transformer.attn_processors.values()):
        return False
    transformer.set_attn_processor(MaskedJointAttention())  # type: ignore[arg-type]
    return True


def pad(prompts: list[torch.Tensor], image_tokens: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Prompts (tokens, width) as one (rows, most tokens, width), and the mask if some are shorter than others."""
    lengths = [len(prompt) for prompt in prompts]
    if len(set(lengths)) == 1:
        return torch.stack(prompts), None
    tokens = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
    there = torch.arange(image_tokens + tokens.shape[1]) < image_tokens + torch.tensor(lengths)[:, None]
    return tokens, there[:, None, None].to(tokens.device, non_blocking=True)
