"""From the graph's stream to events, seen from outside the nodes."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...state import Critique, Decision, ImageRecord, RunState, change
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

    What it has told once it does not tell again, nor what an earlier process told (``told``) before it was killed.
    """

    def __init__(self, run: str, told: Iterable[Event] = ()) -> None:
        self.run = run
        self.images: dict[str, ImageRecord] = {}
        """Seen so far, by id."""
        self.critiques: dict[str, Critique] = {}
        """Seen so far, by image id."""
        self.failed = False
        """Whether a node raised."""
        self._told: dict[tuple[str, ...], object] = {}
        self._started: dict[str, tuple[float, int | None, str | None]] = {}
        for event in told:
            self._note(event)

    def read(self, part: Mapping[str, Any]) -> Iterator[Event]:
        """The events that one stream part stands for."""
        return filter(self._note, self._read(part))

    def missing(self, state: RunState) -> Iterator[Event]:
        """What the state knows and was not told, in the order it came about: the end of a trace cut off by a kill."""
        return filter(self._note, self._known(state))

    def _note(self, event: Event) -> bool:
        """Remember what an event tells; whether it is new."""
        if isinstance(event, ImageMade):
            self.images[event.record.id] = event.record
        elif isinstance(event, Critiqued):
            self.critiques[event.critique.image] = event.critique
        content = _content(event)
        if content is None:
            return True
        name, told = content
        known = self._told.get(name) == told
        self._told[name] = told
        return not known

    def _known(self, state: RunState) -> Iterator[Event]:
        images, critiques, decisions = state.get("images", {}), state.get("critiques", {}), state.get("decisions", {})
        if "concepts" in state:
            yield PromptDecomposed(run=self.run, concepts=state["concepts"])
        for round in sorted({image.round for image in images.values()}):
            of_round = [image for image in images.values() if image.round == round]
            yield from (self._made(None, image) for image in of_round)
            yield from (self._critiqued(None, critiques[i.id]) for i in of_round if i.id in critiques)
            if advice := state.get("advice", {}).get(str(round)):
                yield Advised(run=self.run, round=round, advice=advice)
            yield from (self._decided(None, decisions[i.id]) for i in of_round if i.id in decisions)
        for pair in state.get("comparisons", {}).values():
            yield Compared(run=self.run, image=pair.better, comparison=pair)

    def _read(self, part: Mapping[str, Any]) -> Iterator[Event]:
        data = part["data"]
        if part["type"] == "custom":
            yield Denoising(run=self.run, image=data["image"], done=data["done"], steps=data["steps"])
        elif "input" in data:
            if isinstance(data["input"], Mapping):  # the input of a node; that of a task inside one is a tuple
                yield from self._start(data["id"], data["name"], data["input"])
        elif data["id"] in self._started and not data["interrupts"]:
            yield from self._end(data["id"], data["name"], data["result"] or {}, data["error"])

    def _start(self, task: str, node: str, given: Mapping[str, Any]) -> Iterator[Event]:
        yield from (self._decided(node, decision) for decision in _decisions(given))
        if task in self._started:  # it waits for a person, and begins anew with their answer
            return
        attempt = given.get("attempt")
        round, image = (attempt.round, attempt.id) if attempt else (self._last_round(), None)
        self._started[task] = (time.monotonic(), round, image)
        yield NodeStarted(run=self.run, round=round, node=node, image=image, task=task)

    def _end(self, task: str, node: str, result: Mapping[str, Any], error: object) -> Iterator[Event]:
        started, round, image = self._started.pop(task)
        if error is not None:
            self.failed = True
            yield failure(self.run, error, task=task, node=node, round=round, image=image)
            return
        if "concepts" in result:
            yield PromptDecomposed(run=self.run, node=node, concepts=result["concepts"])
        for record in result.get("images", {}).values():
            yield self._made(node, record)
        for critique in result.get("critiques", {}).values():
            yield self._critiqued(node, critique)
        for advice in result.get("advice", {}).values():
            yield Advised(run=self.run, round=advice.round, node=node, advice=advice)
        for comparison in result.get("comparisons", {}).values():
            yield Compared(run=self.run, round=round, node=node, image=comparison.better, comparison=comparison)
        seconds = time.monotonic() - started
        yield NodeFinished(run=self.run, round=round, node=node, image=image, task=task, seconds=seconds)

    def _decided(self, node: str | None, decision: Decision) -> Event:
        round = self._round(decision.image)
        return Decided(run=self.run, round=round, node=node, image=decision.image, decision=decision)

    def _made(self, node: str | None, record: ImageRecord) -> Event:
        return ImageMade(run=self.run, round=record.round, node=node, image=record.id, record=record)

    def _critiqued(self, node: str | None, critique: Critique) -> Event:
        record = self.images.get(critique.image)
        before = self.critiques.get(record.parent) if record and record.parent else None
        changed = change(before, critique) if before else None
        round = self._round(critique.image)
        return Critiqued(run=self.run, round=round, node=node, image=critique.image, critique=critique, change=changed)

    def _round(self, image: str) -> int | None:
        record = self.images.get(image)
        return record.round if record else None

    def _last_round(self) -> int | None:
        return max((image.round for image in self.images.values()), default=None)


def failure(run: str, error: object, **where: Any) -> Failed:
    """The event of an exception, or of what LangGraph hands on in place of one."""
    name = type(error).__name__ if isinstance(error, BaseException) else "Error"
    return Failed(run=run, error=name, message=str(error), **where)


def _content(event: Event) -> tuple[tuple[str, ...], object] | None:
    """What an event tells of the state, by a name of its own; None where it tells of the process alone."""
    match event:
        case PromptDecomposed():
            return ("concepts",), event.concepts
        case ImageMade():
            return ("image", event.record.id), event.record
        case Critiqued():
            return ("critique", event.critique.image), event.critique
        case Advised():
            return ("advice", str(event.advice.round)), event.advice
        case Compared():
            return ("comparison", event.comparison.first, event.comparison.second), event.comparison
        case Decided():
            return ("decision", event.decision.image), event.decision
        case _:
            return None


def _decisions(given: Mapping[str, Any]) -> list[Decision]:
    """The decisions that a node was sent with."""
    if given.get("decision") is not None:
        return [given["decision"]]
    return given.get("stops", [])
