"""The demo server as tests want it: it remembers what it served, lacks what it is to lack, and fails when told to."""

import itertools
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from detailscribe.tools.language.demo_server import (
    Answer,
    BadRequestError,
    DemoServer,
    Mind,
    Request,
    completion,
    error,
    opened,
    read_request,
)

from .faults import ANSWERS, BODIES, FAULTS, RESPONSES, Response
from .protocol import form_of, stream

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


class NamingMind(Mind):
    """Calls pictures as a run folder does: the embedded critic's corrections depend on their ids."""

    album: Path | None = None
    """The run folder."""

    def name(self, picture: bytes) -> str:
        files = sorted(self.album.glob("images/*.png")) if self.album else []
        pixels = opened(picture).tobytes()
        names = (path.stem for path in files if opened(path.read_bytes()).tobytes() == pixels)
        return next(names, super().name(picture))


class ChatServer(DemoServer):
    """Serves in threads from ``start`` to ``stop``."""

    def __init__(self, mind: Mind | None = None, port: int = 0) -> None:
        super().__init__(mind or NamingMind(), port)
        self._lock = threading.Lock()
        self.reset()

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

    def stop(self) -> None:
        self.hurry.set()
        super().stop()

    def chat(self, data: bytes, key: str) -> Response:
        """The answer to ``POST /v1/chat/completions``."""
        try:
            request = read_request(data)
        except BadRequestError as wrong:
            return _json(*error(400, str(wrong)))
        try:
            refused = self.refusal(key, request.body.get("model")) or self.lacks(request)
            answer = None if refused else self.mind.answer(request)
        except BadRequestError as wrong:
            refused, answer = error(400, str(wrong)), None
        if answer is None:
            self.served.append(Served(request, None, None, refused[0]))
            return _json(*refused)
        with self._lock:
            fault = next(self._faults, None)
        if not self.can.logprobs:
            answer = replace(answer, first=None)
        if fault in ANSWERS:
            answer = ANSWERS[fault](request, answer)
        if request.body.get("stream"):
            response = Response(200, b"".join(stream(request, answer)), {"Content-Type": "text/event-stream"})
        else:
            body = completion(request, answer)
            response = _json(200, BODIES[fault](body) if fault in BODIES else body)
        if fault in RESPONSES:
            response = RESPONSES[fault](response)
        self.served.append(Served(request, fault, answer, response.status))
        return response

    def refusal(self, key: str, model: object) -> tuple[int, dict[str, Any]] | None:
        self.key = self.can.key
        return super().refusal(key, model)

    def lacks(self, request: Request) -> tuple[int, dict[str, Any]] | None:
        """Why the server cannot do this."""
        if request.pictures and not self.can.sees:
            message = "Invalid content type. image_url is only supported by certain models."
            return error(400, message, param="messages.[1].content.[1].type")
        form = form_of(request)
        if not {"json_schema": self.can.schemas, "json_object": self.can.json_mode}.get(form, True):
            message = f"Invalid parameter: 'response_format' of type '{form}' is not supported."
            return error(400, message, param="response_format")
        return None

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(super().handler()):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                known = self.path.partition("?")[0] == "/v1/chat/completions"
                self.say(server.chat(data, key) if known else _json(404, {"detail": "Not Found"}))

            def say(self, response: Response) -> None:
                if response.delay:
                    server.hurry.wait(response.delay)
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

        return Handler


def _json(status: int, body: Any) -> Response:
    return Response(status, json.dumps(body).encode(), JSON)


def _unknown(fault: str) -> str:
    raise ValueError(f"no fault {fault!r}: known are {', '.join(FAULTS)}")
