"""A run as OpenTelemetry spans with OpenInference attributes, from its trace or while it goes on (extra ``otel``).

Attributes have the names of OpenInference where it has one (https://github.com/Arize-ai/openinference,
spec/semantic_conventions.md), else they begin with ``detailscribe.``. Images are references into the run folder, or,
where that is asked for, small JPEGs as data URLs, which viewers show beside the words.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from ..state import Change, Critique, Decision, Exchange, ImageRecord
from ..tools.errors import DetailScribeError, SettingsError
from ..tools.files import Store
from ..tools.text import without_secrets
from .records import events
from .records.events import Event
from .records.reader import RecordedRun, read_run
from .views.pages import data_url, shrunk

try:
    from opentelemetry import trace
    from opentelemetry.context import Context, attach, detach
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Span, Status, StatusCode
except ModuleNotFoundError as error:
    raise SettingsError("spans need OpenTelemetry: pip install 'detailscribe[otel]'") from error

__all__ = ["ExportError", "Telemetry", "data_urls", "export_run", "spans_of"]

KIND, SESSION = "openinference.span.kind", "session.id"
INPUT, OUTPUT = "input.value", "output.value"


class ExportError(DetailScribeError):
    """A collector did not take the spans."""


@dataclass
class _Run:
    """A run whose end was not reported yet."""

    span: Span
    seen: datetime
    """Time of its last event."""
    nodes: dict[str, tuple[events.NodeStarted, Span]] = field(default_factory=dict[str, Any])
    """Those at work, by LangGraph's id of the task."""
    images: dict[str, str] = field(default_factory=dict[str, str])
    """References of its images, by id."""

    def above(self, event: Event) -> tuple[Span, datetime]:
        """The node that an event comes from, and when it began; the run where none is at work for it."""
        for started, span in self.nodes.values():
            if started.node == event.node and started.image in (None, event.image):
                return span, started.time
        return self.span, event.time


class Telemetry:
    """Turns each event it is called with into spans: give it to ``run`` as ``on_event``, or feed it a trace.

    Runs may come mixed. A span ends when its event comes, so that a collector sees a long run grow; the span of
    a run itself comes last, and lies under the caller's current span if there is one. The spans of a run that failed
    or was killed are ended by ``close``, or at the end of the ``with`` block.

    Args:
        provider: Where spans go; the application's own unless given.
        images: Put before the references of images, such as ``https://host/runs/fox/``; or a function that makes a URL
            of a reference, such as ``data_urls(folder)``.
    """

    def __init__(
        self, provider: trace.TracerProvider | None = None, *, images: str | Callable[[str], str] = ""
    ) -> None:
        self._tracer = trace.get_tracer("detailscribe", tracer_provider=provider)
        self._url: Callable[[str], str] = images.__add__ if isinstance(images, str) else images
        self._runs: dict[str, _Run] = {}

    def __call__(self, event: Event) -> None:
        """Take one event of any run."""
        if isinstance(event, events.Denoising):
            return
        if event.run not in self._runs:  # it begins, or a second process goes on with it
            said: dict[str, Any] = {KIND: "AGENT"}
            if isinstance(event, events.RunStarted):
                said |= {INPUT: event.prompt, **_ours(event, "seed", "policy")}
                said |= {"detailscribe.budget": event.budget.model_dump_json(exclude_none=True)}
            self._runs[event.run] = _Run(self._span("detailscribe", None, event.time, event, said), event.time)
        run = self._runs[event.run]
        run.seen = event.time
        match event:
            case events.NodeStarted():
                name = " ".join(filter(None, (event.node or "node", event.image)))
                span = self._span(name, run.span, event.time, event, {KIND: "CHAIN", **_ours(event, "round", "image")})
                run.nodes[event.task] = (event, span)
            case events.NodeFinished() if event.task in run.nodes:
                run.nodes.pop(event.task)[1].end(_nanoseconds(event.time))
            case events.Failed():
                _, node = run.nodes.pop(event.task or "", (None, None))
                for span in filter(None, (run.span, node)):
                    said = {"exception.type": event.error, "exception.message": event.message}
                    span.add_event("exception", said, _nanoseconds(event.time))
                    span.set_status(Status(StatusCode.ERROR, f"{event.error}: {event.message}"))
                if node is not None:
                    node.end(_nanoseconds(event.time))
            case events.RunFinished():
                best = None if event.image is None else run.images.get(event.image, event.image)
                best = event.image if best is not None and best.startswith("data:") else best
                said = {OUTPUT: best, "detailscribe.best": event.image, **_ours(event, "stop")}
                said |= {f"detailscribe.spend.{name}": value for name, value in event.spend.model_dump().items()}
                run.span.set_attributes(_known(said | {"llm.cost.total": event.spend.money}))
                run.span.set_status(Status(StatusCode.OK))
                self._end_run(event.run, event.time)
            case _:
                self._work(run, event)

    def close(self) -> None:
        """End what has no end: runs that failed, were killed, or still go on, each at its last event."""
        for name, run in list(self._runs.items()):
            run.span.set_attribute("detailscribe.unfinished", True)
            self._end_run(name, run.seen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self, run: _Run, event: Event) -> None:
        """What is a span of its own, begun and ended at once, under the node that is at work for it.

        The calls of models below it lie one after another, the last of which ends with the event: a trace holds how
        long each took, and not when.
        """
        name, said, exchanges, seen = "", dict[str, Any](), tuple[Exchange, ...](), list[str]()
        above, start = run.above(event)
        match event:
            case events.ImageMade(record=made):
                run.images[made.id] = url = self._url(made.path)
                name, said = f"draw {made.id}", of_image(made, url)
                start = max(start, event.time - timedelta(seconds=made.seconds + made.waited))
            case events.Critiqued(critique=look):
                name, exchanges, seen = f"look at {look.image}", look.exchanges, [look.image]
                said = of_critique(look, event.change, run.images.get(look.image))
            case events.Compared(comparison=pair):
                seen = [pair.first, pair.second]
                name, exchanges = f"compare {', '.join(seen)}", pair.exchanges
                said = {KIND: "EVALUATOR", INPUT: f"{pair.first} or {pair.second}", OUTPUT: pair.better or "equal"}
                said |= _ours(pair, "reason")
            case events.Decided(decision=decision):
                name, above, start, said = f"decide {decision.image}", run.span, event.time, of_decision(decision)
            case events.PromptDecomposed():
                exchanges = event.concepts.exchanges
            case events.Advised():
                exchanges = event.advice.exchanges
            case _:
                return
        if name:
            above = self._span(name, above, start, event, said)
            above.end(_nanoseconds(event.time))
        end = event.time
        for exchange in reversed(exchanges):
            start = end - timedelta(seconds=exchange.seconds)
            said = of_exchange(exchange, [run.images[i] for i in seen if i in run.images])
            self._span(f"ask {exchange.model}", above, start, event, said).end(_nanoseconds(end))
            end = start

    def _span(self, name: str, above: Span | None, start: datetime, event: Event, said: Mapping[str, Any]) -> Span:
        context = None if above is None else trace.set_span_in_context(above)
        attributes = _known(said) | {SESSION: event.run}
        return self._tracer.start_span(name, context, attributes=attributes, start_time=_nanoseconds(start))

    def _end_run(self, name: str, time: datetime) -> None:
        run = self._runs.pop(name)
        for _, node in run.nodes.values():
            node.end(_nanoseconds(time))
        run.span.end(_nanoseconds(time))


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000) * 1000


class _SameEachTime(IdGenerator):
    """Ids that follow from the run, so that a run sent twice is one trace and not two."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._spans = 0

    def generate_trace_id(self) -> int:
        return int.from_bytes(sha256(self._run.encode()).digest()[:16])

    def generate_span_id(self) -> int:
        self._spans += 1
        return int.from_bytes(sha256(f"{self._run} {self._spans}".encode()).digest()[:8])


def data_urls(folder: Path | str, side: int = 512) -> Callable[[str], str]:
    """Makes a data URL of an image of a run folder: a JPEG of at most ``side`` pixels a side."""
    store = Store(folder)
    return lambda reference: data_url("image/jpeg", shrunk(store.read(reference), side))


def spans_of(run: RecordedRun, *, images: str | Callable[[str], str] = "") -> tuple[ReadableSpan, ...]:
    """Every span of a recorded run, the same each time; see ``Telemetry`` for ``images``."""
    kept = InMemorySpanExporter()
    resource = Resource({"service.name": "detailscribe"})
    provider = TracerProvider(id_generator=_SameEachTime(run.run), resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    alone = attach(Context())  # the run was not part of the caller's current span
    try:
        with Telemetry(provider, images=images) as telemetry:
            for event in run.events:
                telemetry(event)
    finally:
        detach(alone)
    return kept.get_finished_spans()


def export_run(
    folder: Path | str,
    endpoint: str | None = None,
    *,
    images: str | Callable[[str], str] = "",
    exporter: SpanExporter | None = None,
) -> int:
    """Send the run in ``folder`` to a collector, and return how many spans it was; ``ExportError`` if it took none.

    The collector is at ``endpoint``, a URL of OTLP over HTTP, by default what OpenTelemetry's environment variables
    say, or this machine; or behind an ``exporter``. ``images`` is as in ``Telemetry``.
    """
    try:
        valid = endpoint is None or (urlsplit(endpoint).scheme in ("http", "https") and urlsplit(endpoint).port != 0)
    except ValueError:
        valid = False
    if not valid:
        raise SettingsError(
            "the endpoint is no URL of a collector; it should read like http://localhost:4318/v1/traces"
        )
    spans = spans_of(read_run(folder), images=images)
    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=endpoint)
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # it logs URLs with their secrets
    try:
        taken = exporter.export(spans) is SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()
    if not taken:
        where = without_secrets(endpoint or "the endpoint of OTEL_EXPORTER_OTLP_ENDPOINT, or of this machine")
        raise ExportError(f"no collector took the spans at {where}; start one, or name it with --endpoint")
    return len(spans)


def of_image(image: ImageRecord, url: str) -> dict[str, Any]:
    """How an image was made; ``url`` is its reference."""
    shown = {"origin", "parent", "seed", "steps", "start_step", "stop_step", "operator", "guidance"}
    return {
        KIND: "LLM",
        INPUT: image.prompt,
        OUTPUT: _json({"choices": [{"message": _chat("assistant", [url])}]}) if url.startswith("data:") else url,
        "llm.model_name": image.model,
        "llm.invocation_parameters": _json(image.model_dump(include=shown, exclude_none=True)),
        **_message("llm.input_messages.0", "user", image.prompt),
        **_message("llm.output_messages.0", "assistant", None, [url]),
        "detailscribe.image": image.id,
        **_ours(image, "evaluations", "seconds", "waited"),
        "llm.cost.total": image.money,
    }


def of_critique(critique: Critique, change: Change | None, url: str | None) -> dict[str, Any]:
    """What the critic found on an image, and what changed in its checks against the parent."""
    verdicts = {
        v.check: v.model_dump(include={"answer", "probability", "reason", "evidence"}, exclude_none=True)
        for v in critique.verdicts
    }
    return {
        KIND: "EVALUATOR",
        INPUT: critique.image if url is None or url.startswith("data:") else url,
        **_message("llm.input_messages.0", "user", None, [url] if url else []),
        OUTPUT: _json(verdicts),
        "output.mime_type": "application/json",
        "detailscribe.checks": len(critique.verdicts),
        **_ours(critique, "image", "passed", "score", "refined_prompt"),
        **_ours(change, "fixed", "broken"),
    }


def of_decision(decision: Decision) -> dict[str, Any]:
    """What the policy decided about an image, and why."""
    parameters = decision.model_dump(mode="json", exclude={"image", "action", "rule", "reason"}, exclude_defaults=True)
    return {
        KIND: "CHAIN",
        INPUT: decision.image,
        OUTPUT: f"{decision.action}: {decision.reason}",
        **_ours(decision, "image", "action", "rule"),
        "detailscribe.parameters": _json(parameters) if parameters else None,
    }


def of_exchange(exchange: Exchange, images: Sequence[str] = ()) -> dict[str, Any]:
    """One call of a model: the words both ways, and the URLs of the images that it saw."""
    return {
        KIND: "LLM",
        "llm.model_name": exchange.model,
        INPUT: _json({"messages": [_chat("user", images, exchange.prompt)]}) if images else exchange.prompt,
        OUTPUT: exchange.reply,
        **_message("llm.input_messages.0", "user", exchange.prompt, images),
        **_message("llm.output_messages.0", "assistant", exchange.reply),
        "llm.token_count.prompt": exchange.prompt_tokens,
        "llm.token_count.completion": exchange.reply_tokens,
        "llm.token_count.total": exchange.prompt_tokens + exchange.reply_tokens,
        "llm.cost.total": exchange.money,
        **_ours(exchange, "cached"),
    }


def _message(place: str, role: str, text: str | None, images: Sequence[str] = ()) -> dict[str, Any]:
    """One message of a model's input or output: its words alone, or its words and images as contents."""
    said: dict[str, Any] = {f"{place}.message.role": role}
    if text is not None and not images:
        return said | {f"{place}.message.content": text}
    contents = [("text", "text", text)] * (text is not None) + [("image", "image.image.url", url) for url in images]
    for number, (kind, name, value) in enumerate(contents):
        content = f"{place}.message.contents.{number}.message_content"
        said |= {f"{content}.type": kind, f"{content}.{name}": value}
    return said


def _chat(role: str, images: Sequence[str], text: str | None = None) -> dict[str, Any]:
    """A message as chat servers have it, which MLflow shows with its images."""
    words = [] if text is None else [{"type": "text", "text": text}]
    return {"role": role, "content": [*words, *({"type": "image_url", "image_url": {"url": url}} for url in images)]}


def _ours(record: object, *names: str) -> dict[str, Any]:
    """Fields of a record for which OpenInference has no name; None for those that it does not have."""
    return {f"detailscribe.{name}": getattr(record, name, None) for name in names}


def _known(said: Mapping[str, Any]) -> dict[str, str | bool | int | float | Sequence[str]]:
    """Without what is not known, which OpenTelemetry refuses."""
    return {name: value for name, value in said.items() if value is not None}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
