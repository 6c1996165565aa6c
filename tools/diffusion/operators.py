"""The two ways to take an image up again at step k of its schedule; at step N both change nothing."""

import torch

from ...state import ImageRecord
from ..errors import MissingLatentError, SettingsError
from .schedule import Schedule, scale_noise


def inject(final: torch.Tensor, noise: torch.Tensor, schedule: Schedule, step: int) -> torch.Tensor:
    """Noise injection (SDEdit, arXiv 2108.01073): the final latent with the noise that step ``step`` has.

    ``final`` and ``noise`` are (channels, height, width). No picture is encoded on the way.
    """
    return scale_noise(final, noise, schedule.sigmas[step])


def resume(source: ImageRecord, step: int) -> str | None:
    """Trajectory resume: the reference of x_step of the image's own denoising.

    Raises:
        SettingsError: the image was drawn in fewer steps.
        MissingLatentError: x_step was not kept.
    """
    if step > source.steps:
        raise SettingsError(f"image {source.id!r} was drawn in {source.steps} steps; there is no step {step}")
    if step == source.steps:
        return source.latent
    if step not in source.trajectory:
        kept = ", ".join(map(str, sorted(source.trajectory))) or "none"
        raise MissingLatentError(
            f"step {step} of image {source.id!r} was not kept (kept: {kept}); "
            f"draw it with keep_steps=({step},), or use the operator 'inject'"
        )
    return source.trajectory[step]
