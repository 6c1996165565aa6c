"""Steers a run in progress: instructions are appended to a file in its folder and carried out after a step."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import RunControl
from pydantic import Field, ValidationError

from ...state import Action, Budget, Frozen, Ruling, RunState
from ...tools.errors import Interrupted, SettingsError, first_problem
from ...tools.files import JsonLines, Store
from ..graph.context import Context, population_of
from ..graph.graph import Graph
from ..graph.judge import allowed, decide
from ..graph.person import RULE, meant
from ..policies import PolicyError, stop
from ..records.events import Event, Steered
from ..records.manifest import Manifest, read_manifest, write_manifest
from ..records.reader import RecordedRun
from .folder import is_at_work

STEERING = "steering.jsonl"
POLL = 0.2
"""Seconds between two looks of a run that is paused."""

Steer = Literal["pause", "go", "accept", "decide", "budget", "cancel"]
"""pause: wait after this step; go: no longer; accept: end now, with an image; decide: what becomes of images, in place
of the policy; budget: other bounds; cancel: end without a result, to be resumed."""
LiveStatus = Literal["running", "paused", "finished", "failed", "interrupted", "killed"]
"""running and paused: a process works on it; killed: none does, and it said nothing; interrupted: somebody stopped
it."""


class Instruction(Frozen):
    """What a person asks of a run: one line of ``steering.jsonl``."""

    action: Steer
    image: str = ""
    """accept: the id of the image."""
    decisions: dict[str, Action] = Field(default_factory=dict[str, Action])
    """decide: what becomes of images that wait, by id; of the others, what the policy proposes."""
    words: dict[str, str] = Field(default_factory=dict[str, str])
    """decide: the prompt to draw from, by id; by default the critic's."""
    budget: dict[str, float] = Field(default_factory=dict[str, float])
    """budget: the bounds that change, by name."""
    by: str = Field(default="", max_length=200)
    """Who asks; empty where they gave no name."""


def live_status(run: RecordedRun) -> LiveStatus:
    """The status of a run, from its trace and from whether a process works on it."""
    if run.status != "unfinished":
        return run.status
    if run.interrupted:
        return "interrupted"
    return "killed" if not is_at_work(run.folder) else "paused" if run.paused else "running"


def instruct(run: RecordedRun, instruction: Instruction) -> None:
    """Ask something of a run that goes on.

    Raises:
        SettingsError: no process works on it, it keeps no checkpoints, or the instruction does not fit it.
    """
    if (status := live_status(run)) not in ("running", "paused"):
        more = "" if status == "finished" else f": go on with detailscribe resume {run.folder}"
        raise SettingsError(f"no process works on the run {run.run}, which is {status}{more}")
    if read_manifest(run.folder).settings.run.checkpoints == "off":
        raise SettingsError(f"the run {run.run} keeps no checkpoints, so that it cannot be steered")
    for image in filter(None, (instruction.image, *instruction.decisions, *instruction.words)):
        if image not in run.images:
            raise SettingsError(f"the run {run.run} has no image {image!r:.40}; it has {', '.join(run.images)}")
    if instruction.action == "accept" and not instruction.image:
        raise SettingsError("name the image that is accepted")
    if instruction.action == "budget":
        budget_with(run.budget, instruction.budget)
    with JsonLines(Store(run.folder).path(STEERING)) as file:
        file.append(instruction.model_dump_json())


def budget_with(budget: Budget, changes: Mapping[str, float]) -> Budget:
    """The same with other bounds; ``SettingsError`` where one is unknown or not possible."""
    try:
        return Budget.model_validate(budget.model_dump() | dict(changes))
    except ValidationError as error:
        raise SettingsError(f"budget.{first_problem(error)}") from error


class Steerable(Protocol):
    """What ``steer`` needs of a ``Session``."""

    store: Store
    manifest: Manifest
    context: Context
    control: RunControl | None

    @property
    def graph(self) -> Graph: ...
    @property
    def config(self) -> RunnableConfig: ...


class Inbox:
    """The instructions that come from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = self._size()
        self.held: list[Instruction] = []
        """Read, and put off by a step."""

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.is_file() else 0

    @property
    def is_waiting(self) -> bool:
        """Whether there is any."""
        return bool(self.held) or self._size() > self._read

    def take(self) -> list[Instruction]:
        """Those that are there, without lines that are none."""
        taken, self.held = self.held, []
        if self._size() > self._read:
            with self._path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if line.endswith(b"\n"):
                        self._read += len(line)
                        try:
                            taken.append(Instruction.model_validate_json(line))
                        except ValidationError:  # by hand, or of a later version; whoever wrote it sees nothing happen
                            continue
        return taken


class Drain(RunControl):
    """Drains the graph after the step in which an instruction came, or the caller's own control asked for it.

    Args:
        inbox: None where there is no checkpointer to go on from.
        own: The caller's.
        steps: To take before instructions count.
    """

    def __init__(self, inbox: Inbox | None, own: RunControl | None, steps: int = 0) -> None:
        super().__init__()
        self._inbox, self._own, self._steps = inbox, own, steps

    @property
    def drain_requested(self) -> bool:
        """Looked at by LangGraph before each step."""
        if self._own is not None and self._own.drain_requested:
            return True
        self._steps -= 1
        return self._steps < 0 and self._inbox is not None and self._inbox.is_waiting


async def steer(session: Steerable, inbox: Inbox, emit: Callable[[Iterable[Event]], None]) -> int:
    """Do what was asked of a run that was drained, and wait while it is paused.

    Returns:
        Steps that the graph has to take before it can be drained again.

    Raises:
        Interrupted: a person cancelled it, or the caller stops it.
    """
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
                update = _update(session, one, state)
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
        if session.control is not None and session.control.drain_requested:
            raise Interrupted(f"stopped while it was paused; go on with: detailscribe resume {session.store.root}")


def _update(session: Steerable, one: Instruction, state: RunState) -> dict[str, Any] | None:
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
