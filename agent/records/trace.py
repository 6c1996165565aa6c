"""From the graph's stream to events, seen from outside the nodes."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langgraph.types import Overwrite

from ...state import Change, Critique, ImageRecord, RunState, change
from .events import (
    Advised,
    Compared,
    Critiqued,
    Decided,
    Denoising,
    Event,
    Failed,
    ImageMade,
    NodeFinished,
    NodeStarted,
    PromptDecomposed,
)


class Tracer:
    """Reads the parts of ``graph.astream(stream_mode=["tasks", "custom"], version="v2")`` of one run.

    Nothing that the state holds becomes an event twice, nor again after a process that was killed: ``known`` are the
    events of the trace so far.
    """

    def __init__(self, run: str, known: Iterable[Event] = ()) -> None:
        self.run = run
        self.failed = False
        """Whether a node raised."""
        self._images: dict[str, ImageRecord] = {}
        self._critiques: dict[str, Critique] = {}
        self._traced: dict[tuple[str, ...], object] = {}
        """What the trace holds of the state, by kind and id."""
        self._started: dict[str, tuple[float, dict[str, Any]]] = {}
        """When each node at work began, and the fields that its events have in common, by task."""
        for event in known:
            self._is_new(event)
            if isinstance(event, ImageMade):
                self._images[event.record.id] = event.record
            elif isinstance(event, Critiqued):
                self._critiques[event.critique.image] = event.critique

    def read(self, part: Mapping[str, Any]) -> Iterator[Event]:
        """The events that one stream part stands for."""
        data = part["data"]
        if part["type"] == "custom":
            if data["type"] == "denoising":  # verdicts and decisions are read from the tasks, with their nodes
                yield Denoising(run=self.run, **data)
        elif "input" in data:
            if isinstance(data["input"], Mapping):  # the input of a node; that of a task inside one is a tuple
                yield from self._start(data["id"], data["name"], data["input"])
        elif data["id"] in self._started and not data["interrupts"]:
            yield from self._end(data["id"], data["result"] or {}, data["error"])

    def missing(self, state: RunState | Mapping[str, Any]) -> Iterator[Event]:
        """What the state holds and the trace does not, such as the end of a trace that a kill has cut off."""
        return self._new(state, None)

    def _start(self, task: str, node: str, given: Mapping[str, Any]) -> Iterator[Event]:
        decisions = [given["decision"]] if given.get("decision") else given.get("stops", [])
        yield from self._new({"decisions": {decision.image: decision for decision in decisions}}, node)
        if task in self._started:  # it waits for a person, and begins anew with their answer
            return
        attempt = given.get("attempt")
        round, image = (attempt.round, attempt.id) if attempt else (self._last_round, None)
        where: dict[str, Any] = {"run": self.run, "round": round, "node": node, "image": image, "task": task}
        self._started[task] = (time.monotonic(), where)
        yield NodeStarted(**where)

    def _end(self, task: str, result: Mapping[str, Any], error: object) -> Iterator[Event]:
        began, where = self._started.pop(task)
        if error is not None:
            self.failed = True
            yield failure(error=error, **where)
            return
        made = {name: value for name, value in result.items() if not isinstance(value, Overwrite)}
        yield from self._new(made, where["node"])
        yield NodeFinished(seconds=time.monotonic() - began, **where)

    def _new(self, state: Mapping[str, Any], node: str | None) -> Iterator[Event]:
        """What a state or an update of it holds and the trace does not, in the order of the rounds."""
        images, critiques, decisions = (state.get(name, {}) for name in ("images", "critiques", "decisions"))
        self._images |= images
        self._critiques |= critiques
        common: dict[str, Any] = {"run": self.run, "node": node}
        events: list[Event] = []
        if "concepts" in state:
            events.append(PromptDecomposed(concepts=state["concepts"], **common))
        events += [ImageMade(image=id, round=i.round, record=i, **common) for id, i in images.items()]
        for id, critique in critiques.items():
            changed = self._change(critique)
            events.append(Critiqued(image=id, round=self._round(id), critique=critique, change=changed, **common))
        events += [Advised(round=a.round, advice=a, **common) for a in state.get("advice", {}).values()]
        events += [Decided(image=id, round=self._round(id), decision=d, **common) for id, d in decisions.items()]
        events.sort(key=lambda event: -1 if event.round is None else event.round)  # else as they were listed
        for pair in state.get("comparisons", {}).values():
            events.append(Compared(image=pair.better, round=self._last_round, comparison=pair, **common))
        return filter(self._is_new, events)

    def _is_new(self, event: Event) -> bool:
        """Remember what an event says of the state; whether the trace did not hold that."""
        match event:
            case PromptDecomposed(concepts=content):
                name = ("concepts",)
            case ImageMade(record=content):
                name = ("image", content.id)
            case Critiqued(critique=content):
                name = ("critique", content.image)
            case Advised(advice=content):
                name = ("advice", str(content.round))
            case Compared(comparison=content):
                name = ("comparison", content.first, content.second)
            case Decided(decision=content):
                name = ("decision", content.image)
            case _:
                return True
        before, self._traced[name] = self._traced.get(name), content
        return before != content

    def _change(self, critique: Critique) -> Change | None:
        """Of the checks, against the image's parent."""
        record = self._images.get(critique.image)
        before = self._critiques.get(record.parent) if record and record.parent else None
        return change(before, critique) if before else None

    def _round(self, image: str) -> int | None:
        record = self._images.get(image)
        return record.round if record else None

    @property
    def _last_round(self) -> int | None:
        return max((image.round for image in self._images.values()), default=None)


def failure(run: str, error: object, **where: Any) -> Failed:
    """The event of an exception, or of what LangGraph hands on in place of one."""
    name = type(error).__name__ if isinstance(error, BaseException) else "Error"
    return Failed(run=run, error=name, message=str(error), **where)
