"""A run as OpenTelemetry spans with OpenInference attributes, from its trace or while it goes on (extra ``otel``).

Attributes have the names of OpenInference where it has one (https://github.com/Arize-ai/openinference,
spec/semantic_conventions.md), else they begin with ``detailscribe.``. Images are references into the run folder or, on
request, small JPEGs as data URLs.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
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
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Span, Status, StatusCode
except ModuleNotFoundError as error:
    raise SettingsError("spans need OpenTelemetry: pip install 'detailscribe[otel]'") from error

__all__ = ["ExportError", "Telemetry", "data_urls", "export_run", "spans_of"]

KIND, SESSION = "openinference.span.kind", "session.id"
INPUT, OUTPUT = "input.value", "output.value"
_json = partial(json.dumps, ensure_ascii=False)


class ExportError(DetailScribeError):
    """A collector did not take the spans."""


@dataclass
class _Run:
    """A run whose last event has not come yet."""

    span: Span
    last: datetime
    """Time of its last event."""
    nodes: dict[str, tuple[events.NodeStarted, Span]] = field(default_factory=dict[str, Any])
    """Nodes that are running, by LangGraph's task id."""
    images: dict[str, str] = field(default_factory=dict[str, str])
    """URLs of its images, by id."""

    def node_of(self, event: Event) -> tuple[Span, datetime]:
        """The span of the running node that an event comes from, and its start; that of the run where there is none."""
        for started, span in self.nodes.values():
            if started.node == event.node and started.image in (None, event.image):
                return span, started.time
        return self.span, event.time


class Telemetry(AbstractContextManager["Telemetry"]):
    """Turns each event it is called with into spans: give it to ``run`` as ``on_event``, or feed it a trace.

    Events of several runs may alternate. A span ends when its event comes, so that a collector sees a long run grow;
    the span of a run itself comes last, and lies under the caller's current span if there is one. ``close``, or the end
    of the ``with`` block, ends the spans of runs that failed or were killed.

    Args:
        provider: Where spans go; the application's own unless given.
        images: Prefix of the references of images, such as ``https://host/runs/fox/``; or a function that makes a URL
            of a reference, such as ``data_urls(folder)``.
    """

    def __init__(
        self, provider: trace.TracerProvider | None = None, *, images: str | Callable[[str], str] = ""
    ) -> None:
        self._tracer = trace.get_tracer("detailscribe", tracer_provider=provider)
        self._url: Callable[[str], str] = images.__add__ if isinstance(images, str) else images
        self._runs: dict[str, _Run] = {}

    def __call__(self, event: Event) -> None:
        """Add the spans of one event."""
        if isinstance(event, events.Denoising):
            return
        if event.run not in self._runs:  # it begins, or another process resumes it
            attributes: dict[str, Any] = {KIND: "AGENT"}
            if isinstance(event, events.RunStarted):
                attributes |= {INPUT: event.prompt, **_ours(event, "seed", "policy")}
                attributes["detailscribe.budget"] = event.budget.model_dump_json(exclude_none=True)
            span = self._span(event, "detailscribe", None, event.time, attributes)
            self._runs[event.run] = _Run(span, event.time)
        run = self._runs[event.run]
        run.last = event.time
        match event:
            case events.NodeStarted():
                name = " ".join(filter(None, (event.node or "node", event.image)))
                attributes = {KIND: "CHAIN", **_ours(event, "round", "image")}
                run.nodes[event.task] = event, self._span(event, name, run.span, event.time, attributes)
            case events.NodeFinished() if event.task in run.nodes:
                run.nodes.pop(event.task)[1].end(_nanoseconds(event.time))
            case events.Failed():
                failed = [run.span] + ([run.nodes[event.task][1]] if event.task in run.nodes else [])
                for span in failed:
                    attributes = {"exception.type": event.error, "exception.message": event.message}
                    span.add_event("exception", attributes, _nanoseconds(event.time))
                    span.set_status(Status(StatusCode.ERROR, f"{event.error}: {event.message}"))
                if event.task in run.nodes:
                    run.nodes.pop(event.task)[1].end(_nanoseconds(event.time))
            case events.RunFinished():
                url = run.images.get(event.image or "", "data:")
                attributes = {OUTPUT: event.image if url.startswith("data:") else url, **_ours(event, "stop")}
                attributes |= {f"detailscribe.spend.{name}": value for name, value in event.spend.model_dump().items()}
                attributes |= {"detailscribe.best": event.image, "llm.cost.total": event.spend.money}
                run.span.set_attributes(_without_none(attributes))
                run.span.set_status(Status(StatusCode.OK))
                self._end_run(event.run)
            case _:
                self._add_finished(run, event)

    def close(self) -> None:
        """End the spans of runs that failed, were killed or still go on, each at its last event."""
        for name, run in list(self._runs.items()):
            run.span.set_attribute("detailscribe.unfinished", True)
            self._end_run(name)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add_finished(self, run: _Run, event: Event) -> None:
        """Add the span of work that an event reports as done, and one for each call of a model below it.

        A trace holds how long each call took, but not when: their spans follow one another up to the event's time.
        """
        parent, start = run.node_of(event)
        name, attributes, exchanges, images = "", dict[str, Any](), tuple[Exchange, ...](), list[str]()
        match event:
            case events.ImageMade(record=image):
                run.images[image.id] = url = self._url(image.path)
                name, attributes = f"draw {image.id}", of_image(image, url)
                start = max(start, event.time - timedelta(seconds=image.seconds + image.waited))
            case events.Critiqued(critique=critique):
                name, exchanges, images = f"look at {critique.image}", critique.exchanges, [critique.image]
                attributes = of_critique(critique, event.change, run.images.get(critique.image))
            case events.Compared(comparison=pair):
                images = [pair.first, pair.second]
                name, exchanges = f"compare {', '.join(images)}", pair.exchanges
                attributes = {KIND: "EVALUATOR", INPUT: " or ".join(images), OUTPUT: pair.better or "equal"}
                attributes |= _ours(pair, "reason")
            case events.Decided(decision=decision):
                name, attributes = f"decide {decision.image}", of_decision(decision)
                parent, start = run.span, event.time
            case events.PromptDecomposed():
                exchanges = event.concepts.exchanges
            case events.Advised():
                exchanges = event.advice.exchanges
            case _:
                return
        if name:
            parent = self._span(event, name, parent, start, attributes)
            parent.end(_nanoseconds(event.time))
        end, urls = event.time, [run.images[id] for id in images if id in run.images]
        for exchange in reversed(exchanges):
            start = end - timedelta(seconds=exchange.seconds)
            call = self._span(event, f"ask {exchange.model}", parent, start, of_exchange(exchange, urls))
            call.end(_nanoseconds(end))
            end = start

    def _span(
        self, event: Event, name: str, parent: Span | None, start: datetime, attributes: Mapping[str, Any]
    ) -> Span:
        context = None if parent is None else trace.set_span_in_context(parent)
        known = _without_none(attributes) | {SESSION: event.run}
        return self._tracer.start_span(name, context, attributes=known, start_time=_nanoseconds(start))

    def _end_run(self, name: str) -> None:
        run = self._runs.pop(name)
        for span in [*(span for _, span in run.nodes.values()), run.span]:
            span.end(_nanoseconds(run.last))


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000) * 1000


class _RepeatableIds(IdGenerator):
    """Derives ids from the run's id, so that a run that is sent twice is one trace."""

    def __init__(self, run: str) -> None:
        self._run, self._spans = run, 0

    def generate_trace_id(self) -> int:
        return int.from_bytes(sha256(self._run.encode()).digest()[:16])

    def generate_span_id(self) -> int:
        self._spans += 1
        return int.from_bytes(sha256(f"{self._run} {self._spans}".encode()).digest()[:8])


def data_urls(folder: Path | str) -> Callable[[str], str]:
    """Makes a data URL of an image of a run folder: a JPEG of at most 512 pixels a side."""
    store = Store(folder)
    return lambda reference: data_url("image/jpeg", shrunk(store.read(reference), 512))


def spans_of(run: RecordedRun, *, images: str | Callable[[str], str] = "") -> tuple[ReadableSpan, ...]:
    """Every span of a recorded run, with the same ids each time; see ``Telemetry`` for ``images``."""
    memory = InMemorySpanExporter()
    resource = Resource({"service.name": "detailscribe"})
    provider = TracerProvider(id_generator=_RepeatableIds(run.run), resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    token = attach(Context())  # the run was not part of the caller's current span
    try:
        with Telemetry(provider, images=images) as telemetry:
            for event in run.events:
                telemetry(event)
    finally:
        detach(token)
    return memory.get_finished_spans()


def export_run(folder: Path | str, endpoint: str | None = None, *, images: str | Callable[[str], str] = "") -> int:
    """Send the run in ``folder`` to a collector, and return the number of spans; ``ExportError`` if it refuses them.

    ``endpoint`` is a URL of OTLP over HTTP, by default that of OpenTelemetry's environment variables, or this machine.
    ``images`` is as in ``Telemetry``.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    try:
        is_url = endpoint is None or (urlsplit(endpoint).scheme in ("http", "https") and urlsplit(endpoint).port != 0)
    except ValueError:
        is_url = False
    if not is_url:
        raise SettingsError("the endpoint should be the URL of a collector, such as http://localhost:4318/v1/traces")
    spans = spans_of(read_run(folder), images=images)
    exporter = OTLPSpanExporter(endpoint=endpoint)
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # it logs URLs with their secrets
    try:
        result = exporter.export(spans)
    finally:
        exporter.shutdown()
    if result is not SpanExportResult.SUCCESS:
        where = without_secrets(endpoint or "the endpoint of OTEL_EXPORTER_OTLP_ENDPOINT, or of this machine")
        raise ExportError(f"no collector took the spans at {where}; start one, or name it with --endpoint")
    return len(spans)


def of_image(image: ImageRecord, url: str) -> dict[str, Any]:
    """Attributes of the drawing of an image; ``url`` is its reference."""
    parameters = {"origin", "parent", "seed", "steps", "start_step", "stop_step", "operator", "guidance"}
    return {
        KIND: "LLM",
        INPUT: image.prompt,
        OUTPUT: _json({"choices": [{"message": _chat("assistant", [url])}]}) if url.startswith("data:") else url,
        "llm.model_name": image.model,
        "llm.invocation_parameters": _json(image.model_dump(include=parameters, exclude_none=True)),
        **_message("llm.input_messages.0", "user", image.prompt),
        **_message("llm.output_messages.0", "assistant", None, [url]),
        "detailscribe.image": image.id,
        **_ours(image, "evaluations", "seconds", "waited"),
        "llm.cost.total": image.money,
    }


def of_critique(critique: Critique, change: Change | None, url: str | None) -> dict[str, Any]:
    """Attributes of a critique, with the checks that changed relative to the parent image."""
    fields = {"answer", "probability", "reason", "evidence"}
    verdicts = {v.check: v.model_dump(include=fields, exclude_none=True) for v in critique.verdicts}
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
    """Attributes of the policy's decision about an image."""
    parameters = decision.model_dump(mode="json", exclude={"image", "action", "rule", "reason"}, exclude_defaults=True)
    return {
        KIND: "CHAIN",
        INPUT: decision.image,
        OUTPUT: f"{decision.action}: {decision.reason}",
        **_ours(decision, "image", "action", "rule"),
        "detailscribe.parameters": _json(parameters) if parameters else None,
    }


def of_exchange(exchange: Exchange, images: Sequence[str] = ()) -> dict[str, Any]:
    """Attributes of one call of a model; ``images`` are the URLs of those that it saw."""
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
    """A message in OpenInference's flat form: its text alone, or text and images as contents."""
    attributes: dict[str, Any] = {f"{place}.message.role": role}
    if text is not None and not images:
        return attributes | {f"{place}.message.content": text}
    contents = [("text", "text", text)] * (text is not None) + [("image", "image.image.url", url) for url in images]
    for number, (kind, name, value) in enumerate(contents):
        content = f"{place}.message.contents.{number}.message_content"
        attributes |= {f"{content}.type": kind, f"{content}.{name}": value}
    return attributes


def _chat(role: str, images: Sequence[str], text: str | None = None) -> dict[str, Any]:
    """A message in the form of chat servers, which MLflow shows with its images."""
    words = [] if text is None else [{"type": "text", "text": text}]
    return {"role": role, "content": [*words, *({"type": "image_url", "image_url": {"url": url}} for url in images)]}


def _ours(record: object, *names: str) -> dict[str, Any]:
    """Fields of a record for which OpenInference has no name."""
    return {f"detailscribe.{name}": getattr(record, name, None) for name in names}


def _without_none(attributes: Mapping[str, Any]) -> dict[str, str | bool | int | float | Sequence[str]]:
    return {name: value for name, value in attributes.items() if value is not None}  # OpenTelemetry refuses None
