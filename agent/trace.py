"""From the graph's stream to events, seen from outside the nodes."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..state import Critique, Decision, ImageRecord, change
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
    """Reads the parts of ``graph.astream(stream_mode=["tasks", "custom"], version="v2")`` of one run."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.images: dict[str, ImageRecord] = {}
        """Seen so far, by id."""
        self.critiques: dict[str, Critique] = {}
        """Seen so far, by image id."""
        self.failed = False
        """Whether a node raised."""
        self._decided: set[str] = set()
        self._started: dict[str, tuple[float, int | None, str | None]] = {}

    def read(self, part: Mapping[str, Any]) -> Iterator[Event]:
        """The events that one stream part stands for."""
        data = part["data"]
        if part["type"] == "custom":
            yield Denoising(run=self.run, image=data["image"], done=data["done"], steps=data["steps"])
        elif "input" in data:
            yield from self._start(data["id"], data["name"], data["input"])
        else:
            yield from self._end(data["id"], data["name"], data["result"] or {}, data["error"])

    def _start(self, task: str, node: str, given: Mapping[str, Any]) -> Iterator[Event]:
        for decision in _decisions(given):
            if decision.image in self._decided:
                continue
            self._decided.add(decision.image)
            yield Decided(
                run=self.run, round=self._round(decision.image), node=node, image=decision.image, decision=decision
            )
        request = given.get("request")
        round, image = (request.round, request.id) if request else (self._last_round(), None)
        self._started[task] = (time.monotonic(), round, image)
        yield NodeStarted(run=self.run, round=round, node=node, image=image, task=task)

    def _end(self, task: str, node: str, result: Mapping[str, Any], error: object) -> Iterator[Event]:
        started, round, image = self._started.pop(task, (time.monotonic(), None, None))
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

    def _made(self, node: str, record: ImageRecord) -> Event:
        self.images[record.id] = record
        return ImageMade(run=self.run, round=record.round, node=node, image=record.id, record=record)

    def _critiqued(self, node: str, critique: Critique) -> Event:
        self.critiques[critique.image] = critique
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


def _decisions(given: Mapping[str, Any]) -> list[Decision]:
    """The decisions that a node was sent with."""
    if given.get("decision") is not None:
        return [given["decision"]]
    return given.get("stops", [])
