"""The diffusion role on a Ray cluster: the graph stays in this process, and engines on many GPUs draw."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from ...state import Attempt, ImageRecord
from ..cluster import joined
from ..errors import DetailScribeError, ModelError
from ..files import Store
from ..roles import Diffusion, Lazy, Progress, model_name
from ..text import brief

RETRIES = 2
"""How often an image is drawn again after its engine crashed."""
IN_FLIGHT = 32
"""Images per engine, at most; further ones wait."""

Files = dict[str, bytes]
"""Contents by reference in a store."""
Step = tuple[str, int, int]
"""Image id, steps done and steps to do."""
Drawn = tuple[ImageRecord, Files]
"""A drawn image and everything that the model wrote."""


class EngineActor:
    """The actor: loads a diffusion role at its first call and draws images side by side."""

    def __init__(self, make: Callable[[], Diffusion], threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read once torch is imported
        self._diffusion = Lazy(make)

    async def describe(self) -> tuple[str, int, Any]:
        """The model's ``model``, ``evaluations_per_drawing`` and ``schedule``; raises as loading it does."""
        role = await self._diffusion.get()
        return model_name(role), getattr(role, "evaluations_per_drawing", 0), getattr(role, "schedule", None)

    async def draw(self, attempt: Attempt, source: ImageRecord | None, given: Files) -> AsyncGenerator[Step | Drawn]:
        """Yield each step, then the image; ``given`` are the files of the source that the attempt may need."""
        diffusion, loop = await self._diffusion.get(), asyncio.get_running_loop()
        steps: asyncio.Queue[Step | None] = asyncio.Queue()

        def report(*step: Any) -> None:
            loop.call_soon_threadsafe(steps.put_nowait, step)

        async def carry_out(store: Store) -> Drawn:
            try:
                record = await diffusion.draw(attempt, store, source=source, progress=report)
            finally:
                steps.put_nowait(None)
            return record, await asyncio.to_thread(_written, store, given)

        with TemporaryDirectory(prefix="detailscribe-") as folder:
            await asyncio.to_thread(_write, given, Store(folder))
            drawing = asyncio.create_task(carry_out(Store(folder)))
            try:
                while (step := await steps.get()) is not None:
                    yield step
                drawn = await drawing
            finally:
                drawing.cancel()
        yield drawn  # after the folder is removed, since the caller may end this process once it has the image


class RemoteDiffusion(AbstractContextManager["RemoteDiffusion"]):
    """Draws on engines of a Ray cluster, each of which owns a model, and writes into the caller's store what a local
    model would, byte for byte if forward passes are the same.

    Each image goes to the engine with the fewest images; an engine batches its images. A crashed engine is restarted,
    and its images are drawn again. ``close``, or the end of a ``with`` block, ends the engines, and the cluster if it
    was started here.
    """

    model: str
    """Name and hash, for the records."""
    evaluations_per_drawing: int
    """Forward passes of the denoiser for one full drawing; 0 if the model does not know."""
    schedule: Any
    """That of the engines' model; None if it has none."""

    def __init__(
        self,
        make: Callable[[], Diffusion],
        *,
        address: str = "auto",
        engines: int = 1,
        gpus: float = 0,
        cpus: float = 1,
    ) -> None:
        """Start the engines and wait for the first to load; ``ModelError`` if the model cannot be loaded,
        ``SettingsError`` if the cluster cannot be joined.

        ``make``, importable or picklable, loads the model in each engine; ``address`` is as for ``joined``; ``gpus``
        and ``cpus``, also the number of threads, are per engine.
        """
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_concurrency": IN_FLIGHT}
        options |= {"max_restarts": -1, "max_task_retries": RETRIES}
        with ExitStack() as opened:
            ray = self._ray = opened.enter_context(joined(address, max(round(engines * cpus), os.cpu_count() or 1)))
            actor = ray.remote(**options)(EngineActor)
            self._engines = [actor.remote(make, max(1, int(cpus))) for _ in range(engines)]
            for engine in self._engines:
                opened.callback(ray.kill, engine)
            [first], _ = ray.wait([engine.describe.remote() for engine in self._engines], num_returns=1)
            try:
                self.model, self.evaluations_per_drawing, self.schedule = ray.get(first)
            except ray.exceptions.RayError as error:
                raise _own_error(error) from error
            self._opened = opened.pop_all()
        self._in_flight: Counter[Any] = Counter()

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
        """Engines with ``LocalDiffusion.load(source, **how)``; the other arguments are the constructor's."""

        def make() -> Diffusion:
            from .local import LocalDiffusion

            return LocalDiffusion.load(str(source), **how)

        return cls(make, address=address, engines=engines, gpus=gpus, cpus=cpus)

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Draw one image; raises as the engines' model does, and ``ModelError`` if no engine can draw."""
        given = {} if source is None else await asyncio.to_thread(_needed, attempt, source, store)
        engine = min(self._engines, key=lambda engine: self._in_flight[engine])
        self._in_flight[engine] += 1
        answers = engine.draw.options(num_returns="streaming").remote(attempt, source, given)
        try:
            async for reference in answers:
                answer: Step | Drawn = await reference
                if len(answer) == 2:
                    record, files = answer
                    await asyncio.to_thread(_write, files, store)
                    return record
                if progress is not None:
                    progress(*answer)
        except self._ray.exceptions.RayError as error:
            raise _own_error(error) from error
        except asyncio.CancelledError:
            self._ray.cancel(answers)
            raise
        finally:
            self._in_flight[engine] -= 1
        raise ModelError("an engine ended before its image was done: draw it again")

    def close(self) -> None:
        """End the engines; what is in flight fails."""
        self._opened.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def _needed(attempt: Attempt, source: ImageRecord, store: Store) -> Files:
    """The existing files of the source that the attempt may need."""
    references = (source.path, source.latent, source.trajectory.get(attempt.start_step))
    return {name: store.read(name) for name in references if name is not None and store.path(name).is_file()}


def _written(store: Store, given: Files) -> Files:
    """The files of a store, except ``given``."""
    paths = {path.relative_to(store.root).as_posix(): path for path in store.root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if name not in given}


def _write(files: Files, store: Store) -> None:
    """Write files, the picture last, so that everything its record refers to exists."""
    for name in sorted(files, key=lambda name: name.startswith("images/")):
        store.write(name, files[name])


def _own_error(error: Any) -> Exception:
    """The error of the engine's model if it is one for users, else a ``ModelError`` with the reason."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, DetailScribeError):
        return cause
    return ModelError(f"no engine drew it: {brief(str(error))}")
