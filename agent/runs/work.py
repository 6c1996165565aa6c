"""What a run, begun or taken up again, does in its folder."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from langgraph.runtime import RunControl

from ...state import ConceptGraph
from ...tools.errors import SettingsError
from ...tools.roles import Critic, Decomposer, Diffusion
from ...tools.store import Store
from ..doctor.require import require
from ..graph.answers import ANSWERS, Answers, key_of
from ..graph.checkpoints import checkpoints_of
from ..graph.context import Context
from ..graph.graph import Checkpointer, build_graph
from ..graph.person import Ask
from ..policies import Policy
from ..presets import preset_named
from ..settings import Loaded, known_names
from ..traces.events import Event, EventLog, Resumed, RunStarted, read_events
from ..traces.manifest import MANIFEST, Manifest, model_name, models_of
from .driving import complete, emitter
from .outcome import Run

EVENTS = "events.jsonl"


@dataclass(frozen=True)
class Work:
    """All that a run needs; the manifest says what is kept of it, the rest lives with the process."""

    store: Store
    """The run folder, which is ours."""
    manifest: Manifest
    """Of the run; its models are known once they are loaded."""
    loaded: Loaded
    policy: Policy
    decomposer: Decomposer | None = None
    """In place of the preset's."""
    diffusion: Diffusion | None = None
    """In place of the preset's."""
    critic: Critic | None = None
    """In place of the preset's."""
    on_event: Callable[[Event], object] | None = None
    checkpointer: Checkpointer = None
    """In place of the settings'."""
    control: RunControl | None = None
    """Stops the run after a step."""
    ask: Ask | None = None
    """Decides, where the manifest says that the run is interactive."""


async def do(work: Work) -> Run:
    """Go on from wherever the run folder stands, to the end.

    Raises:
        Interrupted: ``control`` asked for it.
        DetailScribeError: the user can mend it; the message says how.
    """
    store, manifest = work.store, work.manifest
    _leave(manifest, store)
    answers = Answers(store.path(ANSWERS))
    models = preset_named(work.loaded.settings.run.preset).roles(work.loaded.settings)
    reader = work.decomposer or models.decomposer()
    await require(work.loaded.settings, draws=work.diffusion is None, looks=work.critic is None)
    concepts = await _decomposed(reader, manifest.prompt, answers)
    told = _trace(store.path(EVENTS))
    with EventLog(store.path(EVENTS)) as log:
        emit = emitter(log, work.on_event)
        emit(Resumed(run=manifest.run) if told else _started(work))
        critic = work.critic or await asyncio.to_thread(models.critic)  # first, since it loads faster
        context = Context(
            decomposer=AlreadyDecomposed(concepts, model_name(reader)),
            diffusion=work.diffusion or await asyncio.to_thread(models.diffusion),
            critic=critic,
            policy=work.policy,
            store=store,
            budget=work.loaded.settings.run.budget,
            chat=models.chat(),
            answers=answers,
        )
        _same_models(manifest, models_of(context))
        _leave(manifest.model_copy(update={"models": models_of(context)}), store)
        async with checkpointer_of(work) as saver:
            if manifest.interactive and saver is None:
                raise SettingsError("a person can be asked only where checkpoints are kept, and run.checkpoints is off")
            return await complete(
                build_graph(saver, interactive=manifest.interactive),
                manifest.run,
                manifest.prompt,
                manifest.seed,
                context,
                emit,
                told,
                work.control,
                work.ask,
            )


@dataclass(frozen=True)
class AlreadyDecomposed:
    """Hands on what was decomposed before the run began, so that it is paid for once."""

    concepts: ConceptGraph
    model: str
    """Of the decomposer that did it."""

    async def decompose(self, prompt: str) -> ConceptGraph:
        return self.concepts


def manifest_of(run_id: str, prompt: str, seed: int, policy: Policy, loaded: Loaded, **more: object) -> Manifest:
    """What the run is made of; ``more`` are further fields."""
    fields = {
        "run": run_id,
        "prompt": prompt,
        "seed": seed,
        "policy": repr(policy),
        "settings": loaded.settings,
        "sources": {name: source for name in known_names() if (source := loaded.source(name)) != "default"},
        "models": {},
    }
    return Manifest.model_validate(fields | more)


def write_manifest(run_id: str, prompt: str, seed: int, loaded: Loaded, context: Context) -> None:
    """Leave in the context's store what the run is made of."""
    _leave(manifest_of(run_id, prompt, seed, context.policy, loaded, models=models_of(context)), context.store)


def _same_models(manifest: Manifest, now: dict[str, str]) -> None:
    for role, before in manifest.models.items():
        if before != now[role]:
            raise SettingsError(
                f"the run {manifest.run} began with {before} as its {role}, and this is {now[role]}: go on with that"
                f" one, from Python with resume(folder, {role}=...) where it is your own"
            )


def _leave(manifest: Manifest, store: Store) -> None:
    store.write(MANIFEST, manifest.model_dump_json(indent=2).encode())


async def _decomposed(reader: Decomposer, prompt: str, answers: Answers) -> ConceptGraph:
    async def ask() -> ConceptGraph:
        return await reader.decompose(prompt)

    return await answers.get(key_of("concepts", model_name(reader), prompt), ConceptGraph, ask)


def _trace(path: Path) -> list[Event]:
    return read_events(path) if path.exists() else []


def _started(work: Work) -> Event:
    manifest, budget = work.manifest, work.loaded.settings.run.budget
    return RunStarted(
        run=manifest.run, prompt=manifest.prompt, seed=manifest.seed, policy=manifest.policy, budget=budget
    )


@asynccontextmanager
async def checkpointer_of(work: Work) -> AsyncGenerator[Checkpointer]:
    """The one that was given, or else the settings'."""
    if work.checkpointer is not None:
        yield work.checkpointer
        return
    async with checkpoints_of(work.loaded.settings.run.checkpoints, work.store) as saver:
        yield saver
