"""Odd ways of speaking the protocol, built on the demo server's: streams."""

import json
from collections.abc import Iterator
from typing import Any

from detailscribe.tools.language.demo_server import MODEL, Answer, Request, completion, tokens

__all__ = ["MODEL", "Answer", "Request", "form_of", "stream"]


def form_of(request: Request) -> str:
    """``json_schema``, ``json_object`` or ``text``."""
    return (request.body.get("response_format") or {}).get("type", "text")


def stream(request: Request, answer: Answer) -> Iterator[bytes]:
    """The same body as server-sent events, a few tokens a time; usage last where it was asked for."""
    whole = completion(request, answer)
    [choice] = whole["choices"]
    chunk = {name: whole[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}

    def event(delta: dict[str, Any], **more: Any) -> bytes:
        piece = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None} | more
        return _sse(chunk | {"choices": [piece]})

    yield event({"role": "assistant", "content": ""}, logprobs=choice["logprobs"])
    if answer.refusal is not None:
        yield event({"refusal": answer.refusal})
    pieces = tokens(choice["message"]["content"] or "")
    for i in range(0, len(pieces), 8):
        yield event({"content": "".join(pieces[i : i + 8])})
    yield event({}, finish_reason=choice["finish_reason"])
    if (request.body.get("stream_options") or {}).get("include_usage"):
        yield _sse(chunk | {"choices": [], "usage": whole["usage"]})
    yield b"data: [DONE]\n\n"


def _sse(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"
