"""Carries one run in its folder on to its end, and writes the stream of the graph as the trace."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field, replace
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
from ...tools.text import one_line
from ..graph.checkpoints import CACHE, FILE, UNREADABLE, TaskCache, check_version, checkpoints_of
from ..graph.context import Context, population_of
from ..graph.graph import Checkpointer, Graph, build_graph, recursion_limit
from ..graph.judge import allowed, decide
from ..graph.person import RULE, Ask, answer_of, meant
from ..policies import Policy, PolicyError, stop
from ..records.events import Critiqued, Denoising, Event, Resumed, RunFinished, RunStarted, Steered, read_events
from ..records.manifest import Manifest, write_manifest
from ..records.reader import EVENTS, RESULT, Run
from ..records.trace import Tracer, failure
from ..settings.models import Models
from ..views.report import write_report
from .folder import result_of
from .steering import STEERING, Inbox, Instruction, budget_with

POLL = 0.2
"""Seconds after which a paused run reads its instructions again."""


@dataclass
class Session:
    """Everything that one run works with; the caller has locked its folder."""

    store: Store
    manifest: Manifest
    """Names of models are added when they are loaded."""
    models: Models
    policy: Policy
    begin: RunState | None = None
    """The state that a fork begins with."""
    checkpointer: Checkpointer = None
    """In place of the one that the settings name; the run is the thread of the manifest's run id."""
    cache: TaskCache | None = None
    """In place of the one in the folder."""
    shared: Path | None = None
    """As in ``Context``."""
    on_event: Callable[[Event], object] | None = None
    control: RunControl | None = None
    ask: Ask | None = None
    context: Context = field(init=False)

    async def run(self) -> Run:
        """Go on to the end, and write result and report; ``Interrupted`` where ``control`` asked to stop."""
        store, settings = self.store, self.manifest.settings.run
        async with AsyncExitStack() as stack:
            cache = self.cache
            if cache is None:
                cache = stack.enter_context(closing(TaskCache(store.path(CACHE))))
            self.context = Context(
                **self.models.roles,
                policy=self.policy,
                store=store,
                budget=settings.budget,
                chat=self.models.language,
                owns_store=True,
                cache=cache,
                shared=self.shared,
            )
            if self.checkpointer is None:
                self.checkpointer = await stack.enter_async_context(checkpoints_of(settings.checkpoints, store))
            if self.begin is not None:
                await self._update(self.begin)
            if self.manifest.interactive and self.checkpointer is None:
                raise SettingsError("a person can be asked only where checkpoints are kept, and run.checkpoints is off")
            await self._require_same_models()
            write_manifest(store, self.manifest)
            past = read_events(store.path(EVENTS)) if store.path(EVENTS).exists() else []
            if self.checkpointer is None and any(isinstance(e, Critiqued) and e.critique.unheard for e in past):
                past = []  # the run begins anew, and an answer this time may lead to other images
                store.path(EVENTS).write_bytes(b"")
            return await self._finish(past, stack.enter_context(JsonLines(store.path(EVENTS))))

    async def _finish(self, past: list[Event], log: JsonLines) -> Run:
        """``past`` are the events that earlier processes wrote to the log."""
        manifest, store = self.manifest, self.store

        def emit(events: Iterable[Event]) -> None:
            for event in events:
                if not isinstance(event, Denoising):  # these are for ``on_event`` alone
                    log.append(event.model_dump_json())
                if self.on_event is not None:
                    self.on_event(event)

        facts = {name: getattr(manifest, name) for name in ("run", "prompt", "seed", "policy")}
        emit([Resumed(run=manifest.run) if past else RunStarted(budget=self.context.budget, **facts)])
        state = await self._drive(Tracer(manifest.run, past), emit)
        result = result_of(manifest.run, state)
        self._note_models()
        store.write(RESULT, result.model_dump_json(indent=2).encode())
        await asyncio.to_thread(write_report, store.root, result)
        emit([RunFinished(run=manifest.run, image=result.best.id, stop=result.stop, spend=result.spend)])
        return Run(result, store.root)

    @property
    def _graph(self) -> Graph:
        return _compiled(self.manifest.interactive).copy({"checkpointer": self.checkpointer})

    @property
    def _config(self) -> RunnableConfig:
        limit = recursion_limit(self.context.budget)
        return {"configurable": {"thread_id": self.manifest.run}, "recursion_limit": limit}

    def _interrupted(self, reason: str) -> Interrupted:
        return Interrupted(f"{reason}; go on with: detailscribe resume {self.store.root}")

    async def _update(self, state: RunState | dict[str, Any]) -> None:
        """Change the state as if ``generate`` had: next is ``critique``, which skips what it has looked at."""
        await self._graph.aupdate_state(self._config, dict(state), as_node="generate")

    async def _drive(self, tracer: Tracer, emit: Callable[[Iterable[Event]], None]) -> RunState:
        """Run the graph to its end and return the final state; its stream becomes events."""
        state, is_under_way, images = await self._saved()
        if state is not None:
            emit(tracer.missing(state))
        await self._redraw_missing(images)
        start = RunInput(prompt=self.manifest.prompt, seed=self.manifest.seed)
        given: RunInput | Command[Any] | None = None if is_under_way else start
        inbox = Inbox(self.store.path(STEERING) if self.checkpointer is not None else None, self.control)
        how: Any = {"stream_mode": ["tasks", "custom", "values"], "version": "v2", "control": inbox}
        try:
            while state is None or not state.get("best"):
                question = None
                try:
                    async for part in self._graph.astream(given, self._config, context=self.context, **how):
                        if part["type"] != "values":
                            emit(tracer.read(part))
                            continue
                        state = cast(RunState, part["data"])
                        question = part["interrupts"][0].value if part["interrupts"] else None
                        emit(tracer.missing(state))
                        self._note_models()
                except GraphDrained as drained:
                    if inbox.is_over:
                        raise self._interrupted("stopped after this step") from drained
                    given, inbox.steps = None, await self._steer(inbox, emit)
                    continue
                inbox.steps = 0
                if state is None or not (question or state.get("best")):
                    raise RuntimeError("the graph ended before its end")
                if question:
                    given = Command(resume=await answer_of(self.ask, state, self.context, question))
        except BaseException as error:
            if not tracer.failed:
                emit([failure(tracer.run, error)])
            raise
        return state

    async def _saved(self) -> tuple[RunState | None, bool, list[ImageRecord]]:
        """The saved state, if any; whether the graph can go on from it (not at the end, nor after a kill before the
        first step); and all images, also those of finished nodes of a step that was cut off, which do not run again."""
        if self.checkpointer is None:
            return None, False, []
        try:
            snapshot = await self._graph.aget_state(self._config)
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
        updates = [state, *(task.result for task in snapshot.tasks if task.result)]
        return state, bool(snapshot.next), [image for part in updates for image in part.get("images", {}).values()]

    async def _redraw_missing(self, images: Iterable[ImageRecord]) -> None:
        """Draw images again of which a file is missing, sources first; refuse another picture."""
        by_id, store = {image.id: image for image in images}, self.store
        for image in sorted(by_id.values(), key=lambda image: image.round):
            present = {file for file in image.files if store.path(file).is_file()}
            if present == {*image.files}:
                continue
            lost = next(file for file in image.files if file not in present)
            error = SettingsError(f"{store.path(lost)} is missing, and another one would be drawn: put it back")
            if not image.seeded:
                raise error
            before = {file: store.read(file) for file in present}
            source = by_id.get(image.parent or "") if image.operator is not None else None
            diffusion = await ready(self.context.diffusion)
            made = await diffusion.draw(image.attempt(tuple(image.trajectory)), store, source=source)
            for file, data in before.items():
                store.write(file, data)
            if image.digest and made.digest != image.digest:
                for file in {*image.files, *made.files} - present:
                    store.path(file).unlink(missing_ok=True)
                raise error

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
        """Add the names of models that were loaded meanwhile to the manifest."""
        names = self.models.names
        if names != self.manifest.models and names.keys() >= self.manifest.models.keys():
            self._write_manifest(models=names)

    def _write_manifest(self, **changes: object) -> None:
        self.manifest = self.manifest.model_copy(update=changes)
        write_manifest(self.store, self.manifest)

    async def _steer(self, inbox: Inbox, emit: Callable[[Iterable[Event]], None]) -> int:
        """Carry out a person's instructions between two steps, and wait while the run is paused; ``Interrupted`` where
        it is cancelled. Returns how many steps the graph must take before it can be drained again."""
        paused = False
        while True:
            instructions = inbox.take()
            for n, instruction in enumerate(instructions):
                action = instruction.action
                state = cast(RunState, (await self._graph.aget_state(self._config)).values)
                images = state.get("images", {})
                if action == "decide" and any(id not in state.get("critiques", {}) for id in images):
                    inbox.held = instructions[n:]  # until the critic has looked at them
                    return 1
                facts: dict[str, Any] = {"action": action, "image": instruction.image or None, "by": instruction.by}
                facts |= {"run": self.manifest.run, "round": max((i.round for i in images.values()), default=None)}
                try:
                    ruling = self._carry_out(instruction, state)
                except (PolicyError, SettingsError, ValidationError) as error:
                    emit([Steered(refused=one_line(str(error)), **facts)])
                    continue
                emit([Steered(budget=self.context.budget if action == "budget" else None, **facts)])
                if action == "cancel":
                    raise self._interrupted("cancelled by a person")
                if images and (ruling or action == "budget"):
                    await self._update({"rulings": {str(ruling.round): ruling}} if ruling else {})
                paused = action == "pause" or (paused and action == "budget")
            if not paused:
                return 0
            await asyncio.sleep(POLL)
            if inbox.is_over:
                raise self._interrupted("stopped while it was paused")

    def _carry_out(self, instruction: Instruction, state: RunState) -> Ruling | None:
        """The ruling that an instruction makes, if any; a new budget counts from now on."""
        images = state.get("images", {})
        if instruction.action == "budget":
            budget = budget_with(self.context.budget, instruction.budget)
            self.context = replace(self.context, budget=budget)
            settings = self.manifest.settings
            run = settings.run.model_copy(update={"budget": budget})
            self._write_manifest(settings=settings.model_copy(update={"run": run}))
        if instruction.action == "accept":
            if instruction.image not in images:
                raise SettingsError(f"there is no image {instruction.image!r:.40}")
            waiting = [image for id, image in images.items() if id not in state.get("decisions", {})]
            stops = tuple(stop(image, RULE, f"{instruction.image} was accepted") for image in waiting)
            last = max(image.round for image in images.values())
            return Ruling(round=last, decisions=stops, chosen=instruction.image)
        if instruction.action != "decide":
            return None
        if not images:
            raise PolicyError("there is no image yet to decide about")
        population = population_of(state, self.context.budget)
        proposed = {decision.image: decision for decision in decide(population, self.context.policy)}
        if unknown := instruction.decisions.keys() - proposed.keys():
            raise PolicyError(f"{min(unknown)!r:.40} waits for no decision")
        for id, action in instruction.decisions.items():
            proposed[id] = meant(action, population, population.images[id], instruction.words.get(id, ""))
        return Ruling(round=population.round, decisions=tuple(allowed([*proposed.values()], population)))


@cache
def _compiled(interactive: bool) -> Graph:
    """Compiled once a process, since that takes longer than all else that a run costs beside its models."""
    return build_graph(interactive=interactive)
