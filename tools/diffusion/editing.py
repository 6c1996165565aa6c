"""Diffusion roles for edits: by a function, or by a second model beside the one that draws."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from PIL import Image

from ...state import Attempt, ImageRecord
from ..errors import SettingsError
from ..files import Store
from ..roles import Diffusion, Progress, model_name
from .job import DrawJob


class FunctionEditor:
    """Edits with a Python function, in a thread; it draws nothing."""

    def __init__(self, edit: Callable[[Image.Image, str, int], Image.Image]) -> None:
        """``edit`` takes a picture, an instruction and a seed, and returns a picture of the same shape; its attribute
        ``model``, if any, is the name in records."""
        self.edit, self.model = edit, model_name(edit)

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Edit a picture; raises as the function does, and ``SettingsError`` for an attempt that is no edit."""
        job, began = DrawJob(attempt, store, source, progress), perf_counter()

        def carry_out() -> ImageRecord:
            if (before := job.read_edited()) is None:
                raise SettingsError(f"{self.model} edits pictures and does nothing else")
            after = job.fitted(self.edit(before, job.prompt, job.seed), before)
            how = {"steps": 1, "start_sigma": 1.0, "guidance": 0.0, "model": self.model, "evaluations": 0}
            return job.write(after, latent=None, seconds=perf_counter() - began, **how)

        record = await asyncio.to_thread(carry_out)
        job.report(1, 1)
        return record


class WithEditor:
    """Draws and refines with one model, and edits with another; other attributes are those of the first."""

    def __init__(self, draws: Diffusion, edits: Diffusion) -> None:
        self.draws, self.edits = draws, edits
        self.model = f"{model_name(draws)}, edits by {model_name(edits)}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.draws, name)

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Draw or edit; an edit gets no latent, since the model that draws may be unable to read it."""
        if attempt.operator != "edit":
            return await self.draws.draw(attempt, store, source=source, progress=progress)
        image = await self.edits.draw(attempt, store, source=source, progress=progress)
        return image.model_copy(update={"latent": None, "trajectory": {}})
