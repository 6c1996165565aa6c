"""Turns the stream of the graph into events; nodes know nothing of them."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langgraph.types import Overwrite

from ...state import RunState, change
from . import events
from .events import Event

PARTS: dict[str, tuple[str, ...]] = {
    "decomposed": ("concepts",),
    "image_made": ("record", "id"),
    "critiqued": ("critique", "image"),
    "advised": ("advice", "round"),
    "compared": ("comparison", "first", "second"),
    "decided": ("decision", "image"),
}
"""The part of the state that an event holds, by its type: the event's field, and the fields that identify the part."""


class Tracer:
    """Reads the parts of ``graph.astream(stream_mode=["tasks", "custom"], version="v2")`` of one run.

    Nothing in the state becomes an event twice, even after a kill: ``past`` are the events of the trace so far.
    """

    def __init__(self, run: str, past: Iterable[Event] = ()) -> None:
        self.run = run
        self.failed = False
        """Whether a node raised."""
        self._traced: dict[tuple[Any, ...], Any] = {}
        """Parts of the state that the trace holds, by event type and identity."""
        self._started: dict[str, tuple[float, dict[str, Any]]] = {}
        """When each running node began, and the fields that its events share, by task."""
        for event in past:
            self._is_new(event)

    def read(self, part: Mapping[str, Any]) -> Iterator[Event]:
        """The events of one part of the stream."""
        data = part["data"]
        if part["type"] == "custom":
            if data["type"] == "denoising":  # critiques and decisions come with the tasks
                yield events.Denoising(run=self.run, **data)
        elif "input" in data:
            if isinstance(data["input"], Mapping):  # a node; the input of a task inside one is a tuple
                yield from self._start(data["id"], data["name"], data["input"])
        elif data["id"] in self._started and not data["interrupts"]:
            yield from self._end(data["id"], data["result"] or {}, data["error"])

    def missing(self, state: RunState | Mapping[str, Any]) -> Iterator[Event]:
        """The events of a state that the trace does not hold, such as those that a kill has cut off."""
        yield from self._new(state, None)

    def _start(self, task: str, node: str, given: Mapping[str, Any]) -> Iterator[Event]:
        decisions = [given["decision"]] if given.get("decision") else given.get("stops", [])
        yield from self._new({"decisions": {decision.image: decision for decision in decisions}}, node)
        if task in self._started:  # it waited for a person, and restarts with their answer
            return
        attempt = given.get("attempt")
        round, image = (attempt.round, attempt.id) if attempt else (self._last_round, None)
        where: dict[str, Any] = {"run": self.run, "round": round, "node": node, "image": image, "task": task}
        self._started[task] = (time.monotonic(), where)
        yield events.NodeStarted(**where)

    def _end(self, task: str, result: Mapping[str, Any], error: object) -> Iterator[Event]:
        began, where = self._started.pop(task)
        if error is not None:
            self.failed = True
            yield failure(error=error, **where)
            return
        update = {name: value for name, value in result.items() if not isinstance(value, Overwrite)}
        yield from self._new(update, where["node"])
        yield events.NodeFinished(seconds=time.monotonic() - began, **where)

    def _new(self, state: Mapping[str, Any], node: str | None) -> list[Event]:
        """The events of a state or an update that the trace does not hold, in the order of the rounds."""
        new = [event for event in self._events_of(state, {"run": self.run, "node": node}) if self._is_new(event)]
        return sorted(new, key=lambda event: -1 if event.round is None else event.round)

    def _events_of(self, state: Mapping[str, Any], common: Mapping[str, Any]) -> Iterator[Event]:
        """Every event of a state; the caller passes each to ``_is_new`` before the next one, which may need its
        round."""
        if "concepts" in state:
            yield events.PromptDecomposed(concepts=state["concepts"], **common)
        for id, record in state.get("images", {}).items():
            yield events.ImageMade(image=id, round=record.round, record=record, **common)
        for id, critique in state.get("critiques", {}).items():
            image = self._traced.get(("image_made", id))
            before = self._traced.get(("critiqued", image and image.parent))
            changed = change(before, critique) if before else None
            yield events.Critiqued(image=id, round=image and image.round, critique=critique, change=changed, **common)
        for advice in state.get("advice", {}).values():
            yield events.Advised(round=advice.round, advice=advice, **common)
        for id, decision in state.get("decisions", {}).items():
            image = self._traced.get(("image_made", id))
            yield events.Decided(image=id, round=image and image.round, decision=decision, **common)
        for pair in state.get("comparisons", {}).values():
            yield events.Compared(image=pair.better, round=self._last_round, comparison=pair, **common)

    def _is_new(self, event: Event) -> bool:
        """Whether the trace does not hold the event's part of the state; from now on it does."""
        if event.type not in PARTS:
            return True
        name, *identity = PARTS[event.type]
        part = getattr(event, name)
        key = (event.type, *(getattr(part, field) for field in identity))
        before, self._traced[key] = self._traced.get(key), part
        return before != part

    @property
    def _last_round(self) -> int | None:
        return max((image.round for (type, *_), image in self._traced.items() if type == "image_made"), default=None)


def failure(run: str, error: object, **where: Any) -> events.Failed:
    """The event of an exception, or of the text that LangGraph gives instead."""
    name = type(error).__name__ if isinstance(error, BaseException) else "Error"
    return events.Failed(run=run, error=name, message=str(error), **where)
