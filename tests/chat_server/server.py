"""A chat-completions server on a free port, which answers from the embedded world and fails when told to."""

import itertools
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .faults import ANSWERS, BODIES, FAULTS, RESPONSES, Response
from .mind import Mind
from .protocol import MODEL, Answer, BadRequestError, Request, completion, error_body, read_request, stream

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Served:
    """One request and what became of it."""

    request: Request
    fault: str | None
    answer: Answer | None
    """What was said, after the fault; None where the server refused."""
    status: int


@dataclass
class Abilities:
    """What the server can do; a test switches off what it wants to see refused."""

    key: str | None = None
    """The only key it takes; None takes all."""
    sees: bool = True
    """Whether it takes pictures."""
    schemas: bool = True
    """Whether it takes ``response_format`` of type json_schema."""
    json_mode: bool = True
    """Whether it takes ``response_format`` of type json_object."""
    logprobs: bool = True
    """Whether it gives log-probabilities; without them it ignores the wish, as many servers do."""


class ChatServer:
    """Serves in threads from ``start`` to ``stop``."""

    def __init__(self, mind: Mind | None = None, port: int = 0) -> None:
        self.mind = mind or Mind()
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.chat = self
        self._lock = threading.Lock()
        self.reset()

    @property
    def url(self) -> str:
        """What clients take as the base URL."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def reset(self) -> None:
        """Be able to do everything, fail at nothing, and forget what was served."""
        self.can = Abilities()
        self.mind.album = None
        self.served: list[Served] = []
        self.hurry = threading.Event()
        """Set, it ends every delay."""
        self._faults: Iterator[str | None] = iter(())

    def fail(self, *faults: str | None) -> None:
        """The next requests meet these, one each; those after them are answered honestly."""
        self.follow(faults)

    def always(self, fault: str) -> None:
        self.follow(itertools.repeat(fault))

    def follow(self, faults: Iterable[str | None]) -> None:
        """Each request meets the next of these."""
        named = (fault if fault is None or fault in FAULTS else _unknown(fault) for fault in faults)
        with self._lock:
            self._faults = named

    def start(self) -> "ChatServer":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        self.hurry.set()
        self._http.shutdown()
        self._http.server_close()

    def models(self, key: str) -> Response:
        """The answer to ``GET /v1/models``."""
        refused = self._refuse_key(key)
        listed = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "tests"}]}
        return refused or _json(200, listed)

    def chat(self, data: bytes, key: str) -> Response:
        """The answer to ``POST /v1/chat/completions``."""
        try:
            request = read_request(data)
        except BadRequestError as error:
            return _json(400, error_body(str(error), type="invalid_request_error"))
        refused = self._refuse_key(key) or self._refuse(request)
        if refused is not None:
            self.served.append(Served(request, None, None, refused.status))
            return refused
        try:
            answer = self.mind.answer(request)
        except BadRequestError as error:
            self.served.append(Served(request, None, None, 400))
            return _json(400, error_body(str(error), type="invalid_request_error"))
        with self._lock:
            fault = next(self._faults, None)
        if not self.can.logprobs:
            answer = replace(answer, first=None)
        if fault in ANSWERS:
            answer = ANSWERS[fault](request, answer)
        response = _streamed(request, answer) if request.streams else _whole(request, answer, fault)
        if fault in RESPONSES:
            response = RESPONSES[fault](response)
        self.served.append(Served(request, fault, answer, response.status))
        return response

    def _refuse_key(self, key: str) -> Response | None:
        if self.can.key in (None, key):
            return None
        message = f"Incorrect API key provided: {key[:4]}***."
        return _json(401, error_body(message, type="invalid_request_error", code="invalid_api_key"))

    def _refuse(self, request: Request) -> Response | None:
        """Why the server cannot do this."""
        if request.body.get("model") != MODEL:
            message = f"The model `{request.body.get('model')}` does not exist or you do not have access to it."
            return _json(404, error_body(message, type="invalid_request_error", code="model_not_found"))
        if request.pictures and not self.can.sees:
            message = "Invalid content type. image_url is only supported by certain models."
            return _json(400, error_body(message, type="invalid_request_error", param="messages.[1].content.[1].type"))
        if not {"json_schema": self.can.schemas, "json_object": self.can.json_mode}.get(request.format, True):
            message = f"Invalid parameter: 'response_format' of type '{request.format}' is not supported."
            return _json(400, error_body(message, type="invalid_request_error", param="response_format"))
        return None


def _json(status: int, body: Any) -> Response:
    return Response(status, json.dumps(body).encode(), JSON)


def _whole(request: Request, answer: Answer, fault: str | None) -> Response:
    body = completion(request, answer)
    return _json(200, BODIES[fault](body) if fault in BODIES else body)


def _streamed(request: Request, answer: Answer) -> Response:
    return Response(200, b"".join(stream(request, answer)), {"Content-Type": "text/event-stream"})


def _unknown(fault: str) -> str:
    raise ValueError(f"no fault {fault!r}: known are {', '.join(FAULTS)}")


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    chat: ChatServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: clients hang up on a slow server, and are meant to."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Http

    def do_GET(self) -> None:
        self._send(self.server.chat.models(self._key()) if self.path == "/v1/models" else self._nothing_here())

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        known = self.path == "/v1/chat/completions"
        self._send(self.server.chat.chat(data, self._key()) if known else self._nothing_here())

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def _key(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _nothing_here(self) -> Response:
        return _json(404, {"detail": "Not Found"})

    def _send(self, response: Response) -> None:
        if response.delay:
            self.server.chat.hurry.wait(response.delay)
        if response.sent is not None:
            self.close_connection = True
        if response.sent == -1:
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body[: response.sent])
