"""The form of requests that a chat server accepts, learned from what it declines."""

import base64
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ...prompts import render
from .failures import FORMAT, PICTURES, TOKEN_LIMIT, TOO_LARGE, TOO_LONG, UNSUPPORTED, Complaint
from .question import Question, encoded
from .settings import ChatSettings

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

Form = Literal["json_schema", "json_object", "text"]
"""How a server is made to keep to the schema: by the schema, by JSON mode, or by words alone."""

_NEXT_FORM: dict[Form, Form] = {"json_schema": "json_object", "json_object": "text"}
_SMALLEST_REPLY, _SMALLEST_SIDE = 256, 256
"""Tokens and pixels to which a request is reduced at most."""
_LEAST_TOKENS = 16
"""The lower bound of ``max_tokens`` on servers that have one."""
_TOO_SMALL = re.compile(r"too small|minimum|at least|greater than or equal|>=|below")
_SYSTEM = re.compile(r"system|developer|\brole")
_STREAM = re.compile(r"(only|must|require|enable|set).{0,60}\bstream|\bstream.{0,60}(only|must|require|true|enable)")


@dataclass(frozen=True)
class Call:
    """One call, in whatever dialect."""

    question: Question
    max_tokens: int
    schema: dict[str, Any] | None = None
    """JSON schema of the answer; None for a reply in words."""
    logprobs: bool = False
    """Whether the reply is the likeliest one, with the probabilities of its words."""


@dataclass(frozen=True)
class Dialect:
    """What a server is known to accept."""

    form: Form = "json_schema"
    """The strictest that it has not declined."""
    limits: tuple[str, ...] = ("max_tokens", "max_completion_tokens")
    """Names of the limit of tokens that it has not declined; the first is used."""
    most_tokens: int | None = None
    """Its largest limit of tokens; None where that is not known."""
    fewest_tokens: int = 1
    """Its smallest limit of tokens."""
    temperature: bool = True
    top_logprobs: int = 20
    """Alternatives that it gives for each word; 20 is the protocol's largest number, 0 stands for no logprobs."""
    system: bool = True
    """Whether it takes a system message; else the text is put before the user's."""
    stream: bool = False
    """Whether it only streams replies."""
    picture_side: int | None = None
    """Pixels of the longest side of a picture; None where no limit is known."""

    def worded(self, call: Call) -> str:
        """The text of the user's message, with the schema where it is not sent otherwise."""
        if call.schema is None or self.form == "json_schema":
            return call.question.text
        return render("answer_format", text=call.question.text, schema=json.dumps(call.schema))

    def side(self, settings: ChatSettings) -> int:
        """Largest side of a picture that is sent, in pixels."""
        return min(settings.picture_side, self.picture_side or settings.picture_side)

    def messages(self, call: Call, settings: ChatSettings) -> "list[BaseMessage]":
        """The system message, if any, and the user's text with the pictures after it."""
        from langchain_core.messages import HumanMessage, SystemMessage

        question, text = call.question, self.worded(call)
        if question.system and not self.system:
            text = f"{question.system}\n\n{text}"
        side = self.side(settings)
        files = (encoded(picture, side, settings.picture_quality) for picture in question.pictures)
        urls = [f"data:{mime};base64,{base64.b64encode(data).decode()}" for mime, data in files]
        pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        # Some servers of text models take no list, not even of one text.
        message = HumanMessage([{"type": "text", "text": text}, *pictures] if pictures else text)
        return [SystemMessage(question.system), message] if question.system and self.system else [message]

    def parameters(self, call: Call, settings: ChatSettings, *, strict: bool) -> dict[str, Any]:
        """The other parameters of the request; ``strict`` is for OpenAI's own server."""
        asked: dict[str, Any] = {}
        if self.limits:
            asked[self.limits[0]] = max(self.fewest_tokens, min(call.max_tokens, self.most_tokens or call.max_tokens))
        if self.temperature:
            asked["temperature"] = 0 if call.logprobs else settings.temperature
        if call.logprobs:
            asked |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        if self.stream:
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        if call.schema is not None and self.form != "text":
            named = {"name": call.question.name, "schema": call.schema, "strict": strict}
            schema = {"json_schema": named} if self.form == "json_schema" else {}
            asked["response_format"] = {"type": self.form, **schema}
        return {name: value for name, value in (asked | settings.body).items() if value is not None}

    def after(self, complaint: Complaint, call: Call, settings: ChatSettings) -> "Dialect | None":
        """A dialect without what the server complains of; None where there is none. What the complaint names most
        surely is dropped first; each dialect asks for less, so this ends."""
        text = complaint.text
        if self.temperature and "temperature" in text:
            return replace(self, temperature=False)
        if call.logprobs and "logprob" in text and (fewer := _fewer(self.top_logprobs, text)):
            return replace(self, top_logprobs=fewer)
        if not self.stream and _STREAM.search(text):
            return replace(self, stream=True)
        if complaint.speaks_of(TOKEN_LIMIT) and (other := self._other_limit(complaint, call)) is not None:
            return other
        if call.question.system and self.system and _SYSTEM.search(text) and complaint.speaks_of(UNSUPPORTED):
            return replace(self, system=False)
        side = self.picture_side or settings.picture_side
        # Some gateways answer 404 to a body that is too large.
        large = complaint.speaks_of(TOO_LARGE) or (complaint.status == 404 and not complaint.speaks_of(PICTURES))
        if call.question.pictures and side > _SMALLEST_SIDE and large:
            return replace(self, picture_side=side // 2)
        blind = bool(call.question.pictures) and complaint.speaks_of(PICTURES) and not complaint.speaks_of(FORMAT)
        if call.schema is not None and self.form in _NEXT_FORM and not blind and not complaint.speaks_of(TOO_LONG):
            return replace(self, form=_NEXT_FORM[self.form])
        return None

    def _other_limit(self, complaint: Complaint, call: Call) -> "Dialect | None":
        """Another name, or another size, of the limit of tokens."""
        if not self.limits:
            return None
        if _TOO_SMALL.search(complaint.text) and max(call.max_tokens, self.fewest_tokens) < _LEAST_TOKENS:
            return replace(self, fewest_tokens=_LEAST_TOKENS)
        if self.limits[0] in complaint.text and complaint.speaks_of(UNSUPPORTED):
            return replace(self, limits=self.limits[1:])
        tokens = min(call.max_tokens, self.most_tokens or call.max_tokens)
        return replace(self, most_tokens=tokens // 2) if tokens >= 2 * _SMALLEST_REPLY else None


def _fewer(top_logprobs: int, text: str) -> int:
    """The largest number in the text below ``top_logprobs``; 0 where the server gives no logprobs at all."""
    if not re.search(r"top_?logprobs|sample logprobs|less|at most|greater|maximum|range|between|<=", text):
        return 0
    numbers = [int(number) for number in re.findall(r"\b\d{1,2}\b", text)]
    return max((number for number in numbers if 0 < number < top_logprobs), default=5 if top_logprobs > 5 else 0)
