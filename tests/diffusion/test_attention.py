"""Prompts of several lengths in one pass: padding is seen by nobody."""

import pytest
import torch
from diffusers.models.attention_processor import JointAttnProcessor2_0

from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.diffusion.blocks import MaskedJointAttention, mix_lengths
from detailscribe.tools.diffusion.sampling import pad


@pytest.fixture(params=["sd3", "one_clip"])
def transformer(request, folders):
    return LocalDiffusion.load(folders[request.param]).pipe.transformer


def velocity(transformer, latents, prompts):
    """One row for each prompt, all of them padded with noise rather than zeros."""
    tokens, mask = pad(prompts, latents[0, 0].numel() // transformer.config.patch_size**2)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[len(prompt) :] = 100 * torch.randn(row[len(prompt) :].shape)
    pooled = torch.ones(len(prompts), transformer.config.pooled_projection_dim)
    with torch.no_grad():
        return transformer(
            hidden_states=latents,
            timestep=torch.full((len(prompts),), 500.0),
            encoder_hidden_states=tokens,
            pooled_projections=pooled,
            joint_attention_kwargs=None if mask is None else {"attention_mask": mask},
            return_dict=False,
        )[0]


def test_a_row_is_the_same_whatever_length_the_others_have(transformer):
    config, random = transformer.config, torch.Generator().manual_seed(0)
    latents = torch.randn(3, config.in_channels, config.sample_size, config.sample_size, generator=random)
    prompts = [torch.randn(length, config.joint_attention_dim, generator=random) for length in (3, 8, 24)]
    together = velocity(transformer, latents, prompts)
    for latent, prompt, mixed in zip(latents, prompts, together, strict=True):
        [alone] = velocity(transformer, latent[None], [prompt])
        assert (mixed - alone).abs().max() < 1e-5


def test_without_padding_attention_is_diffusers_own(transformer):
    config = transformer.config
    latents = torch.randn(2, config.in_channels, config.sample_size, config.sample_size)
    prompts = [torch.randn(8, config.joint_attention_dim) for _ in range(2)]
    ours = velocity(transformer, latents, prompts)
    transformer.set_attn_processor(JointAttnProcessor2_0())
    assert torch.equal(velocity(transformer, latents, prompts), ours)


def test_a_model_is_asked_once_and_may_be_taken_over_twice(transformer):
    assert mix_lengths(transformer)
    assert mix_lengths(transformer)


def test_a_model_that_attends_in_its_own_way_keeps_it(transformer):
    class Own(MaskedJointAttention):
        """Somebody's own."""

    own = Own()
    transformer.set_attn_processor(own)
    assert not mix_lengths(transformer)
    assert all(processor is own for processor in transformer.attn_processors.values())
