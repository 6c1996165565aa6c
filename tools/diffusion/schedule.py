"""The noise levels of a denoising, as the scheduler of the model has them."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift


@dataclass(frozen=True)
class Schedule:
    """N steps from pure noise to an image; step i goes from ``sigmas[i]`` to ``sigmas[i + 1]``."""

    sigmas: torch.Tensor
    """(N + 1,) noise levels, falling, from 1 to 0."""
    timesteps: torch.Tensor
    """(N,) what the denoiser is told of each level, in (0, 1000]."""

    @property
    def steps(self) -> int:
        """N."""
        return len(self.timesteps)

    def sigma(self, step: int) -> float:
        """Noise level that x_step has, in [0, 1]; 0 at step N."""
        return min(1.0, float(self.sigmas[step]))


def make_schedule(
    scheduler: FlowMatchEulerDiscreteScheduler, steps: int, tokens: int, device: torch.device
) -> Schedule:
    """The schedule of ``steps`` steps, shifted as configured; ``scheduler`` itself is left as it was.

    Args:
        scheduler: Of the model; its configuration alone counts.
        steps: N.
        tokens: Patches of one image, on which dynamic shifting depends.
        device: Where the loop runs.
    """
    fresh: Any = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config)
    shift = {"mu": _dynamic_shift(fresh, tokens)} if fresh.config.use_dynamic_shifting else {}
    fresh.set_timesteps(steps, device=device, **shift)
    return Schedule(fresh.sigmas, fresh.timesteps)


def _dynamic_shift(scheduler: Any, tokens: int) -> float:
    config = scheduler.config
    return calculate_shift(
        tokens, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
    )


def scale_noise(latent: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """x_t = sigma * noise + (1 - sigma) * x0, the forward process of rectified flow (arXiv 2403.03206, eq. 13).

    ``latent`` and ``noise`` have one shape; ``sigma`` is a scalar tensor in [0, 1].
    """
    sigma = sigma.to(latent.device, latent.dtype)
    return sigma * noise + (1.0 - sigma) * latent


def euler_step(latent: torch.Tensor, velocity: torch.Tensor, schedule: Schedule, step: int) -> torch.Tensor:
    """x_{step + 1} from x_step (..., channels, height, width), computed in float32 as diffusers does."""
    difference = schedule.sigmas[step + 1] - schedule.sigmas[step]
    return (latent.float() + difference * velocity).to(velocity.dtype)


def predict_clean(latent: torch.Tensor, velocity: torch.Tensor, schedule: Schedule, step: int) -> torch.Tensor:
    """What the velocity at x_step takes for x_0: where its straight line ends; shapes as in ``euler_step``."""
    return (latent.float() - schedule.sigmas[step] * velocity).to(velocity.dtype)
