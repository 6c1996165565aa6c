"""The denoising loop, over images that may start at different steps of one schedule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from diffusers import SD3Transformer2DModel

from .embeddings import Embedding
from .schedule import Schedule, euler_step

OnStep = Callable[[int, Sequence[int]], None]
"""Called after each step with its number and the indices of the images that took it."""


@dataclass(frozen=True)
class Member:
    """One image of a batch, on its way."""

    latent: torch.Tensor
    """(channels, height, width) x_k at its start step."""
    start_step: int
    """k in [0, N]; at N nothing is left to do."""
    prompt: Embedding
    negative: Embedding | None
    """Of as many tokens as the prompt; None where there is no guidance."""
    keep_steps: frozenset[int] = frozenset()
    """Steps k in [start_step, N] whose x_k is wanted."""


@dataclass
class Denoised:
    """What came of one image."""

    latent: torch.Tensor
    """(channels, height, width) x_N, or x_k while the loop is at step k."""
    kept: dict[int, torch.Tensor] = field(default_factory=dict[int, torch.Tensor])
    """x_k by step k."""


@torch.no_grad()
def denoise(
    transformer: SD3Transformer2DModel,
    members: Sequence[Member],
    schedule: Schedule,
    guidance: float,
    on_step: OnStep = lambda step, active: None,
) -> list[Denoised]:
    """Take every member to the end of the schedule by Euler's method, with as few forward passes as there can be.

    At each step the members that have started share a pass, except that prompts of different lengths go apart.

    Args:
        transformer: Predicts the velocity.
        members: In any order, at any start step.
        schedule: Shared by all.
        guidance: Scale of classifier-free guidance (arXiv 2207.12598); 1 or less means none.
        on_step: May raise to end the loop.
    """
    images = [Denoised(member.latent) for member in members]
    _keep(members, images, 0)
    for step in range(schedule.steps):
        active = [i for i, member in enumerate(members) if member.start_step <= step]
        for group in _alike(members, active):
            latents = torch.stack([images[i].latent for i in group])
            velocity = predict(transformer, latents, schedule.timesteps[step], [members[i] for i in group], guidance)
            for i, latent in zip(group, euler_step(latents, velocity, schedule, step), strict=True):
                images[i].latent = latent
        _keep(members, images, step + 1)
        if active:
            on_step(step, active)
    return images


def predict(
    transformer: SD3Transformer2DModel,
    latents: torch.Tensor,
    timestep: torch.Tensor,
    members: Sequence[Member],
    guidance: float,
) -> torch.Tensor:
    """Velocity at ``latents`` (n, channels, height, width) for the prompts of n members, guided in one pass."""
    guided = guidance > 1
    prompts = [_negative(member) for member in members] if guided else []
    prompts += [member.prompt for member in members]
    inputs = torch.cat([latents, latents]) if guided else latents
    velocity = transformer(
        hidden_states=inputs,
        timestep=timestep.expand(len(inputs)),
        encoder_hidden_states=torch.stack([prompt.tokens for prompt in prompts]),
        pooled_projections=torch.stack([prompt.pooled for prompt in prompts]),
        return_dict=False,
    )[0]
    if not guided:
        return velocity
    unconditional, conditional = velocity.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def _negative(member: Member) -> Embedding:
    if member.negative is None:
        raise ValueError("guidance above 1 needs a negative prompt for every member")
    return member.negative


def _alike(members: Sequence[Member], active: Sequence[int]) -> list[list[int]]:
    """The active indices, in groups whose prompts have one length."""
    groups: dict[int, list[int]] = {}
    for i in active:
        groups.setdefault(len(members[i].prompt.tokens), []).append(i)
    return list(groups.values())


def _keep(members: Sequence[Member], images: Sequence[Denoised], step: int) -> None:
    for member, image in zip(members, images, strict=True):
        if step in member.keep_steps and step >= member.start_step:
            image.kept[step] = image.latent
