"""A run at work in its folder: it goes on from wherever it stands to its end, and its stream becomes the trace."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command
from pydantic import ValidationError

from ...state import STATE_VERSION, ImageRecord, Ruling, RunInput, RunState
from ...tools.errors import Interrupted, SettingsError, disk_is_full
from ...tools.files import JsonLines, Store
from ...tools.roles import model_name, ready
from ..graph.checkpoints import CACHE, FILE, UNREADABLE, TaskCache, check_version, checkpoints_of
from ..graph.context import Context, population_of
from ..graph.graph import Checkpointer, Graph, build_graph, recursion_limit
from ..graph.judge import allowed, decide
from ..graph.person import RULE, Ask, answer_of, meant
from ..policies import Policy, PolicyError, stop
from ..records.events import Denoising, Event, Resumed, RunFinished, RunStarted, Steered, read_events
from ..records.manifest import Manifest, write_manifest
from ..records.reader import EVENTS, RESULT, Run
from ..records.trace import Tracer, failure
from ..settings.models import Models
from ..views.report import write_report
from .folder import result_of
from .steering import STEERING, Inbox, Instruction, budget_with

POLL = 0.2
"""Seconds between two looks of a run that is paused."""

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
        """Go on to the end, and write result and report; ``Interrupted`` where ``control`` asked for it."""
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
        inbox = Inbox(self.store.path(STEERING) if self.checkpointer is not None else None, self.control)
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
                        control=inbox,
                    ):
                        if part["type"] != "values":
                            emit(tracer.read(part))
                            continue
                        state = part["data"]
                        waiting = part["interrupts"][0].value if part["interrupts"] else None
                        emit(tracer.missing(state))
                        self._note_models()
                except GraphDrained:
                    if inbox.is_over:
                        raise
                    given, inbox.steps = None, await steer(self, inbox, emit)
                    continue
                inbox.steps = 0
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
        """Draw those again of which a file is missing, sources first; another picture than it was is refused."""
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
        """What the checkpointer knows of the run, if anything, and whether it knows what to do next. It does not at the
        run's end, nor after a kill between the first input and the first step. The images are those of the state and of
        a step that was cut off, whose nodes that had ended are not carried out again."""
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


async def steer(session: Session, inbox: Inbox, emit: Callable[[Iterable[Event]], None]) -> int:
    """Do what was asked of a run that was drained, and wait while it is paused; ``Interrupted`` where it is cancelled.
    Returns the steps that the graph has to take before it can be drained again."""
    paused = False
    while True:
        instructions = inbox.take()
        for n, one in enumerate(instructions):
            state = cast(RunState, (await session.graph.aget_state(session.config)).values)
            images = state.get("images", {})
            if one.action == "decide" and any(id not in state.get("critiques", {}) for id in images):
                inbox.held = instructions[n:]  # after the critic has looked
                return 1
            known: dict[str, Any] = {"action": one.action, "image": one.image or None, "by": one.by}
            known |= {"run": session.manifest.run, "round": max((i.round for i in images.values()), default=None)}
            try:
                update = _steered(session, one, state)
            except (PolicyError, SettingsError, ValidationError) as error:
                emit([Steered(refused=" ".join(str(error).split()), **known)])
                continue
            emit([Steered(budget=session.context.budget if one.action == "budget" else None, **known)])
            if one.action == "cancel":
                raise Interrupted(f"cancelled by a person; go on with: detailscribe resume {session.store.root}")
            if update is not None and images:
                # As if drawn just now: critique comes next, skips what was looked at, and hands on to the judge.
                await session.graph.aupdate_state(session.config, update, as_node="generate")
            paused = one.action == "pause" or (paused and one.action == "budget")
        if not paused:
            return 0
        await asyncio.sleep(POLL)
        if inbox.is_over:
            raise Interrupted(f"stopped while it was paused; go on with: detailscribe resume {session.store.root}")


def _steered(session: Session, one: Instruction, state: RunState) -> dict[str, Any] | None:
    """What an instruction changes in the state; None for nothing."""
    images = state.get("images", {})
    if one.action == "budget":
        budget = budget_with(session.context.budget, one.budget)
        session.context = replace(session.context, budget=budget)
        settings = session.manifest.settings
        settings = settings.model_copy(update={"run": settings.run.model_copy(update={"budget": budget})})
        session.manifest = session.manifest.model_copy(update={"settings": settings})
        write_manifest(session.store, session.manifest)
        return {}
    if one.action == "accept":
        if one.image not in images:
            raise SettingsError(f"there is no image {one.image!r:.40}")
        waiting = [image for id, image in images.items() if id not in state.get("decisions", {})]
        stops = tuple(stop(image, RULE, f"{one.image} was accepted") for image in waiting)
        ruling = Ruling(round=max(i.round for i in images.values()), decisions=stops, chosen=one.image)
    elif one.action == "decide":
        if not images:
            raise PolicyError("there is no image yet to decide about")
        population = population_of(state, session.context.budget)
        proposed = decide(population, session.context.policy)
        if strange := one.decisions.keys() - {decision.image for decision in proposed}:
            raise PolicyError(f"{min(strange)!r:.40} waits for no decision")
        decisions = [
            meant(one.decisions[d.image], population, population.images[d.image], one.words.get(d.image, ""))
            if d.image in one.decisions
            else d
            for d in proposed
        ]
        ruling = Ruling(round=population.round, decisions=tuple(allowed(decisions, population)))
    else:
        return None
    return {"rulings": {str(ruling.round): ruling}}


@cache
def _compiled(interactive: bool) -> Graph:
    """Compiled once a process, since that takes longer than all else that a run costs beside its models."""
    return build_graph(interactive=interactive)


async def work_on(
    store: Store,
    manifest: Manifest,
    models: Models,
    policy: Policy,
    *,
    begin: RunState | None = None,
    checkpointer: Checkpointer = None,
    cache: TaskCache | None = None,
    shared: Path | None = None,
    on_event: OnEvent | None = None,
    control: RunControl | None = None,
    ask: Ask | None = None,
) -> Run:
    """A run in a folder that is locked, from wherever it stands, or the state to ``begin`` with, to its end.
    Checkpointer and cache are those that settings and folder name, unless given."""
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
            session = Session(store, manifest, models, context, saver, on_event, control, ask)
            if begin is not None:
                # As if drawn just now: critique comes next, skips what was looked at, and hands on to the judge.
                await session.graph.aupdate_state(session.config, dict(begin), as_node="generate")
            return await session.finish()
