"""A chat model that is asked questions and answers with validated values."""

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, Field

from ...state import Exchange, Frozen
from ..errors import ModelError, ReplyError
from ..files import DiskCache, content_hash
from .dialect import Call, Dialect
from .failures import CHAT, PICTURES, Declined, NoAnswer, refused
from .question import Likelihood, Question, Reply
from .settings import ChatSettings, cost_of
from .structured import LONGEST_READ, portable_schema, probability_of, read_last, validated, what_is_wrong
from .wire import Server

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_CACHE_VERSION = 2
"""Raised whenever cached answers no longer mean what they did."""
_YES_OR_NO_TOKENS = 4
"""Limit of a reply of yes or no; a tokenizer may begin with a blank."""
_CHECK_TOKENS = 16
_NO_LOGPROBS = "the server gives no logprobs"
_FILTERED = "content_filter: the server filtered the answer"
_MOST_TOKENS = 2**31
"""Servers may report odd numbers of tokens; larger ones are ignored."""
_LONG, _CHARACTERS_PER_TOKEN = 2000, 6
"""A question of more characters was cut if the server read fewer tokens than one for so many characters."""

_log = logging.getLogger(__name__)


class CachedAnswer(Frozen):
    """A usable answer."""

    reply: str
    """The raw reply."""
    picture_side: int | None = None
    """As in ``Exchange``."""
    probability: float | None = Field(default=None, ge=0, le=1)
    """P(yes), for a question of yes or no."""


@dataclass(frozen=True)
class _RawReply:
    text: str
    """What the model wrote; its refusal where it refused."""
    declined: str | None
    """How the model or its server declined to answer, if one did."""
    fault: str | None
    """Why the text cannot be an answer, whatever it says; None if it can."""
    logprobs: list[Any]
    """For each token of the reply, as the protocol has it."""


class ChatModel:
    """Asks one model on one server, and learns in which form that server takes questions. ``ModelError`` without a key
    for OpenAI's own server, ``SettingsError`` if the folder of the cache cannot be written."""

    def __init__(self, settings: ChatSettings) -> None:
        self.settings, self.name = settings, settings.name
        self._server = Server(settings, CHAT)
        self.is_openai = self._server.is_openai
        """Whether the server is OpenAI's own, whose strict schemas take fewer keywords."""
        self._cache = None if settings.cache is None else DiskCache(settings.cache, "answers")
        limits = ("max_completion_tokens", "max_tokens") if self.is_openai else Dialect.limits
        self._dialect = Dialect("text" if settings.is_local else Dialect.form, limits=limits)
        self._warned = False

    async def ask(
        self, question: Question, answer: type[M], *, keep: Callable[[M], bool] = lambda value: True
    ) -> Reply[M]:
        """Ask until the reply is an ``answer``; raises as ``ask_for`` does."""
        schema = portable_schema(answer, strict=self.is_openai)
        return await self.ask_for(
            question, schema, lambda text: read_last(text, lambda value: validated(value, answer)), keep=keep
        )

    async def ask_for(
        self,
        question: Question,
        schema: dict[str, Any],
        read: Callable[[str], T],
        *,
        keep: Callable[[T], bool] = lambda value: True,
    ) -> Reply[T]:
        """Ask until the reply can be read; ``ModelError`` if the model cannot be used, ``ReplyError`` if no reply can.

        ``schema`` is the answer's, in the portable form; ``read`` parses the raw reply, or raises a ``ValueError`` that
        tells the model what is wrong. What ``keep`` refuses is returned but not cached, and neither is the reply to a
        question that the server cut.
        """
        key = self._key(question, schema)
        if (cached := await self._cached(key)) is not None:
            with suppress(ValueError):  # cached by a version that read otherwise
                return Reply(read(cached.reply), (self._from_cache(question, cached),))
        exchanges: list[Exchange] = []
        call, attempts = Call(question, self.settings.max_tokens, schema), self.settings.attempts
        with self._naming_failures(question, exchanges):
            while True:
                attempts -= 1
                try:
                    reply = await self._call(exchanges, call)
                    if reply.fault is not None:
                        # What a filter left of a reply is no part of an answer; what was cut off may hold whole ones.
                        raise NoAnswer(reply.fault, "" if reply.fault == _FILTERED else reply.text, again=True)
                    try:
                        value = read(reply.text)
                    except ValueError as error:
                        raise NoAnswer(what_is_wrong(error), reply.text, again=True) from None
                    break
                except NoAnswer as failure:
                    if not (failure.again and attempts):
                        raise
                    call = replace(call, question=question.again(failure.raw, failure.reason))
        if keep(value):
            answered = CachedAnswer(reply=reply.text, picture_side=exchanges[-1].picture_side)
            await self._keep(key, answered, exchanges[-1])
        return Reply(value, tuple(exchanges))

    async def likelihood(self, question: Question, answers: tuple[str, ...] = ("yes",)) -> Likelihood:
        """P(yes) for a question of yes or no, or P(any of ``answers``), from the probabilities of the first word;
        raises as ``ask_for`` does."""
        key = self._key(question, None if answers == ("yes",) else {"answers": answers}, logprobs=True)
        cached = await self._cached(key)
        if cached is not None and cached.probability is not None:
            return Likelihood(cached.probability, None, self._from_cache(question, cached))
        if not self._dialect.top_logprobs:
            return Likelihood(None, _NO_LOGPROBS, self._exchange(question, question.text, _NO_LOGPROBS))
        exchanges: list[Exchange] = []
        with self._naming_failures(question, exchanges):
            try:
                reply = await self._call(exchanges, Call(question, _YES_OR_NO_TOKENS, logprobs=True))
            except Declined as declined:
                if question.pictures and declined.complaint.speaks_of(PICTURES):
                    raise
                if "logprob" in declined.complaint.text:
                    self._dialect = replace(self._dialect, top_logprobs=0)
                return Likelihood(None, f"{_NO_LOGPROBS} ({declined.complaint.words})", exchanges[-1])
        probability, reason = (None, reply.declined) if reply.declined else probability_of(reply.logprobs, answers)
        if probability is not None:
            await self._keep(key, CachedAnswer(reply=reply.text, probability=probability), exchanges[-1])
        return Likelihood(probability, reason, exchanges[-1])

    async def check(self) -> None:
        """Make one cheap call; raises as ``likelihood`` does."""
        question, exchanges = Question("hello", "", "Answer with the word OK."), list[Exchange]()
        with self._naming_failures(question, exchanges):
            await self._call(exchanges, Call(question, _CHECK_TOKENS))

    @contextmanager
    def _naming_failures(self, question: Question, exchanges: list[Exchange]) -> Generator[None]:
        """Raises ``ModelError`` or ``ReplyError`` for a question that was declined or not answered."""
        try:
            yield
        except (Declined, NoAnswer) as error:
            pictures = len(question.pictures)
            failure = refused(error.complaint, self.settings, pictures) if isinstance(error, Declined) else error
            if isinstance(failure, ModelError):
                raise failure from None
            reason = "; ".join(filter(None, (failure.reason, exchanges[-1].note)))
            message = f"{self.name} gave no usable answer to {question.name!r}: {reason}"
            raise ReplyError(message, reason=reason, raw=failure.raw, exchanges=tuple(exchanges)) from None

    async def _call(self, exchanges: list[Exchange], call: Call) -> _RawReply:
        """The reply to one call, in the first form that the server takes; raises as ``Server.post`` does."""
        question, learned = call.question, dict[str, Any]()
        more: dict[str, Any]
        while True:
            dialect = replace(self._dialect, **learned)
            text = dialect.worded(call)
            try:
                messages = await asyncio.to_thread(dialect.messages, call, self.settings)
                parameters = dialect.parameters(call, self.settings, strict=self.is_openai)
                message, seconds = await self._server.chat(question.name, messages, parameters)
            except Declined as declined:
                exchanges.append(self._exchange(question, text, declined.complaint.words, seconds=declined.seconds))
                other = dialect.after(declined.complaint, call, self.settings)
                if other is None:
                    raise
                learned |= {n: value for n, value in vars(other).items() if value != getattr(dialect, n)}
            except NoAnswer as none:
                more = {"seconds": none.seconds, "no_reply": none.transient}
                exchanges.append(self._exchange(question, text, none.reason, **more))
                raise
            else:
                # Remembered only now: a request can be declined for reasons of its own.
                self._dialect = replace(self._dialect, **learned)
                sent, replied = _token_counts(message)
                raw = self._raw_reply(message, replied)
                more = {"seconds": seconds, "picture_side": dialect.side(self.settings) if question.pictures else None}
                exchanges.append(self._exchange(question, text, raw.text, sent, replied, **more))
                return raw

    def _raw_reply(self, message: "AIMessage", tokens: int) -> _RawReply:
        from .chat_openai import answer_in

        clean, about = self.settings.clean, message.response_metadata
        refusal = clean(str(message.additional_kwargs.get("refusal") or ""))[:LONGEST_READ]
        text = refusal or clean(answer_in(message))[:LONGEST_READ]
        declined = fault = f"refusal: {refusal}" if refusal else None
        if declined is None and about.get("finish_reason") == "content_filter":
            declined = fault = _FILTERED
        elif declined is None and about.get("finish_reason") == "length":
            fault = f"length: the answer was cut after {tokens or 'too many'} tokens; be brief"
        elif not text.strip():
            fault = "empty: there is no text in the answer"
        logprobs = about.get("logprobs")
        content: Any = logprobs.get("content") if isinstance(logprobs, dict) else None
        return _RawReply(text, declined, fault, content if isinstance(content, list) else [])

    def _exchange(
        self, question: Question, text: str, reply: str, sent: int = 0, replied: int = 0, **more: Any
    ) -> Exchange:
        """A call for the trace: the question with its templates and messages, and pictures by reference."""
        header = [f"[template {question.template}]"] if question.template else []
        system = ["[system]", question.system] if question.system else []
        pictures = [f"[picture {picture.reference} sha256:{picture.sha256}]" for picture in question.pictures]
        return Exchange(
            model=self.name,
            prompt=self.settings.clean("\n".join([*header, *system, "[user]", text, *pictures])),
            reply=reply,
            prompt_tokens=sent,
            reply_tokens=replied,
            money=cost_of(self.settings, sent, replied),
            note=self._cut_note(len(question.system) + len(text), sent),
            **more,
        )

    def _from_cache(self, question: Question, cached: CachedAnswer) -> Exchange:
        more: dict[str, Any] = {"cached": True, "picture_side": cached.picture_side}
        return self._exchange(question, question.text, cached.reply, **more)

    def _cut_note(self, characters: int, tokens: int) -> str:
        """The note on a question that the server cut silently, as its number of tokens shows."""
        if characters < _LONG or not 0 < tokens < characters / _CHARACTERS_PER_TOKEN:
            return ""
        note = f"{self.name} read {tokens} tokens of {characters} characters: it cut the question; raise its context"
        if not self._warned:
            _log.warning(note)
            self._warned = True
        return note

    def _key(self, question: Question, schema: dict[str, Any] | None = None, *, logprobs: bool = False) -> str:
        """Hash of everything that an answer depends on, without secrets."""
        settings = self.settings
        sent = (settings.model, settings.url, settings.temperature, settings.body)
        if settings.is_local:
            sent = (*sent, settings.precision)
        pictures = [(picture.sha256, settings.picture_side, settings.picture_quality) for picture in question.pictures]
        texts = (question.system, question.text, pictures, question.vote)
        return content_hash(_CACHE_VERSION, sent, texts, schema, logprobs)

    async def _cached(self, key: str) -> CachedAnswer | None:
        return None if self._cache is None else await asyncio.to_thread(self._cache.get, key, CachedAnswer)

    async def _keep(self, key: str, answer: CachedAnswer, exchange: Exchange) -> None:
        if self._cache is not None and not exchange.note:  # the question was not cut
            await asyncio.to_thread(self._cache.put, key, answer)


def _token_counts(message: "AIMessage") -> tuple[int, int]:
    """Tokens of the question and of the reply as the server counted them; 0 where that is no number of tokens."""
    usage: Any = message.usage_metadata or {}
    counts = (usage.get(name) for name in ("input_tokens", "output_tokens"))
    sent, replied = (int(n) if isinstance(n, int | float) and 0 <= n < _MOST_TOKENS else 0 for n in counts)
    return sent, replied
