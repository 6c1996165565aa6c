"""Ways in which servers and models fail, by name, and seeded sequences of them."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from .protocol import Answer, Request

Change = Callable[[Request, Answer], Answer]
Body = dict[str, Any]

ELSEWHERE = "presence:unicorn"
"""A check that nobody asked about."""
HUGE = 300_000
"""Characters of an over-long reply."""


@dataclass(frozen=True)
class Response:
    """What goes out over the connection."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None
    """Bytes of the body after which the connection is cut; None sends it whole."""
    delay: float = 0.0
    """Seconds before anything is sent."""


def said(text: str) -> Change:
    """Whatever was asked, this is the reply."""
    return lambda request, answer: Answer(text, first={text[:5]: 1.0} if text else None)


def wrapped(before: str, after: str = "") -> Change:
    def changed(request: Request, answer: Answer) -> Answer:
        first = {before[:5]: 1.0} if before and answer.first else answer.first
        return replace(answer, text=f"{before}{answer.text}{after}", first=first)

    return changed


def each_verdict(change: Callable[[Body, int], Body | None]) -> Change:
    """Change the verdicts of a critique one by one, None leaving one out; other replies stay as they are."""

    def changed(request: Request, answer: Answer) -> Answer:
        content = _object(answer.text)
        if "answers" not in content:
            return answer
        verdicts = [change(verdict, n) for n, verdict in enumerate(content["answers"])]
        return replace(answer, text=json.dumps({"answers": [v for v in verdicts if v is not None]}))

    return changed


def _contradicted(request: Request, answer: Answer) -> Answer:
    content = _object(answer.text)
    again = [_opposite(verdict) for verdict in content.get("answers", ())]
    return replace(answer, text=json.dumps({"answers": [*content["answers"], *again]})) if again else answer


def _opposite(verdict: Body) -> Body:
    return verdict | {"answer": {"yes": "no", "no": "yes", "unclear": "yes"}[verdict["answer"]]}


def _object(text: str) -> Body:
    return json.loads(text) if text.startswith("{") else {}


ANSWERS: dict[str, Change] = {
    "fenced": wrapped("```json\n", "\n```"),
    "thinking": wrapped('<think>Is it {"answers": []}? Let me look again.</think>\n'),
    "unfinished_thinking": wrapped("<think>"),
    "chatter": wrapped("Of course! Here it is:\n", "\nLet me know if you need anything else."),
    "postscript": wrapped("", '\n{"confidence": 0.9}'),
    "truncated": lambda request, answer: replace(answer, text=answer.text[: len(answer.text) // 2], first=None),
    "empty": said(""),
    "blank": said(" \n"),
    "not_json": said("I see a lovely picture."),
    "wrong_schema": said('{"colour": "red"}'),
    "wrong_types": said('{"answers": "all of them", "entities": 3, "prompt": {}, "better": 1}'),
    "list": said("[]"),
    "null": said("null"),
    "refusal": lambda request, answer: Answer("", refusal="I'm sorry, I cannot assist with that."),
    "refusal_in_words": said("I'm sorry, but I can't help with identifying what is in this picture."),
    "huge": wrapped("", " " * HUGE),
    "endless": said('{"answers": [' + '{"check": "a", "answer": "yes", "evidence": "b"}, ' * (HUGE // 50)),
    "foreign_checks": each_verdict(lambda verdict, n: verdict | {"check": f"{ELSEWHERE}:{n}"}),
    "renumbered_checks": each_verdict(lambda verdict, n: verdict | {"check": str(n + 1)}),
    "half_the_checks": each_verdict(lambda verdict, n: verdict if n % 2 else None),
    "unknown_words": each_verdict(lambda verdict, n: verdict | {"answer": "maybe"}),
    "contradiction": _contradicted,
    "another_picture": each_verdict(lambda verdict, n: _opposite(verdict) | {"evidence": "in the other picture"}),
    "neither_yes_nor_no": lambda request, answer: (
        replace(answer, first={"The": 0.7, "I": 0.3}) if answer.first else answer
    ),
}
"""Replies that a model might give, made from the honest one."""


def _logprob(value: float) -> Callable[[Body], Body]:
    """Every log-probability is this."""

    def changed(body: Body) -> Body:
        for token in (body["choices"][0].get("logprobs") or {}).get("content", ()):
            token["logprob"] = value
            for candidate in token["top_logprobs"]:
                candidate["logprob"] = value
        return body

    return changed


def _without(*path: str | int) -> Callable[[Body], Body]:
    """The body with what stands at the path set to null."""

    def changed(body: Body) -> Body:
        inner: Any = body
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = None
        return body

    return changed


BODIES: dict[str, Callable[[Body], Body]] = {
    "nan_logprobs": _logprob(float("nan")),
    "positive_logprobs": _logprob(3.0),
    "infinite_logprobs": _logprob(float("inf")),
    "no_logprobs": _without("choices", 0, "logprobs"),
    "no_content": _without("choices", 0, "message", "content"),
    "no_usage": _without("usage"),
    "no_choices": lambda body: body | {"choices": []},
    "null_choices": _without("choices"),
    "error_in_200": lambda body: {"error": {"message": "upstream is overloaded", "code": 502}},
    "filtered": lambda body: body | {"choices": [body["choices"][0] | {"finish_reason": "content_filter"}]},
    "cut_at_length": lambda body: body | {"choices": [body["choices"][0] | {"finish_reason": "length"}]},
}
"""Bodies that servers send, made from the honest one."""

SLOW = 8.0
"""Seconds; a client that is to meet it waits for less."""

RESPONSES: dict[str, Callable[[Response], Response]] = {
    "rate_limited": lambda r: _failed(429, "Rate limit reached", {"Retry-After": "0"}),
    "rate_limited_in_ms": lambda r: _failed(429, "Rate limit reached", {"retry-after-ms": "1"}),
    "server_error": lambda r: _failed(500, "The server had an error"),
    "overloaded": lambda r: replace(
        r, status=503, body=b"<html>Service Unavailable</html>", headers={"Retry-After": "0"}
    ),
    "slow": lambda r: replace(r, delay=SLOW),
    "cut": lambda r: replace(r, sent=len(r.body) // 2),
    "dropped": lambda r: replace(r, sent=-1),
    "html": lambda r: replace(r, body=b"<html>Welcome to the proxy</html>", headers={"Content-Type": "text/html"}),
    "broken_json": lambda r: replace(r, body=r.body[: len(r.body) // 2]),
    "invalid_utf8": lambda r: replace(r, body=r.body.replace(b'"content": "', b'"content": "\xff\xfe', 1)),
    "no_body": lambda r: replace(r, body=b""),
}
"""Ways in which a response gets lost, made from the honest one."""

FAULTS = (*ANSWERS, *BODIES, *RESPONSES)
"""Every name."""


def _failed(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    body = {"error": {"message": message, "type": "server_error", "param": None, "code": None}}
    return Response(status, json.dumps(body).encode(), headers or {"Retry-After": "0"})


def fault_sequence(seed: int, honest: float = 0.3, without: tuple[str, ...] = ()) -> Iterator[str | None]:
    """Faults without end, the same ones for a seed; None, an honest reply, with the probability ``honest``."""
    rng, names = random.Random(seed), [name for name in FAULTS if name not in without]
    while True:
        yield None if rng.random() < honest else rng.choice(names)
