"""The diffusion role where one model draws and refines, and another one edits; also a function that edits."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from PIL import Image

from ...state import Attempt, ImageRecord
from ..errors import SettingsError
from ..files import Store
from ..roles import Diffusion, Progress, model_name
from .job import Job


class FunctionEditor:
    """Edits by a function of this process, in a thread; it draws nothing."""

    def __init__(self, edit: Callable[[Image.Image, str, int], Image.Image]) -> None:
        """``edit`` makes of a picture, instruction and seed a picture of the same shape; its ``model`` names it."""
        self.edit, self.model = edit, model_name(edit)

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Carry an edit out; raises as the function does, and ``SettingsError`` for another attempt."""
        job, began = Job(attempt, store, source, progress), perf_counter()

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
    """Draws and refines with one model, and edits with another; what else is asked of it is that of the first."""

    def __init__(self, draws: Diffusion, edits: Diffusion) -> None:
        self.draws, self.edits = draws, edits
        self.model = f"{model_name(draws)}, edits by {model_name(edits)}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.draws, name)

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Carry an attempt out; an edit has no latent, since the model that draws may not read it."""
        if attempt.operator != "edit":
            return await self.draws.draw(attempt, store, source=source, progress=progress)
        image = await self.edits.draw(attempt, store, source=source, progress=progress)
        return image.model_copy(update={"latent": None, "trajectory": {}})
