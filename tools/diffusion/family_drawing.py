"""One image of a pipeline on its way: what is kept of it, who is told, and what it costs."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from .jobs import Job
from .schedule import Schedule


class Abandoned(Exception):
    """Nobody waits for the image any more."""


class Drawing:
    """Follows the steps of one call of a pipeline.

    Args:
        job: What is drawn.
        latent: x_k at its start step k.
        schedule: Of the call.
        left: Set when nobody waits for the image.
    """

    def __init__(self, job: Job, latent: torch.Tensor, schedule: Schedule, left: threading.Event) -> None:
        self.job, self.latent, self.schedule = job, latent, schedule
        self.evaluations = 0
        self.kept: dict[int, torch.Tensor] = {}
        self._left = left
        self._keep(job.start_step)

    def on_step(self, step: int, latent: torch.Tensor) -> None:
        """Take note of the latent after a step of the call, counted from 0; ``Abandoned`` ends the call."""
        if self._left.is_set():
            raise Abandoned
        self.latent = latent
        self._keep(self.job.start_step + step + 1)
        if self.job.progress is not None:
            self.job.progress(self.job.request.id, step + 1, self.schedule.steps - self.job.start_step)

    def _keep(self, step: int) -> None:
        if step in self.job.request.keep_steps:
            self.kept[step] = self.latent


class Passes:
    """Rows of the denoiser's forward passes so far."""

    def __init__(self) -> None:
        self.rows = 0

    def count(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before each forward pass; its latents are the first argument, one tensor or a list of them."""
        self.rows += len(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])


@contextmanager
def counted(transformer: torch.nn.Module) -> Generator[Passes]:
    """Count the forward passes inside."""
    passes = Passes()
    hook = transformer.register_forward_pre_hook(passes.count, with_kwargs=True)
    try:
        yield passes
    finally:
        hook.remove()
