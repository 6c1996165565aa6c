"""One run among many: in a folder of its own, with the roles of all, from wherever an earlier start left it."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ...state import ConceptGraph, RunResult
from ...tools.errors import SettingsError
from ...tools.store import Store
from ..graph.answers import ANSWERS, Answers, key_of
from ..graph.context import Context
from ..graph.graph import Graph
from ..runs.driving import complete, emitter
from ..runs.folder import claimed, taken_up
from ..runs.outcome import Run
from ..runs.work import AlreadyDecomposed, manifest_of
from ..traces.events import Event, EventLog, Resumed, RunFinished, RunStarted, TraceError, read_events
from ..traces.manifest import Manifest, model_name, read_manifest
from ..traces.reader import EVENTS, MANIFEST, RESULT
from ..validation import check_prompt
from .cast import Cast
from .jobs import Job


async def run_job(
    job: Job, cast: Cast, graph: Graph, folder: Path, on_event: Callable[[Event], object] | None = None
) -> Run:
    """Run a job to its end; what an earlier start of the same job left in the folder is not made again.

    Raises:
        DetailScribeError: the user can mend it.
    """
    check_prompt(job.prompt)
    manifest = _manifest(job, cast)
    with _folder(folder, manifest) as store:
        told = _trace(folder)
        if told and isinstance(told[-1], RunFinished):
            return Run(RunResult.model_validate_json(store.read(RESULT)), folder)
        store.write(MANIFEST, manifest.model_dump_json(indent=2).encode())
        answers = Answers(store.path(ANSWERS))
        concepts = await _concepts(cast, job.prompt, answers)
        with EventLog(store.path(EVENTS)) as log:
            emit = emitter(log, on_event)
            emit(Resumed(run=job.folder) if told else _started(job, manifest))
            context = Context(
                decomposer=AlreadyDecomposed(concepts, model_name(cast.decomposer)),
                diffusion=cast.diffusion,
                critic=cast.critic,
                policy=job.policy,
                store=store,
                budget=job.budget,
                chat=cast.chat,
                answers=answers,
            )
            return await complete(graph, job.folder, job.prompt, job.seed, context, emit, told)


def _manifest(job: Job, cast: Cast) -> Manifest:
    made = manifest_of(job.folder, job.prompt, job.seed, job.policy, cast.loaded, models=cast.models)
    run = made.settings.run.model_copy(update={"seed": job.seed, "budget": job.budget})
    return made.model_copy(update={"settings": made.settings.model_copy(update={"run": run})})


def _folder(folder: Path, manifest: Manifest) -> AbstractContextManager[Store]:
    """The run folder with what the same job left in it; what another left is removed."""
    if not folder.exists():
        return claimed(folder)
    if _is_of(folder, manifest):
        return taken_up(folder)
    shutil.rmtree(folder)
    return claimed(folder)


def _is_of(folder: Path, manifest: Manifest) -> bool:
    """Whether what lies there was begun by the same job, and can be read."""
    try:
        before = read_manifest(folder)
        _trace(folder)
    except (SettingsError, TraceError):
        return False
    return _identity(before) == _identity(manifest)


def _identity(manifest: Manifest) -> tuple[object, ...]:
    settings = manifest.settings.run
    return manifest.prompt, manifest.seed, manifest.policy, manifest.models, settings.budget, manifest.state_version


async def _concepts(cast: Cast, prompt: str, answers: Answers) -> ConceptGraph:
    async def ask() -> ConceptGraph:
        return await cast.decomposer.decompose(prompt)

    return await answers.get(key_of("concepts", model_name(cast.decomposer), prompt), ConceptGraph, ask)


def _trace(folder: Path) -> list[Event]:
    path = folder / EVENTS
    return read_events(path) if path.exists() else []


def _started(job: Job, manifest: Manifest) -> Event:
    return RunStarted(run=job.folder, prompt=job.prompt, seed=job.seed, policy=manifest.policy, budget=job.budget)
