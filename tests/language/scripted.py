"""A chat-completions server of a few lines that says what a test tells it to, and remembers what it was asked."""

import contextlib
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import BaseModel

KEY = "sk-this-is-the-secret-0123456789"


class Colour(BaseModel):
    """The answer that most tests ask for."""

    colour: str


@dataclass(frozen=True)
class Said:
    """One response of the server."""

    text: str | None = '{"colour": "red"}'
    finish: str = "stop"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    refusal: str | None = None
    logprobs: list[dict[str, Any]] | None = None
    usage: tuple[int, int] | None = (100, 10)
    body: bytes | None = None
    """In place of all the above."""
    before: Callable[[], object] | None = None
    """Run before it is sent."""
    drip: float = 0
    """Seconds between two bytes of it."""

    def encoded(self) -> bytes:
        if self.body is not None:
            return self.body
        if self.status != 200:
            return json.dumps({"error": {"message": self.text, "type": "error"}}).encode()
        message = {"role": "assistant", "content": self.text, "refusal": self.refusal}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": self.finish}
        if self.logprobs is not None:
            choice["logprobs"] = {"content": self.logprobs}
        reply: dict[str, Any] = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
        reply["choices"] = [choice]
        if self.usage is not None:
            asked, answered = self.usage
            reply["usage"] = {
                "prompt_tokens": asked,
                "completion_tokens": answered,
                "total_tokens": asked + answered,
            }
        return json.dumps(reply).encode()


class Server:
    """Says what stands in its script, and after that what it says always."""

    def __init__(self) -> None:
        self.script: deque[Said] = deque()
        self.always = Said()
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.refuses: Callable[[dict[str, Any]], Said | None] = lambda asked: None
        """May answer a request in place of the script."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def says(self, *script: Said | str) -> None:
        self.script.extend(Said(said) if isinstance(said, str) else said for said in script)

    def encrypts(self, context: ssl.SSLContext) -> None:
        """From now on it speaks https."""
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._http.handle_error = lambda *_: None  # Clients that speak http, or do not trust it, hang up.

    def __enter__(self) -> "Server":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server.requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                server.keys.append(self.headers["authorization"])
                server.paths.append(self.path)
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                said = server.refuses(server.requests[-1])
                if said is None:
                    said = server.script.popleft() if server.script else server.always
                if said.before is not None:
                    said.before()
                body = said.encoded()
                self.send_response(said.status)
                for name, value in {"content-type": "application/json", **said.headers}.items():
                    self.send_header(name, value)
                if "content-length" not in said.headers:
                    self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.close_connection = "content-length" in said.headers
                    for part in [body] if not said.drip else [body[n : n + 1] for n in range(len(body))]:
                        self.wfile.write(part)
                        time.sleep(said.drip)

            def log_message(self, format: str, *args: object) -> None: ...

        return Handler
