"""The diffusion role in front of a pool of engines on a Ray cluster: one graph process, many GPUs."""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

from ...state import ImageRecord
from ..errors import ModelError
from ..roles import Diffusion, GenerateRequest, Progress, RedenoiseRequest
from ..store import Store
from .engine import Drawn, EngineActor, Request, Traits, cause_of, name_of, needed
from .joining import joined
from .memory_store import files_of

RESTARTS = 3
"""Times that Ray starts a lost engine again; it counts machines that were taken away as none."""
RETRIES = 2
"""Times that an image is drawn again whose engine was lost."""


@dataclass
class Engine:
    """An actor that draws."""

    handle: Any
    load: int = 0
    """Images in flight."""
    gone: bool = False
    """Whether it will not come back."""


class RemoteDiffusion:
    """Draws on engines of a Ray cluster, each of which owns a model; images and records end up in the caller's store.

    Images go one by one to the engine that has the fewest; each engine batches what it has. Latents and pictures pass
    through Ray's object store as arrays of bytes, and what a local model would write is written, byte for byte where
    passes are the same. An engine that is lost is started again, and its images are drawn again elsewhere or there.

    ``close`` ends the engines, and the cluster if it was started here; a ``with`` does so, too.
    """

    def __init__(
        self,
        make: Callable[[], Diffusion],
        *,
        address: str = "auto",
        engines: int = 1,
        gpus: float = 0,
        cpus: float = 1,
        in_flight: int = 32,
        news: Callable[[str], object] = lambda line: None,
    ) -> None:
        """Start the engines and wait for the first model.

        Args:
            make: Loads the model, in each engine; importable there, or picklable.
            address: See ``joined``.
            engines: How many.
            gpus: Of each.
            cpus: Of each; also the threads that it computes with.
            in_flight: Images on one engine, at most; others wait here.
            news: Told where the engines are.

        Raises:
            ModelError: the model cannot be loaded.
            SettingsError: the cluster cannot be joined.
        """
        with ExitStack() as opened:
            self._ray = opened.enter_context(joined(address, max(round(engines * cpus), os.cpu_count() or 1), news))
            self._engines = [Engine(self._start(make, gpus, cpus)) for _ in range(engines)]
            for engine in self._engines:
                opened.callback(self._ray.kill, engine.handle)
            self._traits = self._look()
            self._opened = opened.pop_all()
        self._places = in_flight * engines
        self._free: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @classmethod
    def load(
        cls,
        source: Path | str,
        *,
        address: str = "auto",
        engines: int = 1,
        gpus: float = 0,
        cpus: float = 1,
        **how: Any,
    ) -> Self:
        """Engines that are ``LocalDiffusion.load(source, **how)``; the other arguments are the constructor's."""
        return cls(partial(_load, str(source), how), address=address, engines=engines, gpus=gpus, cpus=cpus)

    @property
    def model(self) -> str:
        """Name and hash, for the records."""
        return self._traits.model

    @property
    def schedule(self) -> Any:
        """That of the engines' model; None where it has none."""
        return self._traits.schedule

    @property
    def evaluations_per_drawing(self) -> int:
        """Forward passes of the denoiser for one full drawing; 0 where the model does not tell."""
        return self._traits.evaluations_per_drawing or 0

    async def generate(
        self, requests: Sequence[GenerateRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order; raises as the engines' model does."""
        return await self._draw_all(requests, store, progress)

    async def redenoise(
        self, requests: Sequence[RedenoiseRequest], store: Store, progress: Progress | None = None
    ) -> list[ImageRecord]:
        """One record for each request, in order; raises as the engines' model does."""
        return await self._draw_all(requests, store, progress)

    def close(self) -> None:
        """End the engines; what is in flight fails."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _start(self, make: Callable[[], Diffusion], gpus: float, cpus: float) -> Any:
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_concurrency": 1000}
        options |= {"max_restarts": RESTARTS, "max_task_retries": RETRIES}
        return self._ray.remote(**options)(EngineActor).remote(make, max(1, int(cpus)))

    def _look(self) -> Traits:
        """Wait for the first engine; the others may come later."""
        answers = [engine.handle.traits.remote() for engine in self._engines]
        [first], _ = self._ray.wait(answers, num_returns=1)
        try:
            return self._ray.get(first)
        except self._ray.exceptions.RayError as error:
            raise _ours(error) from error

    async def _draw_all(
        self, requests: Sequence[Request], store: Store, progress: Progress | None
    ) -> list[ImageRecord]:
        images = [asyncio.ensure_future(self._draw(request, store, progress)) for request in requests]
        try:
            return await asyncio.gather(*images)
        finally:
            for image in images:
                image.cancel()

    async def _draw(self, request: Request, store: Store, progress: Progress | None) -> ImageRecord:
        async with self._place():
            given = await asyncio.to_thread(files_of, store, needed(request))
            drawn = await self._drawn_somewhere((request, name_of(store.root), given), progress)
        await asyncio.to_thread(_write, drawn, store)
        return drawn.record

    async def _drawn_somewhere(self, asked: tuple[Any, ...], progress: Progress | None) -> Drawn:
        """The image, from the engine that has the fewest; where that is gone for good, once more from another."""
        errors = self._ray.exceptions
        for last in (False, True):
            engine = min(self._engines, key=lambda one: (one.gone, one.load))
            engine.load += 1
            try:
                return await self._drawn(engine.handle, asked, progress)
            except errors.RayError as error:
                engine.gone = engine.gone or isinstance(error, errors.ActorDiedError)
                if last or not isinstance(error, errors.ActorDiedError):
                    raise _ours(error) from error
            finally:
                engine.load -= 1
        raise AssertionError("the last try returns or raises")

    async def _drawn(self, engine: Any, asked: tuple[Any, ...], progress: Progress | None) -> Drawn:
        if progress is None:
            return await _answered(engine.draw.remote(*asked))
        async for answer in engine.draw_stepwise.options(num_returns="streaming").remote(*asked):
            told = await answer
            if isinstance(told, Drawn):
                return told
            progress(*told)
        raise ModelError("an engine ended before its image was done: draw it again")

    def _place(self) -> asyncio.Semaphore:
        """Of the running loop; a semaphore cannot serve two loops."""
        return self._free.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self._places))


async def _answered(answer: Any) -> Any:
    """The answer; where nobody waits for it any more, it is cancelled."""
    try:
        return await answer
    except asyncio.CancelledError:
        from .library import library

        library().cancel(answer)
        raise


def _load(source: str, how: dict[str, Any]) -> Diffusion:
    from ..diffusion.local import LocalDiffusion

    return LocalDiffusion.load(source, **how)


def _write(drawn: Drawn, store: Store) -> None:
    for reference, data in drawn.files.items():
        store.write(reference, data.tobytes())


def _ours(error: Any) -> BaseException:
    found = cause_of(error)
    return found if found is not error else ModelError(f"no engine drew it: {' '.join(str(error).split())[:300]}")
