"""The chat-completions protocol as a server sees it: what a request asks, and the bodies that answer it."""

import base64
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MODEL = "embedded-world"
"""The one model that the server has."""
NEVER = -9999.0
"""Log-probability that servers give for what is all but impossible."""


class BadRequestError(Exception):
    """The request breaks the protocol; answered by a 400."""


@dataclass(frozen=True)
class Request:
    """One ``POST /v1/chat/completions``."""

    body: dict[str, Any]
    """As it was sent."""
    text: str
    """Every text part of every message, a blank line between them."""
    pictures: tuple[bytes, ...]
    """Files of every image part, in order."""
    schema: dict[str, Any] | None
    """Of ``response_format``; None where no JSON schema was asked for."""
    schema_name: str | None
    limit: int | None
    """Most tokens of the reply."""

    @property
    def format(self) -> str:
        """``json_schema``, ``json_object`` or ``text``."""
        return (self.body.get("response_format") or {}).get("type", "text")

    @property
    def wants_logprobs(self) -> bool:
        return bool(self.body.get("logprobs"))

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))


@dataclass(frozen=True)
class Answer:
    """What the model says."""

    text: str
    first: dict[str, float] | None = None
    """Probability of each candidate for the first token; what ``logprobs`` shows."""
    refusal: str | None = None
    """Said in place of the text."""


def read_request(data: bytes) -> Request:
    """The request in a body.

    Raises:
        BadRequestError: it is no JSON, or a part is not what the protocol wants.
    """
    try:
        body = json.loads(data)
        texts, pictures = _parts(body["messages"])
        form = body.get("response_format") or {}
        described = form["json_schema"] if form.get("type") == "json_schema" else {}
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        return Request(
            body, "\n\n".join(texts), pictures, described.get("schema"), described.get("name"), limit and int(limit)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadRequestError(f"{type(error).__name__}: {error}") from error


def _parts(messages: Sequence[dict[str, Any]]) -> tuple[list[str], tuple[bytes, ...]]:
    texts, pictures = list[str](), list[bytes]()
    for message in messages:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
            if part["type"] == "text":
                texts.append(part["text"])
            elif part["type"] == "image_url":
                head, _, encoded = part["image_url"]["url"].partition(";base64,")
                if not head.startswith("data:image/"):
                    raise ValueError(f"no data URL of an image: {head[:40]!r}")
                pictures.append(base64.b64decode(encoded, validate=True))
            else:
                raise ValueError(f"no content part of type {part['type']!r}")
    return texts, tuple(pictures)


def tokens(text: str) -> list[str]:
    """The text in pieces of up to four characters: what this server counts as tokens."""
    return [text[i : i + 4] for i in range(0, len(text), 4)]


def usage(request: Request, reply: str) -> dict[str, int]:
    sent = len(tokens(request.text)) + 85 * len(request.pictures)
    said = len(tokens(reply))
    return {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}


def cut(request: Request, answer: Answer) -> tuple[str, str]:
    """The text within the request's limit of tokens, and why it ends."""
    if request.limit is None or len(tokens(answer.text)) <= request.limit:
        return answer.text, "stop"
    return "".join(tokens(answer.text)[: request.limit]), "length"


def completion(request: Request, answer: Answer) -> dict[str, Any]:
    """The body that answers the request in one piece."""
    text, reason = cut(request, answer)
    message = {"role": "assistant", "content": text, "refusal": answer.refusal}
    if answer.refusal is not None:
        message["content"] = None
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": _logprobs(request, answer)}
    return {
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": 0,
        "model": request.body["model"],
        "choices": [choice],
        "usage": usage(request, text),
    }


def stream(request: Request, answer: Answer) -> Iterator[bytes]:
    """The same body as server-sent events, a few tokens a time; usage last where it was asked for."""
    text, reason = cut(request, answer)
    pieces = tokens(text) if answer.refusal is None else []
    yield _event(request, {"role": "assistant", "content": ""}, logprobs=_logprobs(request, answer))
    if answer.refusal is not None:
        yield _event(request, {"refusal": answer.refusal})
    for i in range(0, len(pieces), 8):
        yield _event(request, {"content": "".join(pieces[i : i + 8])})
    yield _event(request, {}, finish=reason)
    if (request.body.get("stream_options") or {}).get("include_usage"):
        yield _sse(_chunk(request) | {"choices": [], "usage": usage(request, text)})
    yield b"data: [DONE]\n\n"


def _event(request: Request, delta: dict[str, Any], *, finish: str | None = None, logprobs: Any = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
    return _sse(_chunk(request) | {"choices": [choice]})


def _chunk(request: Request) -> dict[str, Any]:
    return {
        "id": "chatcmpl-test",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": request.body["model"],
    }


def _sse(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _logprobs(request: Request, answer: Answer) -> dict[str, Any] | None:
    """Of the first token alone, which is what a yes or no is read from."""
    if not request.wants_logprobs or answer.first is None:
        return None
    ranked = sorted(answer.first.items(), key=lambda item: -item[1])
    shown = [_candidate(token, p) for token, p in ranked[: int(request.body.get("top_logprobs") or 0)]]
    return {"content": [_candidate(*ranked[0]) | {"top_logprobs": shown}], "refusal": None}


def _candidate(token: str, probability: float) -> dict[str, Any]:
    logprob = math.log(probability) if probability > 0 else NEVER
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def error_body(message: str, *, type: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": param, "code": code}}
