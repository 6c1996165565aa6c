"""From the graph's stream to events, seen from outside the nodes."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langgraph.types import Overwrite

from ...state import RunState, change
from . import events
from .events import Event


class Tracer:
    """Reads the parts of ``graph.astream(stream_mode=["tasks", "custom"], version="v2")`` of one run.

    Nothing that the state holds becomes an event twice, nor again after a process that was killed: ``known`` are the
    events of the trace so far.
    """

    def __init__(self, run: str, known: Iterable[Event] = ()) -> None:
        self.run = run
        self.failed = False
        """Whether a node raised."""
        self._traced: dict[tuple[str | None, ...], Any] = {}
        """What the trace holds of the state, by kind and id."""
        self._started: dict[str, tuple[float, dict[str, Any]]] = {}
        """When each node at work began, and the fields that its events have in common, by task."""
        for event in known:
            self._is_new(event)

    def read(self, part: Mapping[str, Any]) -> Iterator[Event]:
        """The events that one stream part stands for."""
        data = part["data"]
        if part["type"] == "custom":
            if data["type"] == "denoising":  # verdicts and decisions are read from the tasks, with their nodes
                yield events.Denoising(run=self.run, **data)
        elif "input" in data:
            if isinstance(data["input"], Mapping):  # the input of a node; that of a task inside one is a tuple
                yield from self._start(data["id"], data["name"], data["input"])
        elif data["id"] in self._started and not data["interrupts"]:
            yield from self._end(data["id"], data["result"] or {}, data["error"])

    def missing(self, state: RunState | Mapping[str, Any]) -> Iterator[Event]:
        """What the state holds and the trace does not, such as the end of a trace that a kill has cut off."""
        yield from self._new(state, None)

    def _start(self, task: str, node: str, given: Mapping[str, Any]) -> Iterator[Event]:
        decisions = [given["decision"]] if given.get("decision") else given.get("stops", [])
        yield from self._new({"decisions": {decision.image: decision for decision in decisions}}, node)
        if task in self._started:  # it waits for a person, and begins anew with their answer
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
        made = {name: value for name, value in result.items() if not isinstance(value, Overwrite)}
        yield from self._new(made, where["node"])
        yield events.NodeFinished(seconds=time.monotonic() - began, **where)

    def _new(self, state: Mapping[str, Any], node: str | None) -> list[Event]:
        """What a state or an update of it holds and the trace does not, in the order of the rounds."""
        found = [event for event in self._listed(state, {"run": self.run, "node": node}) if self._is_new(event)]
        return sorted(found, key=lambda event: -1 if event.round is None else event.round)  # else as they were listed

    def _listed(self, state: Mapping[str, Any], common: Mapping[str, Any]) -> Iterator[Event]:
        """An event for everything in it; each is traced before the next one, which may need its round."""
        if "concepts" in state:
            yield events.PromptDecomposed(concepts=state["concepts"], **common)
        for id, made in state.get("images", {}).items():
            yield events.ImageMade(image=id, round=made.round, record=made, **common)
        for id, look in state.get("critiques", {}).items():
            image = self._traced.get(("image", id))
            before = self._traced.get(("critique", image and image.parent))
            changed = change(before, look) if before else None
            yield events.Critiqued(image=id, round=image and image.round, critique=look, change=changed, **common)
        for advice in state.get("advice", {}).values():
            yield events.Advised(round=advice.round, advice=advice, **common)
        for id, decision in state.get("decisions", {}).items():
            image = self._traced.get(("image", id))
            yield events.Decided(image=id, round=image and image.round, decision=decision, **common)
        for pair in state.get("comparisons", {}).values():
            yield events.Compared(image=pair.better, round=self._last_round, comparison=pair, **common)

    def _is_new(self, event: Event) -> bool:
        """Remember what an event says of the state; whether the trace did not hold that."""
        match event:
            case events.PromptDecomposed(concepts=content):
                name = ("concepts",)
            case events.ImageMade(record=content):
                name = ("image", content.id)
            case events.Critiqued(critique=content):
                name = ("critique", content.image)
            case events.Advised(advice=content):
                name = ("advice", str(content.round))
            case events.Compared(comparison=content):
                name = ("comparison", content.first, content.second)
            case events.Decided(decision=content):
                name = ("decision", content.image)
            case _:
                return True
        before, self._traced[name] = self._traced.get(name), content
        return before != content

    @property
    def _last_round(self) -> int | None:
        return max((made.round for (kind, *_), made in self._traced.items() if kind == "image"), default=None)


def failure(run: str, error: object, **where: Any) -> events.Failed:
    """The event of an exception, or of what LangGraph hands on in place of one."""
    name = type(error).__name__ if isinstance(error, BaseException) else "Error"
    return events.Failed(run=run, error=name, message=str(error), **where)
