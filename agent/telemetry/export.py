"""A recorded run, sent to a collector."""

from hashlib import sha256
from pathlib import Path

from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from ...tools.errors import DetailScribeError
from ..traces.reader import RecordedRun, read_run
from .spans import Telemetry

DEFAULT_ENDPOINT = "http://localhost:4318/v1/traces"
"""Where a collector on this machine listens for OTLP over HTTP."""


class ExportError(DetailScribeError):
    """A collector did not take the spans."""


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


def spans_of(run: RecordedRun, *, images: str = "") -> tuple[ReadableSpan, ...]:
    """Every span of a recorded run, the same each time; see ``Telemetry`` for ``images``."""
    kept = InMemorySpanExporter()
    resource = Resource({"service.name": "detailscribe"})
    provider = TracerProvider(id_generator=_SameEachTime(run.run), resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    alone = attach(Context())  # a span of the caller's is not what the run was part of
    try:
        with Telemetry(provider, images=images) as telemetry:
            for event in run.events:
                telemetry(event)
    finally:
        detach(alone)
    return kept.get_finished_spans()


def export_run(
    folder: Path | str, endpoint: str | None = None, *, images: str = "", exporter: SpanExporter | None = None
) -> int:
    """Send the run in ``folder`` to a collector, and return how many spans it was.

    Args:
        folder: The run folder.
        endpoint: URL of OTLP over HTTP; by default what OpenTelemetry's environment variables say, or this machine.
        images: Put before the references of images.
        exporter: In place of OTLP over HTTP.

    Raises:
        TraceError: it is no run folder.
        ExportError: the collector did not take them.
    """
    spans = spans_of(read_run(folder), images=images)
    sender = exporter or _over_http(endpoint)
    try:
        taken = sender.export(spans) is SpanExportResult.SUCCESS
    finally:
        sender.shutdown()
    if not taken:
        where = endpoint or "the endpoint of OTEL_EXPORTER_OTLP_ENDPOINT, or of this machine"
        raise ExportError(f"no collector took the spans at {where}; start one, or name it with --endpoint")
    return len(spans)


def _over_http(endpoint: str | None) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint)
