"""A chat model that is asked questions and answers with validated values."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from ...prompts import render
from ...state import Exchange
from ..errors import ReplyError
from .asking import Asking, Dialect, as_sent
from .cache import AnswerCache, Kept, cache_key
from .failures import Declined, NoAnswer
from .prices import price_of
from .question import Likelihood, Question, Reply
from .server import Answered, ChatServer
from .settings import ChatSettings
from .wire import json_object, portable_schema, what_is_wrong
from .yes_or_no import probability_of_yes

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_QUOTED = 4000
"""Characters of an unusable answer that are shown to the model again."""
_WORD = 4
"""Tokens within which yes or no must come; a tokenizer may begin with a blank."""
_TOPS = 20
"""Likely words that are asked for; the protocol's greatest number."""
_NO_LOGPROBS = "the server gives no logprobs"
_HELLO = 16
"""Tokens of the answer to ``check``."""


class Unusable(Exception):
    """What came back is no answer to the question."""

    def __init__(self, reason: str, raw: str = "", *, again: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.raw = reason, raw
        self.again = again
        """Whether to ask again makes sense."""


class ChatModel:
    """Asks one model on one server, and remembers in which form that server takes questions.

    Raises:
        ModelError: OpenAI's own server is to be used and no key is there.
    """

    def __init__(self, settings: ChatSettings) -> None:
        self.settings = settings
        self._server = ChatServer(settings)
        self._cache = None if settings.cache is None else AnswerCache(settings.cache)
        self._price = price_of(settings)
        self._dialect = Dialect()

    @property
    def name(self) -> str:
        """Model and server, as traces show them."""
        return self.settings.name

    @property
    def is_openai(self) -> bool:
        """Whether the server is OpenAI's own, whose strict schemas take fewer keywords."""
        return self._server.is_openai

    async def ask(self, question: Question, answer: type[M]) -> Reply[M]:
        """Ask until the reply is an ``answer``; raises as ``ask_for`` does."""
        schema = portable_schema(answer, strict=self.is_openai)
        return await self.ask_for(question, schema, lambda text: answer.model_validate_json(json_object(text)))

    async def ask_for(self, question: Question, schema: dict[str, Any], read: Callable[[str], T]) -> Reply[T]:
        """Ask until the reply can be read.

        Args:
            question: What to ask.
            schema: JSON schema of the answer, in the portable form.
            read: Makes a value of the raw reply, or raises a ``ValueError`` that tells the model what is wrong.

        Raises:
            ModelError: the model or its server cannot be used.
            ReplyError: no answer can be used.
        """
        key = cache_key(self.settings, question, schema=schema)
        kept = await self._kept(key)
        if kept is not None and (value := _read_or_none(read, kept.reply)) is not None:
            return Reply(value, (self._exchange(question, kept.reply, cached=True),))
        asking = self._asking(question)
        try:
            raw, value = await self._until_usable(asking, schema, read)
        except Unusable as unusable:
            raise self._reply_error(asking, unusable.reason, unusable.raw) from None
        await self._keep(key, Kept(reply=raw))
        return Reply(value, tuple(asking.exchanges))

    async def _until_usable(self, asking: Asking, schema: dict[str, Any], read: Callable[[str], T]) -> tuple[str, T]:
        """The first reply that can be read, and what was read; ``Unusable`` if there is none."""
        text = asking.question.text
        attempts = AsyncRetrying(
            stop=stop_after_attempt(self.settings.attempts),
            retry=retry_if_exception(lambda error: isinstance(error, Unusable) and error.again),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                try:
                    return await _once(asking, text, schema, read)
                except Unusable as unusable:
                    text = _again(asking.question.text, unusable)
                    raise
        raise AssertionError("tenacity raises the last attempt's error")

    async def likelihood(self, question: Question) -> Likelihood:
        """P(yes) for a question of yes or no, from the probabilities of the first word.

        Raises:
            ModelError: the model or its server cannot be used.
            ReplyError: no answer came.
        """
        key = cache_key(self.settings, question, logprobs=True)
        kept = await self._kept(key)
        if kept is not None and kept.probability is not None:
            return Likelihood(kept.probability, None, self._exchange(question, kept.reply, cached=True))
        asking = self._asking(question)
        if not self._dialect.logprobs:
            return Likelihood(None, _NO_LOGPROBS, self._exchange(question, _NO_LOGPROBS))
        try:
            answered = await asking.plain(max_tokens=_WORD, temperature=0, logprobs=True, top_logprobs=_TOPS)
        except NoAnswer as none:
            raise self._reply_error(asking, none.reason, "") from None
        except Declined as declined:
            if asking.is_about_pictures(declined.words):
                raise asking.last_word(declined.words) from None
            self._dialect.logprobs = "logprob" not in declined.words
            return Likelihood(None, f"{_NO_LOGPROBS} ({declined.words})", asking.exchanges[-1])
        declined = _declined(answered)
        probability, reason = probability_of_yes(answered.logprobs) if declined is None else (None, declined)
        if probability is not None:
            await self._keep(key, Kept(reply=answered.text, probability=probability))
        return Likelihood(probability, reason, asking.exchanges[-1])

    async def check(self) -> None:
        """Make one cheap call; raises as ``likelihood`` does."""
        asking = self._asking(Question("hello", "", "Answer with the word OK."))
        try:
            await asking.plain(max_tokens=_HELLO)
        except NoAnswer as none:
            raise self._reply_error(asking, none.reason, "") from None
        except Declined as declined:
            raise asking.last_word(declined.words) from None

    def _asking(self, question: Question) -> Asking:
        return Asking(self._server, self._dialect, self._price, question)

    def _reply_error(self, asking: Asking, reason: str, raw: str) -> ReplyError:
        return ReplyError(
            f"{self.name} gave no usable answer to {asking.question.name!r}: {reason}",
            reason=reason,
            raw=raw,
            exchanges=tuple(asking.exchanges),
        )

    async def _kept(self, key: str) -> Kept | None:
        return None if self._cache is None else await asyncio.to_thread(self._cache.get, key)

    async def _keep(self, key: str, kept: Kept) -> None:
        if self._cache is not None:
            await asyncio.to_thread(self._cache.put, key, kept)

    def _exchange(self, question: Question, reply: str, *, cached: bool = False) -> Exchange:
        """An exchange without a call."""
        prompt = self.settings.clean(as_sent(question, question.text))
        return Exchange(model=self.name, prompt=prompt, reply=reply, cached=cached)


async def _once(asking: Asking, text: str, schema: dict[str, Any], read: Callable[[str], T]) -> tuple[str, T]:
    """One reply and what was read of it; ``Unusable`` with the reason."""
    try:
        answered = await asking.structured(text, schema)
    except NoAnswer as none:
        raise Unusable(none.reason, again=none.again) from None
    if (fault := _fault(answered)) is not None:
        raise Unusable(fault, answered.text or answered.refusal)
    try:
        return answered.text, read(answered.text)
    except ValueError as error:
        raise Unusable(what_is_wrong(error), answered.text) from None


def _fault(answered: Answered) -> str | None:
    """What is wrong with a reply whatever it says; None if nothing is."""
    if (declined := _declined(answered)) is not None:
        return declined
    if answered.finish == "length":
        return f"length: the answer was cut after {answered.reply_tokens or 'too many'} tokens; be brief"
    return None if answered.text.strip() else "empty: there is no text in the answer"


def _declined(answered: Answered) -> str | None:
    """How the model or its server declined to answer; None if neither did."""
    if answered.refusal:
        return f"refusal: {answered.refusal}"
    return "content_filter: the server filtered the answer" if answered.finish == "content_filter" else None


def _again(text: str, unusable: Unusable) -> str:
    """The question with what was wrong with the last answer."""
    return render("ask_again", text=text, answer=unusable.raw[:_QUOTED], reason=unusable.reason)


def _read_or_none(read: Callable[[str], T], reply: str) -> T | None:
    """What is read of a kept reply; None for one that was kept by code that read otherwise."""
    try:
        return read(reply)
    except ValueError:
        return None
