"""One question on its way: put in a form that the server takes, every call of it written down."""

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ...prompts import render
from ...state import Exchange
from ..errors import ModelError
from .failures import Declined, NoAnswer, speaks_of_format, speaks_of_pictures, takes_no_pictures
from .prices import Price
from .question import Question
from .server import Answered, ChatServer

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

Form = Literal["json_schema", "json_object", "text"]
"""How a server is told to answer: bound to a schema, bound to JSON, or by words alone."""

_NEXT: dict[Form, Form] = {"json_schema": "json_object", "json_object": "text"}


@dataclass
class Dialect:
    """What is known by now of the requests that a server takes."""

    form: Form = "json_schema"
    """The first that it has not declined."""
    temperature: bool = True
    logprobs: bool = True


@dataclass
class Asking:
    """A question, and what came of it so far."""

    server: ChatServer
    dialect: Dialect
    price: Price | None
    question: Question
    exchanges: list[Exchange] = field(default_factory=list[Exchange])
    """Every call, failed ones too, in order."""

    async def structured(self, text: str, schema: dict[str, Any]) -> Answered:
        """The reply to ``text`` in the strongest form that the server takes; raises as ``call`` does."""
        form = self.dialect.form
        while True:
            worded = text if form == "json_schema" else render("answer_format", text=text, schema=json.dumps(schema))
            try:
                answered = await self.call(worded, **_bound(form, self.question.name, schema, self.server.is_openai))
            except Declined as declined:
                self._require_another_form(declined, form)
                form = _NEXT[form]
            else:
                # Remembered only now: a request can be declined for reasons of its own.
                self.dialect.form = form
                return answered

    async def plain(self, **parameters: Any) -> Answered:
        """The reply to the question as it stands; raises as ``call`` does."""
        return await self.call(self.question.text, **parameters)

    async def call(self, text: str, *, max_tokens: int | None = None, **parameters: Any) -> Answered:
        """One call, with every other parameter that the server takes.

        Raises:
            ModelError: the model or its server cannot be used.
            Declined: the server does not take these parameters.
            NoAnswer: nothing came.
        """
        settings = self.server.settings
        sent = {"temperature": settings.temperature, **parameters}
        if not self.dialect.temperature:
            del sent["temperature"]
        try:
            answered = await self.server.send(
                _messages(self.question, text), max_tokens=max_tokens or settings.max_tokens, **sent
            )
        except Declined as declined:
            self._note(text, declined.words, declined.seconds)
            if "temperature" in declined.words and "temperature" in sent:
                self.dialect.temperature = False
                return await self.call(text, max_tokens=max_tokens, **parameters)
            raise
        except NoAnswer as none:
            self._note(text, none.reason, none.seconds)
            if self.question.pictures and takes_no_pictures(none.reason):
                raise self.last_word(none.reason) from None
            raise
        self._note(text, answered.text or answered.refusal, answered.seconds, answered)
        return answered

    def _require_another_form(self, declined: Declined, form: Form) -> None:
        blind = self.is_about_pictures(declined.words) and not speaks_of_format(declined.words)
        if blind or form not in _NEXT:
            raise self.last_word(declined.words) from None

    def is_about_pictures(self, words: str) -> bool:
        """Whether a complaint is about the question's pictures."""
        return bool(self.question.pictures) and speaks_of_pictures(words)

    def last_word(self, words: str) -> ModelError:
        """The error for a server that takes the question in no form."""
        name = self.server.settings.name
        if self.is_about_pictures(words):
            return ModelError(f"{name} takes no pictures ({words}): name a vision model with --chat-model")
        return ModelError(f"{name} declines the request ({words}): `detailscribe doctor` shows what is configured")

    def _note(self, text: str, reply: str, seconds: float, answered: Answered | None = None) -> None:
        spent = (0, 0) if answered is None else (answered.prompt_tokens, answered.reply_tokens)
        self.exchanges.append(
            Exchange(
                model=self.server.settings.name,
                prompt=self.server.settings.clean(as_sent(self.question, text)),
                reply=reply,
                prompt_tokens=spent[0],
                reply_tokens=spent[1],
                seconds=seconds,
                money=0.0 if self.price is None else self.price.of(*spent),
            )
        )


def as_sent(question: Question, text: str) -> str:
    """A question as a trace shows it: its templates, the messages, and pictures by reference."""
    header = [f"[template {question.template}]"] if question.template else []
    system = ["[system]", question.system] if question.system else []
    pictures = [f"[picture {picture.reference} sha256:{picture.sha256}]" for picture in question.pictures]
    return "\n".join([*header, *system, "[user]", text, *pictures])


def _bound(form: Form, name: str, schema: dict[str, Any], strict: bool) -> dict[str, Any]:
    if form == "json_schema":
        named = {"name": name, "schema": schema, "strict": strict}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"response_format": {"type": "json_object"}} if form == "json_object" else {}


def _messages(question: Question, text: str) -> "list[BaseMessage]":
    from langchain_core.messages import HumanMessage, SystemMessage

    content: list[str | dict[Any, Any]] = [{"type": "text", "text": text}]
    content += [
        {"type": "image", "base64": base64.b64encode(picture.png).decode(), "mime_type": "image/png"}
        for picture in question.pictures
    ]
    system = [SystemMessage(question.system)] if question.system else []
    # Some servers of text models take no list, not even of one text.
    return [*system, HumanMessage(content if question.pictures else text)]
