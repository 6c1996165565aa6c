"""A run at work in its folder: it goes on from wherever it stands to its end, and its stream becomes the trace."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, closing, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command

from ...state import STATE_VERSION, ImageRecord, RunInput, RunResult, RunState, spend_of
from ...tools.errors import Interrupted, SettingsError, disk_is_full
from ...tools.files import JsonLines, Store, set_aside
from ...tools.roles import model_name, ready
from ..graph.checkpoints import CACHE, FILE, UNREADABLE, TaskCache, check_version, checkpoints_of
from ..graph.context import Context
from ..graph.graph import Checkpointer, Graph, build_graph, recursion_limit
from ..graph.person import Ask, answer_of
from ..policies import Policy, policy_name
from ..records.events import (
    Denoising,
    Event,
    LaterVersion,
    Resumed,
    RunFinished,
    RunStarted,
    TraceError,
    read_events,
)
from ..records.manifest import Manifest, read_json, write_manifest
from ..records.reader import EVENTS, RESULT, Run
from ..records.trace import Tracer, failure
from ..settings.loading import Loaded, known_names
from ..settings.models import Models
from ..views.report import write_report
from .steering import STEERING, Drain, Inbox, steer

OnEvent = Callable[[Event], object]
"""Called with each event of the trace, and with every denoising step."""


@dataclass
class Session:
    """All that one run works with; its folder is locked by whoever made the session."""

    store: Store
    """The run folder."""
    manifest: Manifest
    """What the run is made of; the names of its models are added when they are loaded."""
    models: Models
    """The roles."""
    context: Context
    """The roles, policy and budget, as the graph is given them."""
    checkpointer: Checkpointer = None
    """Where the state is kept; the run is the thread of the manifest's run id."""
    on_event: OnEvent | None = None
    control: RunControl | None = None
    """Its ``request_drain()`` stops the run after the step that is being done."""
    ask: Ask | None = None
    """Decides, where the manifest says that the run is interactive."""

    @property
    def graph(self) -> Graph:
        """The state machine."""
        return _compiled(self.manifest.interactive).copy({"checkpointer": self.checkpointer})

    @property
    def config(self) -> RunnableConfig:
        """The run as a LangGraph thread."""
        return {
            "configurable": {"thread_id": self.manifest.run},
            "recursion_limit": recursion_limit(self.context.budget),
        }

    async def finish(self) -> Run:
        """Go on to the end, and write result and report.

        Raises:
            Interrupted: ``control`` asked for it.
            DetailScribeError: the user can mend it; the message says how.
        """
        manifest, store = self.manifest, self.store
        if manifest.interactive and self.checkpointer is None:
            raise SettingsError("a person can be asked only where checkpoints are kept, and run.checkpoints is off")
        await self._require_same_models()
        write_manifest(store, manifest)
        known = read_events(store.path(EVENTS)) if store.path(EVENTS).exists() else []
        with JsonLines(store.path(EVENTS)) as log:

            def emit(events: Iterable[Event]) -> None:
                for event in events:
                    if not isinstance(event, Denoising):  # these are for ``on_event`` alone
                        log.append(event.model_dump_json())
                    if self.on_event is not None:
                        self.on_event(event)

            bounds = self.context.budget
            began = {name: getattr(manifest, name) for name in ("run", "prompt", "seed", "policy")}
            emit([Resumed(run=manifest.run) if known else RunStarted(budget=bounds, **began)])
            state = await self._drive(Tracer(manifest.run, known), emit)
            result = result_of(manifest.run, state)
            self._note_models()
            store.write(RESULT, result.model_dump_json(indent=2).encode())
            await asyncio.to_thread(write_report, store.root, result)
            emit([RunFinished(run=manifest.run, image=result.best.id, stop=result.stop, spend=result.spend)])
        return Run(result, store.root)

    async def _drive(self, tracer: Tracer, emit: Callable[[Iterable[Event]], None]) -> RunState:
        """The final state; every part of the graph's stream becomes events."""
        graph = self.graph
        state, begun, drawn = await self._standing(graph)
        if state is not None:
            emit(tracer.missing(state))
        await self._draw_missing(drawn)
        given: RunInput | Command[Any] | None = (
            None if begun else {"prompt": self.manifest.prompt, "seed": self.manifest.seed}
        )
        inbox = None if self.checkpointer is None else Inbox(self.store.path(STEERING))
        steps = 0
        try:
            while state is None or not state.get("best"):
                waiting = None
                try:
                    async for part in graph.astream(
                        given,
                        self.config,
                        context=self.context,
                        stream_mode=["tasks", "custom", "values"],
                        version="v2",
                        control=Drain(inbox, self.control, steps),
                    ):
                        if part["type"] != "values":
                            emit(tracer.read(part))
                            continue
                        state = part["data"]
                        waiting = part["interrupts"][0].value if part["interrupts"] else None
                        emit(tracer.missing(state))
                        self._note_models()
                except GraphDrained:
                    if inbox is None or (self.control is not None and self.control.drain_requested):
                        raise
                    given, steps = None, await steer(self, inbox, emit)
                    continue
                steps = 0
                if state is None or (waiting is None and not state.get("best")):
                    raise RuntimeError("the graph ended before its end")
                if waiting is not None:
                    given = Command(resume=await answer_of(self.ask, state, self.context, waiting))
        except GraphDrained as drained:
            interrupted = Interrupted(f"stopped after this step; go on with: detailscribe resume {self.store.root}")
            emit([failure(tracer.run, interrupted)])
            raise interrupted from drained
        except BaseException as error:
            if not tracer.failed:
                emit([failure(tracer.run, error)])
            raise
        return state

    async def _draw_missing(self, images: Iterable[ImageRecord]) -> None:
        """Draw those again of which a file is missing, sources first; files that are there stay as they are.

        Raises:
            SettingsError: what would be drawn is another picture.
        """
        known, store = {image.id: image for image in images}, self.store
        for image in sorted(known.values(), key=lambda image: image.round):
            there = [file for file in image.files if store.path(file).is_file()]
            if len(there) == len(image.files):
                continue
            lost = next(file for file in image.files if file not in there)
            source = known.get(image.parent or "") if image.operator is not None else None
            unlike = SettingsError(f"{store.path(lost)} is missing, and another one would be drawn: put it back")
            if not image.seeded:
                raise unlike
            before = {file: store.read(file) for file in there}
            drawer = await ready(self.context.diffusion)
            made = await drawer.draw(image.attempt(tuple(image.trajectory)), store, source=source)
            for file, data in before.items():
                store.write(file, data)
            if image.digest and made.digest != image.digest:
                for file in {*image.files, *made.files} - before.keys():
                    store.path(file).unlink(missing_ok=True)
                raise unlike

    async def _standing(self, graph: Graph) -> tuple[RunState | None, bool, list[ImageRecord]]:
        """What the checkpointer knows of the run, if anything, and whether it knows what to do next.

        It does not at the run's end, nor after a kill between the first input and the first step. The images are those
        of the state and of a step that was cut off, whose nodes that had ended are not carried out again.
        """
        if self.checkpointer is None:
            return None, False, []
        try:
            snapshot = await graph.aget_state(self.config)
        except UNREADABLE as error:
            if disk_is_full(error):
                raise
            raise SettingsError(
                f"the checkpoints of the run in {self.store.root} cannot be read ({type(error).__name__}: {error}):"
                f" remove {FILE}, and resume begins anew with all that {CACHE} holds"
            ) from error
        if not snapshot.values:
            return None, False, []
        state = cast(RunState, snapshot.values)
        check_version(state.get("version", STATE_VERSION), "the run")
        drawn = [state, *(task.result for task in snapshot.tasks if task.result)]
        return state, bool(snapshot.next), [image for part in drawn for image in part.get("images", {}).values()]

    async def _require_same_models(self) -> None:
        """Refuse to go on with other models than the run began with."""
        for role, before in self.manifest.models.items():
            now = model_name(await ready(getattr(self.models, role)))
            if before != now:
                raise SettingsError(
                    f"the run {self.manifest.run} began with {before} as its {role}, and this is {now}: go on with"
                    f" that one, from Python with resume(folder, {role}=...) where it is your own"
                )

    def _note_models(self) -> None:
        """Write the names of the models that are loaded by now into the manifest, where they are not there yet."""
        made = self.models.names
        if made != self.manifest.models and made.keys() >= self.manifest.models.keys():
            self.manifest = self.manifest.model_copy(update={"models": made})
            write_manifest(self.store, self.manifest)


@cache
def _compiled(interactive: bool) -> Graph:
    """Compiled once a process, since that takes longer than all else that a run costs beside its models."""
    return build_graph(interactive=interactive)


@asynccontextmanager
async def session_of(
    store: Store,
    manifest: Manifest,
    models: Models,
    policy: Policy,
    *,
    checkpointer: Checkpointer = None,
    cache: TaskCache | None = None,
    shared: Path | None = None,
    on_event: OnEvent | None = None,
    control: RunControl | None = None,
    ask: Ask | None = None,
) -> AsyncGenerator[Session]:
    """A session in a folder that is locked, with the checkpointer and the cache that the settings name.

    Args:
        store: The run folder.
        manifest: Of the run.
        models: Its roles.
        policy: Its policy.
        checkpointer: In place of the settings'.
        cache: In place of one in the run folder.
        shared: Holds the folders of all runs with the same cache.
        on_event: Called with each event.
        control: Stops the run after a step.
        ask: Decides in place of the policy.
    """
    named = manifest.settings.run.checkpoints
    states = checkpoints_of(named, store) if checkpointer is None else nullcontext(checkpointer)
    with nullcontext(cache) if cache is not None else closing(TaskCache(store.path(CACHE))) as results:
        context = Context(
            **models.roles,
            policy=policy,
            store=store,
            budget=manifest.settings.run.budget,
            chat=models.language,
            owns_store=True,
            cache=results,
            shared=shared,
        )
        async with states as saver:
            yield Session(store, manifest, models, context, saver, on_event, control, ask)


def manifest_of(run: str, prompt: str, seed: int, policy: Policy, loaded: Loaded, **more: object) -> Manifest:
    """What the run is made of; ``more`` are further fields."""
    sources = {name: source for name in known_names() if (source := loaded.source(name)) != "default"}
    fields: dict[str, Any] = {"settings": loaded.settings, **more}
    return Manifest(run=run, prompt=prompt, seed=seed, policy=policy_name(policy), sources=sources, **fields)


def finished_run(folder: Path) -> Run | None:
    """The run in a folder that is locked, if it came to its end.

    A trace or a result that cannot be read is set aside, since both are made again where the run goes on.

    Raises:
        LaterVersion: the trace is of a later version.
    """
    events: list[Event] = []
    try:
        events = read_events(folder / EVENTS)
    except FileNotFoundError:
        if os.path.lexists(folder / EVENTS):
            set_aside(folder / EVENTS, f"{folder / EVENTS} leads nowhere")
    except LaterVersion:
        raise
    except TraceError as error:
        set_aside(folder / EVENTS, error)
    if not events or not isinstance(events[-1], RunFinished):
        return None
    try:
        return Run(read_json(folder / RESULT, RunResult), folder)
    except TraceError as error:
        set_aside(folder / RESULT, error)
        return None


def result_of(run: str, state: RunState) -> RunResult:
    """The outcome of a state that ``finish`` has written."""
    ids = sorted(state["images"])
    advice, comparisons = state.get("advice", {}).values(), state.get("comparisons", {}).values()
    return RunResult(
        run=run,
        prompt=state["prompt"],
        concepts=state["concepts"],
        best=state["images"][state["best"]],
        images=tuple(state["images"][id] for id in ids),
        critiques=tuple(state["critiques"][id] for id in ids),
        decisions=tuple(state["decisions"][id] for id in ids),
        advice=tuple(advice),
        comparisons=tuple(comparisons),
        stop=state["stop"],
        spend=spend_of(state["concepts"], state["images"], state["critiques"], advice, comparisons),
    )
