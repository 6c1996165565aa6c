"""Events become spans: run -> node -> what a model did. The same for a trace as for a run that goes on."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode, Tracer, TracerProvider

from ...state import Exchange
from ..traces.events import (
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
    RunFinished,
    RunStarted,
)
from . import attributes as say

SCOPE = "detailscribe"
"""Name of the instrumentation."""


@dataclass(frozen=True)
class _Open:
    """A node that is at work."""

    span: Span
    began: datetime
    node: str | None
    image: str | None


@dataclass
class _Run:
    """A run whose end has not been told."""

    span: Span
    seen: datetime
    """Time of its last event."""
    nodes: dict[str, _Open] = field(default_factory=dict[str, _Open])
    """By LangGraph's id of the task."""
    images: dict[str, str] = field(default_factory=dict[str, str])
    """References of the images that were told, by id."""


class Telemetry:
    """Turns each event it is called with into spans: give it to ``run`` as ``on_event``, or feed it a trace.

    Runs may come mixed. A span ends when its event comes, so that a collector sees a long run grow; the span of
    a run itself comes last, and lies under the caller's current span if there is one. What a run that failed or
    was killed left open is ended by ``close``, or at the end of the ``with`` block.

    Args:
        provider: Where spans go; the application's own unless given.
        images: Put before the references of images, such as ``https://host/runs/fox/``.
    """

    def __init__(self, provider: TracerProvider | None = None, *, images: str = "") -> None:
        self._tracer: Tracer = trace.get_tracer(SCOPE, tracer_provider=provider)
        self._images = images
        self._runs: dict[str, _Run] = {}

    def __call__(self, event: Event) -> None:
        """Take one event of any run."""
        if isinstance(event, Denoising):
            return
        run = self._run(event)
        run.seen = event.time
        match event:
            case NodeStarted():
                span = self._begin(_name(event.node, event.image), run.span, event.time, say.of_node(event), event.run)
                run.nodes[event.task] = _Open(span, event.time, event.node, event.image)
            case NodeFinished() if event.task in run.nodes:
                run.nodes.pop(event.task).span.end(_nanoseconds(event.time))
            case Failed():
                self._fail(run, event)
            case RunFinished():
                best = None if event.image is None else self._reference(run, event.image)
                run.span.set_attributes(say.of_end(event, best))
                run.span.set_status(Status(StatusCode.OK))
                self._end(event.run, event.time)
            case _:
                self._tell(run, event)

    def close(self) -> None:
        """End what has no end: runs that failed, were killed, or still go on, each at its last event."""
        for name, run in list(self._runs.items()):
            run.span.set_attribute("detailscribe.unfinished", True)
            self._end(name, run.seen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, event: Event) -> _Run:
        """The run of an event; begun where it is not known, as by the first event or by a resumption."""
        if event.run not in self._runs:
            said: say.Attributes = say.of_run(event) if isinstance(event, RunStarted) else {say.KIND: "AGENT"}
            span = self._begin("detailscribe", None, event.time, said, event.run)
            self._runs[event.run] = _Run(span, event.time)
        return self._runs[event.run]

    def _tell(self, run: _Run, event: Event) -> None:
        """Everything that is one span of its own, made at once, under the node that is at work for it."""
        above, began = _above(run, event)
        match event:
            case ImageMade():
                made = event.record
                run.images[made.id] = url = self._images + made.path
                start = max(began, event.time - timedelta(seconds=made.seconds + made.waited))
                self._whole(f"draw {made.id}", above, start, event, say.of_image(made, url))
            case Critiqued():
                look, url = event.critique, run.images.get(event.critique.image)
                said = say.of_critique(look, event.change, url)
                self._calls(self._whole(f"look at {look.image}", above, began, event, said), event, look.exchanges)
            case Compared():
                pair = event.comparison
                span = self._whole(f"compare {pair.first}, {pair.second}", above, began, event, say.of_comparison(pair))
                self._calls(span, event, pair.exchanges)
            case Decided():
                span = self._whole(
                    f"decide {event.decision.image}", run.span, event.time, event, say.of_decision(event.decision)
                )
            case PromptDecomposed():
                self._calls(above, event, event.concepts.exchanges)
            case Advised():
                self._calls(above, event, event.advice.exchanges)
            case _:
                pass

    def _calls(self, above: Span, event: Event, exchanges: Iterable[Exchange]) -> None:
        """Calls of models one after another, the last of which ends with the event: a trace holds how long each took,
        and not when."""
        end = event.time
        for exchange in reversed(list(exchanges)):
            start = end - timedelta(seconds=exchange.seconds)
            span = self._begin(f"ask {exchange.model}", above, start, say.of_exchange(exchange), event.run)
            span.end(_nanoseconds(end))
            end = start

    def _whole(self, name: str, above: Span, start: datetime, event: Event, said: say.Attributes) -> Span:
        span = self._begin(name, above, start, said, event.run)
        span.end(_nanoseconds(event.time))
        return span

    def _begin(self, name: str, above: Span | None, time: datetime, said: say.Attributes, run: str) -> Span:
        context = None if above is None else trace.set_span_in_context(above)
        said = said | {say.SESSION: run}
        return self._tracer.start_span(name, context, attributes=said, start_time=_nanoseconds(time))

    def _fail(self, run: _Run, event: Failed) -> None:
        node = run.nodes.pop(event.task, None) if event.task else None
        for span in (run.span, *([node.span] if node else [])):
            said = {"exception.type": event.error, "exception.message": event.message}
            span.add_event("exception", said, _nanoseconds(event.time))
            span.set_status(Status(StatusCode.ERROR, f"{event.error}: {event.message}"))
        if node:
            node.span.end(_nanoseconds(event.time))

    def _end(self, name: str, time: datetime) -> None:
        run = self._runs.pop(name)
        for node in run.nodes.values():
            node.span.end(_nanoseconds(time))
        run.span.end(_nanoseconds(time))

    def _reference(self, run: _Run, image: str) -> str:
        return run.images.get(image, image)


def _above(run: _Run, event: Event) -> tuple[Span, datetime]:
    """The node that an event comes from, and when it began; the run where none is at work for it."""
    for node in run.nodes.values():
        if node.node == event.node and node.image in (None, event.image):
            return node.span, node.began
    return run.span, event.time


def _name(node: str | None, image: str | None) -> str:
    return f"{node or 'node'} {image}" if image else node or "node"


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000) * 1000
