"""Latents as files of a store, the last of them also in memory."""

import threading
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ..errors import MissingLatentError
from ..store import Store


def final_reference(image: str) -> str:
    """Where the final latent of an image lies."""
    return f"latents/{image}.safetensors"


def kept_reference(image: str, step: int) -> str:
    """Where x_step of an image's denoising lies."""
    return f"latents/{image}.k{step:02d}.safetensors"


def write_latent(store: Store, reference: str, latent: torch.Tensor) -> str:
    """Write one latent (channels, height, width) in its own dtype and return its reference."""
    return store.write(reference, save({"latent": latent.cpu().contiguous()}))


def read_latent(store: Store, reference: str | None) -> torch.Tensor:
    """The latent (channels, height, width), on the CPU; ``MissingLatentError`` if there is none, or it is broken."""
    if reference is None:
        raise MissingLatentError(
            "the image was drawn by a server that gives no latents, so it cannot be taken up again"
        )
    try:
        return load(store.read(reference))["latent"]
    except (OSError, SafetensorError, KeyError) as error:
        raise MissingLatentError(
            f"the latent {store.path(reference)} is missing or cannot be read: draw the image again"
        ) from error


class Latents:
    """Writes every latent to its store, so that a run survives a kill, and remembers the last ones.

    Args:
        memory: Bytes to remember, at most; 0 for none.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._held = 0
        self._lock = threading.Lock()
        self._latents: OrderedDict[Path, torch.Tensor] = OrderedDict()

    @property
    def held(self) -> int:
        """Bytes remembered now."""
        return self._held

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
            if path in self._latents:
                self._latents.move_to_end(path)
                return self._latents[path]
        latent = read_latent(store, reference)
        self._remember(path, latent)
        return latent

    def _remember(self, path: Path, latent: torch.Tensor) -> None:
        with self._lock:
            self._held += latent.nbytes - _bytes(self._latents.pop(path, None))
            self._latents[path] = latent
            while self._held > self._memory:
                self._held -= _bytes(self._latents.popitem(last=False)[1])


def _bytes(latent: torch.Tensor | None) -> int:
    return 0 if latent is None else latent.nbytes
