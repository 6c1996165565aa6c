"""An actor that draws: a diffusion role and nothing else, on a GPU or a share of the CPUs."""

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...state import ImageRecord
from ..errors import DetailScribeError
from ..roles import Diffusion, GenerateRequest, RedenoiseRequest
from .memory_store import Files, MemoryStore

Request = GenerateRequest | RedenoiseRequest
Step = tuple[str, int, int]
"""Image id, steps done and steps to do."""


@dataclass(frozen=True)
class Drawn:
    """An image with its files."""

    record: ImageRecord
    files: Files
    """All that was written, by reference."""


@dataclass(frozen=True)
class Traits:
    """What a diffusion role tells of itself; None where it does not."""

    model: str
    evaluations_per_drawing: int | None
    schedule: Any


class EngineActor:
    """Draws whatever is in flight side by side; errors of ours are raised as they are."""

    def __init__(self, make: Callable[[], Diffusion], threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read once torch is imported
        self._make, self._loading = make, asyncio.Lock()
        self._diffusion: Diffusion | None = None

    async def traits(self) -> Traits:
        """Load the model, if it is not there; raises as ``make`` does."""
        found: Any = await self._loaded()
        cost = getattr(found, "evaluations_per_drawing", None)
        return Traits(str(getattr(found, "model", type(found).__qualname__)), cost, getattr(found, "schedule", None))

    async def draw(self, request: Request, root: str, given: Files) -> Drawn:
        """One image; ``given`` are the files of the caller's store that it needs, ``root`` is that store's name."""
        return await self._draw(request, MemoryStore(root, given), None)

    async def draw_stepwise(self, request: Request, root: str, given: Files) -> AsyncGenerator[Step | Drawn]:
        """As ``draw``; before the image comes each step."""
        steps: asyncio.Queue[Step] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(*step: Any) -> None:
            loop.call_soon_threadsafe(steps.put_nowait, step)

        drawing = asyncio.create_task(self._draw(request, MemoryStore(root, given), tell))
        try:
            while not drawing.done() or not steps.empty():
                waiting = asyncio.create_task(steps.get())
                await asyncio.wait({waiting, drawing}, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    yield waiting.result()
                else:
                    waiting.cancel()
            yield await drawing
        finally:
            drawing.cancel()

    async def _draw(self, request: Request, store: MemoryStore, progress: Any) -> Drawn:
        diffusion = await self._loaded()
        if isinstance(request, GenerateRequest):
            [record] = await diffusion.generate([request], store, progress)
        else:
            [record] = await diffusion.redenoise([request], store, progress)
        return Drawn(record, store.written)

    async def _loaded(self) -> Diffusion:
        async with self._loading:
            if self._diffusion is None:
                self._diffusion = await asyncio.to_thread(self._make)
            return self._diffusion


def needed(request: Request) -> set[str]:
    """References of the source's latents that the request can start from."""
    if isinstance(request, GenerateRequest):
        return set()
    kept = request.source.trajectory.get(request.start_step)
    return {reference for reference in (kept, request.source.latent) if reference is not None}


def cause_of(error: Any) -> BaseException:
    """What an actor raised, where that is ours; else the error itself."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, DetailScribeError) else error


def name_of(root: Path) -> str:
    """How an actor names the caller's store this once: a model may remember latents by their path, and other latents
    may have come to lie there since."""
    return f"{root.absolute()} ({secrets.token_hex(4)})"
