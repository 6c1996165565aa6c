"""A run becomes spans: each part where it belongs, with its words and prices, and without pixels or secrets."""

import gzip
import json
import os
import sys
import threading
from base64 import b64decode, b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from openinference.semconv import trace as names
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from PIL import Image
from typer.testing import CliRunner

from detailscribe.agent import Adaptive, arun, read_run
from detailscribe.agent import telemetry as say
from detailscribe.agent.cli import app
from detailscribe.agent.telemetry import Telemetry, spans_of
from detailscribe.state import Exchange
from detailscribe.tools.language.demo_server import Mind

from ..chat_server.protocol import MODEL
from ..chat_server.server import ChatServer
from .fakes import PROMPT, FakeDiffusion, record, roles

SCRIPT = {"00-00": "red holding", "00-01": "red holding alone", "01-00": "holding alone", "02-00": ""}
KEY = "sk-test-c0ffee-secret"
EXCHANGE = Exchange(model="m", prompt="p", reply="r", prompt_tokens=2, reply_tokens=1)


class Collector:
    """Takes OTLP over HTTP, and keeps what came."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                packed = self.headers.get("content-encoding") == "gzip"
                collector.bodies.append(gzip.decompress(body) if packed else body)
                self.send_response(collector.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def spans(self):
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [span for r in requests for kind in r.resource_spans for part in kind.scope_spans for span in part.spans]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector():
    server = Collector()
    yield server
    server.stop()


@pytest.fixture
def memory():
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return provider, kept


async def recorded(folder, **changes):
    await arun(PROMPT, **(roles(SCRIPT) | {"policy": Adaptive(images=2), "out": folder, "seed": 7} | changes))
    return read_run(folder)


def tree(spans) -> dict[str, str | None]:
    """Name of the span above, by name."""
    by_id = {span.context.span_id: span.name for span in spans}
    return {span.name: span.parent and by_id[span.parent.span_id] for span in spans}


async def test_a_run_is_a_tree_of_nodes_and_of_what_models_did_in_them(tmp_path):
    spans = spans_of(await recorded(tmp_path / "run"))
    above = tree(spans)
    assert above["detailscribe"] is None
    assert {name for name, of in above.items() if of == "detailscribe"} == {
        *("decompose", "generate 00-00", "generate 00-01", "critique", "refine 01-00", "refine 02-00", "finish"),
        *("decide 00-00", "decide 00-01", "decide 01-00", "decide 02-00"),
    }
    assert above["draw 00-01"] == "generate 00-01"
    assert above["look at 00-00"] == "critique"
    assert {span.context.trace_id for span in spans} == {spans[0].context.trace_id}


async def test_spans_say_what_was_wanted_found_and_decided_under_the_names_of_openinference(tmp_path):
    run = await recorded(tmp_path / "run")
    said = {span.name: span.attributes for span in spans_of(run, images="https://host/fox/")}
    root, drawn, look, decided = (said[n] for n in ("detailscribe", "draw 00-00", "look at 01-00", "decide 00-00"))
    assert (root[say.INPUT], root[say.OUTPUT]) == (PROMPT, "https://host/fox/images/02-00.png")
    assert (root["detailscribe.stop"], root["detailscribe.spend.images"]) == ("all_pass", 4)
    assert drawn["llm.output_messages.0.message.contents.0.message_content.image.image.url"].endswith("00-00.png")
    assert json.loads(drawn["llm.invocation_parameters"])["seed"] == run.images["00-00"].seed
    assert (look["detailscribe.fixed"], look["detailscribe.broken"]) == (("red",), ("alone",))
    assert json.loads(look[say.OUTPUT])["holding"]["answer"] == "fail"
    assert decided["detailscribe.rule"] == run.decisions["00-00"].rule
    assert all(attributes[say.SESSION] == run.run for attributes in said.values())


async def test_the_names_are_those_that_openinference_publishes(tmp_path):
    published = names.SpanAttributes
    assert published.OPENINFERENCE_SPAN_KIND == say.KIND
    assert published.SESSION_ID == say.SESSION
    assert (published.INPUT_VALUE, published.OUTPUT_VALUE) == (say.INPUT, say.OUTPUT)
    message, content, image = names.MessageAttributes, names.MessageContentAttributes, names.ImageAttributes
    parts = (published.LLM_OUTPUT_MESSAGES, message.MESSAGE_CONTENTS, content.MESSAGE_CONTENT_IMAGE, image.IMAGE_URL)
    assert say.of_image(record("00-00"), "a url")["{}.0.{}.0.{}.{}".format(*parts)] == "a url"
    counted = (published.LLM_TOKEN_COUNT_PROMPT, published.LLM_TOKEN_COUNT_COMPLETION, published.LLM_TOKEN_COUNT_TOTAL)
    assert {*counted, published.LLM_COST_TOTAL, published.LLM_MODEL_NAME} <= say.of_exchange(EXCHANGE).keys()
    kinds = {span.attributes[say.KIND] for span in spans_of(await recorded(tmp_path / "run"))}
    assert {"AGENT", "CHAIN", "LLM", "EVALUATOR"} == kinds <= {kind.value for kind in names.OpenInferenceSpanKindValues}


async def test_every_span_lies_within_its_run(tmp_path):
    spans = spans_of(await recorded(tmp_path / "run"))
    root = next(span for span in spans if span.parent is None)
    assert all(root.start_time <= span.start_time <= span.end_time <= root.end_time for span in spans)


async def test_a_run_that_goes_on_makes_the_spans_that_its_trace_makes(tmp_path, memory):
    provider, kept = memory
    with Telemetry(provider) as telemetry:
        run = await recorded(tmp_path / "run", on_event=telemetry)
    live, read = kept.get_finished_spans(), spans_of(run)
    assert tree(live) == tree(read)
    assert [(s.name, s.start_time, s.end_time, dict(s.attributes)) for s in live] == [
        (s.name, s.start_time, s.end_time, dict(s.attributes)) for s in read
    ]


async def test_a_run_lies_under_the_span_of_the_caller(tmp_path, memory):
    provider, kept = memory
    with provider.get_tracer("mine").start_as_current_span("my work"), Telemetry(provider) as telemetry:
        await recorded(tmp_path / "run", on_event=telemetry)
    assert tree(kept.get_finished_spans())["detailscribe"] == "my work"


async def test_a_run_is_the_same_trace_each_time_it_is_sent(tmp_path):
    run = await recorded(tmp_path / "run")
    first, second = ([(s.context.trace_id, s.context.span_id) for s in spans_of(run)] for _ in range(2))
    assert first == second
    assert len(set(first)) == len(first)


async def test_a_failed_run_says_why_at_the_node_and_at_the_run(tmp_path):
    with pytest.raises(RuntimeError):
        await recorded(tmp_path / "run", diffusion=FakeDiffusion(breaks_at="01-00"))
    spans = {span.name: span for span in spans_of(read_run(tmp_path / "run"))}
    for name in ("detailscribe", "refine 01-00"):
        assert spans[name].status.status_code is StatusCode.ERROR
        assert spans[name].status.description == "RuntimeError: the model broke"
    assert spans["generate 00-00"].status.status_code is StatusCode.UNSET


async def test_a_trace_cut_off_at_any_line_ends_every_span(tmp_path):
    run = await recorded(tmp_path / "run")
    whole, folder = tree(spans_of(run)), tmp_path / "cut"
    folder.mkdir()
    lines = (run.folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines)):
        (folder / "events.jsonl").write_bytes(b"".join(lines[:kept]))
        spans = spans_of(read_run(folder))
        assert tree(spans).items() <= whole.items()
        assert spans[-1].attributes["detailscribe.unfinished"] is True


async def test_the_command_sends_a_run_to_a_collector(tmp_path, collector):
    run = await recorded(tmp_path / "run")
    done = CliRunner().invoke(app, ["export", str(run.folder), "--endpoint", collector.url])
    assert (done.exit_code, done.output) == (0, f"{len(collector.spans)} spans sent\n")
    assert [s.name for s in collector.spans] == [s.name for s in spans_of(run)]
    root = next(s for s in collector.spans if s.name == "detailscribe")
    assert {a.key: a.value.string_value for a in root.attributes}[say.KIND] == "AGENT"


async def test_a_collector_that_refuses_is_one_clear_error_without_the_password_of_its_url(tmp_path, collector):
    run = await recorded(tmp_path / "run")
    collector.status = 400
    url = collector.url.replace("//", "//me:hunter2@") + "?token=hunter2"
    done = CliRunner().invoke(app, ["export", str(run.folder), "--endpoint", url])
    assert done.exit_code == 2
    assert "no collector took the spans" in done.stderr
    assert "hunter2" not in done.output


def test_model_calls_are_spans_with_their_words_and_tokens_without_pixels_and_without_the_key(
    tmp_path, collector, monkeypatch
):
    for name in [name for name in os.environ if name.startswith(("DETAILSCRIBE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("DETAILSCRIBE_CHAT__CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    server = ChatServer(Mind()).start()
    server.can.key = KEY
    try:
        at = ["--chat-url", server.url, "--chat-model", MODEL]
        done = CliRunner().invoke(app, ["run", PROMPT, *at, "--out", "run", "--steps", "3", "--rounds", "1"])
    finally:
        server.stop()
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(app, ["export", "run", "--endpoint", collector.url]).exit_code == 0
    run, sent = read_run(tmp_path / "run"), b"".join(collector.bodies)
    asked = [s for s in collector.spans if s.name.startswith("ask ")]
    exchanges = [*run.concepts.exchanges, *(e for look in run.critiques.values() for e in look.exchanges)]
    assert len(asked) == len(exchanges) > 1
    assert all(s.parent_span_id for s in asked)
    counted = [{a.key: a.value.int_value for a in s.attributes}["llm.token_count.total"] for s in asked]
    assert sum(counted) == run.spend.tokens > 0
    png = run.path(run.best.id).read_bytes()
    assert (KEY.encode() in sent, png[:64] in sent, b64encode(png)[:64] in sent) == (False, False, False)
    assert f"images/{run.best.id}.png".encode() in sent
    collector.bodies.clear()
    inline = CliRunner().invoke(app, ["export", "run", "--endpoint", collector.url, "--images", "inline"])
    assert inline.exit_code == 0, inline.output
    shown = {span.name: [a.value.string_value for a in span.attributes] for span in collector.spans}
    for name in (f"draw {run.best.id}", f"look at {run.best.id}", asked[-1].name):
        [url] = [value for value in shown[name] if value.startswith("data:image/jpeg;base64,")]
        with Image.open(BytesIO(b64decode(url.partition(",")[2]))) as picture:
            assert picture.size == (run.best.width, run.best.height)


def test_without_opentelemetry_the_command_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("detailscribe.agent.telemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    done = CliRunner().invoke(app, ["export", str(tmp_path)])
    assert done.exit_code == 2
    assert "pip install 'detailscribe[otel]'" in done.stderr
