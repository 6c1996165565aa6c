"""Latents as files of a store, the last of them also in memory."""

import threading
from contextlib import suppress
from pathlib import Path

import torch
from cachetools import LRUCache
from safetensors import SafetensorError
from safetensors.torch import load, save

from ...state import ImageRecord
from ..errors import MissingLatentError, SettingsError
from ..files import Store


def latent_path(image: str, step: int | None = None) -> str:
    """Reference of the final latent of an image, or of x_step of its denoising."""
    return f"latents/{image}.safetensors" if step is None else f"latents/{image}.k{step:02d}.safetensors"


def write_latent(store: Store, reference: str, latent: torch.Tensor) -> str:
    """Write one latent (channels, height, width) in its own dtype and return its reference."""
    return store.write(reference, save({"latent": latent.cpu().contiguous()}))


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


def resume(source: ImageRecord, step: int, steps: int) -> str | None:
    """Trajectory resume: the reference of x_step of the image's own denoising in N = ``steps``.

    Raises:
        SettingsError: the image was drawn in another number of steps.
        MissingLatentError: x_step was not kept.
    """
    if source.steps != steps:
        raise SettingsError(
            f"image {source.id!r} was drawn in {source.steps} steps and cannot be resumed in {steps}; "
            f"ask for steps={source.steps}, or use the operator 'inject'"
        )
    if step == source.steps:
        return source.latent
    if step not in source.trajectory:
        kept = ", ".join(map(str, sorted(source.trajectory))) or "none"
        raise MissingLatentError(
            f"step {step} of image {source.id!r} was not kept (kept: {kept}); "
            f"draw it with keep_steps=({step},), or use the operator 'inject'"
        )
    return source.trajectory[step]


class Latents:
    """Writes latents to stores and remembers the last ones; safe to use from any threads.

    Args:
        memory: Bytes to remember, at most; 0 for none.
    """

    def __init__(self, memory: int) -> None:
        self._lock = threading.Lock()
        self._remembered: LRUCache[Path, torch.Tensor] = LRUCache(memory, getsizeof=lambda latent: latent.nbytes)

    def write(self, store: Store, reference: str, latent: torch.Tensor) -> str:
        """As ``write_latent``."""
        here = latent.to("cpu", copy=True).contiguous()
        write_latent(store, reference, here)
        self._remember(store.path(reference), here)
        return reference

    def read(self, store: Store, reference: str | None) -> torch.Tensor:
        """As ``read_latent``; the result is not to be changed."""
        if reference is None:
            return read_latent(store, reference)
        path = store.path(reference)
        with self._lock:
            if path in self._remembered:
                return self._remembered[path]
        latent = read_latent(store, reference)
        self._remember(path, latent)
        return latent

    def _remember(self, path: Path, latent: torch.Tensor) -> None:
        with self._lock:
            self._remembered.pop(path, None)
            with suppress(ValueError):  # of one that is larger than the whole memory
                self._remembered[path] = latent
