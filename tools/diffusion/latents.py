"""Reads and writes latents as files of a store."""

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ..errors import MissingLatentError, SettingsError
from ..files import Store
from .job import DrawJob


def read_latent(store: Store, reference: str | None) -> torch.Tensor:
    """The latent (channels, height, width), on the CPU; ``MissingLatentError`` if there is none, or it is broken."""
    if reference is None:
        raise MissingLatentError("the image was drawn by a model that gives no latents, so it cannot be refined")
    try:
        return load(store.read(reference))["latent"]
    except (OSError, SafetensorError, KeyError) as error:
        raise MissingLatentError(
            f"the latent {store.path(reference)} is missing or cannot be read: draw the image again"
        ) from error


def final_latent(job: DrawJob) -> torch.Tensor:
    """The final latent of the image that is refined; raises as ``read_latent`` does."""
    return read_latent(job.store, job.source and job.source.latent)


def read_source(job: DrawJob, steps: int) -> torch.Tensor | None:
    """The latent (channels, height, width) from which an image of N = ``steps`` starts, on the CPU: x_k of the source's
    denoising for ``resume``, its final latent for ``inject``, None for a new drawing."""
    source, step = job.source, job.start_step
    if source is None:
        return None
    if job.attempt.operator == "edit":
        raise SettingsError(f"{job.id!r} is an edit, and the model that draws takes no picture: set edit.kind")
    if job.attempt.operator == "inject":
        return final_latent(job)
    if source.steps != steps:
        raise SettingsError(
            f"image {source.id!r} was drawn in {source.steps} steps and cannot be resumed in {steps}; "
            f"ask for steps={source.steps}, or use the operator 'inject'"
        )
    if step != steps and step not in source.trajectory:
        kept = ", ".join(map(str, sorted(source.trajectory))) or "none"
        raise MissingLatentError(
            f"step {step} of image {source.id!r} was not kept (kept: {kept}); "
            f"draw it with keep_steps=({step},), or use the operator 'inject'"
        )
    return read_latent(job.store, source.latent if step == steps else source.trajectory[step])


def write_latents(job: DrawJob, final: torch.Tensor, kept: Mapping[int, torch.Tensor]) -> dict[str, Any]:
    """Write latents (channels, height, width), each in its own dtype, ``kept`` by step k; returns the fields ``latent``
    and ``trajectory`` of the record. Of a resumed image, earlier kept steps refer to the files of its source."""

    def write(suffix: str, latent: torch.Tensor) -> str:
        file = save({"latent": latent.cpu().contiguous()})
        return job.store.write(f"latents/{job.id}{suffix}.safetensors", file)

    trajectory = dict[int, str]()
    if job.source is not None and job.attempt.operator == "resume":
        shared = sorted(k for k in job.keep_steps & job.source.trajectory.keys() if k < job.start_step)
        trajectory = {k: job.source.trajectory[k] for k in shared}
    for k, latent in sorted(kept.items()):
        trajectory[k] = write(f".k{k:02d}", latent)
    return {"latent": write("", final), "trajectory": trajectory}
