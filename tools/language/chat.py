"""A chat model that is asked questions and answers with validated values."""

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, Field

from ...state import Exchange, Frozen
from ..errors import ReplyError
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
_WORD = 4
"""Tokens within which yes or no must come; a tokenizer may begin with a blank."""
_NO_LOGPROBS = "the server gives no logprobs"
_HELLO = 16
"""Tokens of the answer to ``check``."""
_MOST_TOKENS = 2**31
"""Tokens of one call that a server may well have counted are fewer."""
_SPARSE = 6
"""Characters of a question for each token that the server says it read, above which some were not read."""
_LONG = 2000
"""Characters from which a question is compared with the tokens that were read."""

_log = logging.getLogger(__name__)


class CachedAnswer(Frozen):
    """A usable answer."""

    reply: str
    """As it came."""
    picture_side: int | None = None
    """Of its exchange."""
    probability: float | None = Field(default=None, ge=0, le=1)
    """P(yes), for a question of yes or no."""


@dataclass(frozen=True)
class Answered:
    """One reply as it came."""

    text: str
    finish: str
    """Why the model stopped: ``stop``, ``length``, ``content_filter``; empty where the server does not say."""
    refusal: str
    """The model's words of refusal; empty if it did not refuse."""
    logprobs: list[Any]
    """For each token of the reply, as the protocol has it; empty where they were not asked for or not given."""
    prompt_tokens: int
    reply_tokens: int
    seconds: float

    @property
    def declined(self) -> str | None:
        """How the model or its server declined to answer; None if neither did."""
        if self.refusal:
            return f"refusal: {self.refusal}"
        return "content_filter: the server filtered the answer" if self.finish == "content_filter" else None

    @property
    def fault(self) -> str | None:
        """What is wrong with the reply whatever it says; None if nothing is."""
        if self.declined is None and self.finish == "length":
            return f"length: the answer was cut after {self.reply_tokens or 'too many'} tokens; be brief"
        return self.declined or (None if self.text.strip() else "empty: there is no text in the answer")


Exchanges = list[Exchange]
"""Every call that was made for a question, failed ones too, in order."""


class ChatModel:
    """Asks one model on one server, and remembers in which form that server takes questions. ``ModelError`` without a
    key for OpenAI's own server, ``SettingsError`` if the folder of the cache cannot be written."""

    def __init__(self, settings: ChatSettings) -> None:
        self.settings, self.name = settings, settings.name
        self._server = Server(settings, CHAT)
        self.is_openai = self._server.is_openai
        """Whether the server is OpenAI's own, whose strict schemas take fewer keywords."""
        self._cache = None if settings.cache is None else DiskCache(settings.cache, "answers")
        limits = ("max_completion_tokens", "max_tokens") if self.is_openai else Dialect.limits
        self._dialect = Dialect("text" if settings.is_local else Dialect.form, limits=limits)
        self._warned = False

    async def ask(self, question: Question, answer: type[M]) -> Reply[M]:
        """Ask until the reply is an ``answer``; raises as ``ask_for`` does."""
        schema = portable_schema(answer, strict=self.is_openai)
        return await self.ask_for(
            question, schema, lambda text: read_last(text, lambda value: validated(value, answer))
        )

    async def ask_for(self, question: Question, schema: dict[str, Any], read: Callable[[str], T]) -> Reply[T]:
        """Ask until the reply can be read; ``ModelError`` if the model cannot be used, ``ReplyError`` if no answer can.

        ``schema`` is that of the answer, in the portable form; ``read`` makes a value of the raw reply, or raises a
        ``ValueError`` that tells the model what is wrong.
        """
        key = self._key(question, schema)
        if (cached := await self._cached(key)) is not None:
            try:
                return Reply(read(cached.reply), (self._from_cache(question, cached),))
            except ValueError:
                pass  # It was cached by a version that read otherwise.
        exchanges: Exchanges = []
        call, left = Call(question, question.text, self.settings.max_tokens, schema), self.settings.attempts
        with self._naming_failures(question, exchanges):
            while True:
                left -= 1
                try:
                    answered = await self._call(exchanges, call)
                    value = _value(answered, read)
                    break
                except NoAnswer as none:
                    if not (none.again and left):
                        raise
                    call = replace(call, text=question.again(none.raw, none.reason).text)
        await self._keep(key, CachedAnswer(reply=answered.text, picture_side=exchanges[-1].picture_side))
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
        exchanges: Exchanges = []
        with self._naming_failures(question, exchanges):
            try:
                answered = await self._call(exchanges, Call(question, question.text, _WORD, logprobs=True))
            except Declined as declined:
                if question.pictures and declined.complaint.speaks_of(PICTURES):
                    raise
                if "logprob" in declined.complaint.text:
                    self._dialect = replace(self._dialect, top_logprobs=0)
                return Likelihood(None, f"{_NO_LOGPROBS} ({declined.complaint.words})", exchanges[-1])
        declined = answered.declined
        probability, reason = (None, declined) if declined else probability_of(answered.logprobs, answers)
        if probability is not None:
            await self._keep(key, CachedAnswer(reply=answered.text, probability=probability))
        return Likelihood(probability, reason, exchanges[-1])

    async def check(self) -> None:
        """Make one cheap call; raises as ``likelihood`` does."""
        question, exchanges = Question("hello", "", "Answer with the word OK."), Exchanges()
        with self._naming_failures(question, exchanges):
            await self._call(exchanges, Call(question, question.text, _HELLO))

    @contextmanager
    def _naming_failures(self, question: Question, exchanges: Exchanges) -> Generator[None]:
        """Raises ``ModelError`` or ``ReplyError`` for what went wrong with a question."""
        try:
            try:
                yield
            except Declined as declined:
                raise refused(declined.complaint, self.settings, len(question.pictures)) from None
        except NoAnswer as none:
            reason = "; ".join(filter(None, (none.reason, exchanges[-1].note)))
            message = f"{self.name} gave no usable answer to {question.name!r}: {reason}"
            raise ReplyError(message, reason=reason, raw=none.raw, exchanges=tuple(exchanges)) from None

    async def _call(self, exchanges: Exchanges, call: Call) -> Answered:
        """The reply to one call, put in a form that the server takes; raises as ``Server.post`` does."""
        learned: dict[str, Any] = {}
        while True:
            dialect = replace(self._dialect, **learned)
            text = dialect.worded(call)
            try:
                messages = await asyncio.to_thread(dialect.messages, call, self.settings)
                parameters = dialect.parameters(call, self.settings, strict=self.is_openai)
                answered = self._read(*await self._server.chat(call.question.name, messages, parameters))
            except Declined as declined:
                exchanges.append(self._exchange(call.question, text, declined.complaint.words, declined.seconds))
                other = dialect.after(declined.complaint, call, self.settings)
                if other is None:
                    raise
                learned |= {n: value for n, value in vars(other).items() if value != getattr(dialect, n)}
            except NoAnswer as none:
                lost = self._exchange(call.question, text, none.reason, none.seconds)
                exchanges.append(lost.model_copy(update={"no_reply": none.transient}))
                raise
            else:
                # Remembered only now: a request can be declined for reasons of its own.
                self._dialect = replace(self._dialect, **learned)
                reply, spent = answered.text or answered.refusal, (answered.prompt_tokens, answered.reply_tokens)
                exchange = self._exchange(call.question, text, reply, answered.seconds, spent)
                side = dialect.side(self.settings) if call.question.pictures else None
                exchanges.append(exchange.model_copy(update={"picture_side": side}))
                return answered

    def _read(self, message: "AIMessage", seconds: float) -> Answered:
        """What a message says; ``NoAnswer`` where it is of another shape than the protocol's."""
        from .chat_openai import answer_in

        clean, about, usage = self.settings.clean, message.response_metadata, message.usage_metadata
        refusal = clean(str(message.additional_kwargs.get("refusal") or ""))[:LONGEST_READ]
        try:
            return Answered(
                text="" if refusal else clean(answer_in(message))[:LONGEST_READ],
                finish=str(about.get("finish_reason") or ""),
                refusal=refusal,
                logprobs=list((about.get("logprobs") or {}).get("content") or ()),
                prompt_tokens=_tokens(usage and usage["input_tokens"]),
                reply_tokens=_tokens(usage and usage["output_tokens"]),
                seconds=seconds,
            )
        except (TypeError, ValueError, AttributeError) as error:
            none = NoAnswer(f"the reply is no chat completion ({type(error).__name__}: {error})", again=True)
            none.seconds = seconds
            raise none from None

    def _exchange(
        self, question: Question, text: str, reply: str, seconds: float = 0, spent: tuple[int, int] = (0, 0)
    ) -> Exchange:
        """A call for the trace: the question with its templates and messages, and pictures by reference."""
        header = [f"[template {question.template}]"] if question.template else []
        system = ["[system]", question.system] if question.system else []
        pictures = [f"[picture {picture.reference} sha256:{picture.sha256}]" for picture in question.pictures]
        return Exchange(
            model=self.name,
            prompt=self.settings.clean("\n".join([*header, *system, "[user]", text, *pictures])),
            reply=reply,
            prompt_tokens=spent[0],
            reply_tokens=spent[1],
            seconds=seconds,
            money=cost_of(self.settings, *spent),
            note=self._cut_note(len(question.system) + len(text), spent[0]),
        )

    def _from_cache(self, question: Question, cached: CachedAnswer) -> Exchange:
        known = {"cached": True, "picture_side": cached.picture_side}
        return self._exchange(question, question.text, cached.reply).model_copy(update=known)

    def _cut_note(self, characters: int, tokens: int) -> str:
        """What to say of a question that the server cut without a word, as its number of tokens shows."""
        if characters < _LONG or not 0 < tokens < characters / _SPARSE:
            return ""
        note = f"{self.name} read {tokens} tokens of {characters} characters: it cut the question; raise its context"
        if not self._warned:
            _log.warning(note)
            self._warned = True
        return note

    def _key(self, question: Question, schema: dict[str, Any] | None = None, *, logprobs: bool = False) -> str:
        """Hash of everything that an answer depends on; no secret goes into it."""
        settings = self.settings
        sent = (settings.model, settings.url, settings.temperature, settings.body)
        if settings.is_local:
            sent = (*sent, settings.precision)
        pictures = [(picture.sha256, settings.picture_side, settings.picture_quality) for picture in question.pictures]
        texts = (question.system, question.text, pictures, question.vote)
        return content_hash(_CACHE_VERSION, sent, texts, schema, logprobs)

    async def _cached(self, key: str) -> CachedAnswer | None:
        return None if self._cache is None else await asyncio.to_thread(self._cache.get, key, CachedAnswer)

    async def _keep(self, key: str, answer: CachedAnswer) -> None:
        if self._cache is not None:
            await asyncio.to_thread(self._cache.put, key, answer)


def _tokens(count: Any) -> int:
    """A number of tokens that a server counted; 0 where it is no number of tokens."""
    return int(count) if isinstance(count, int | float) and 0 <= count < _MOST_TOKENS else 0


def _value(answered: Answered, read: Callable[[str], T]) -> T:
    """What is read of a reply; ``NoAnswer`` with the reason."""
    if answered.fault is not None:
        # What a filter left of a reply is no part of an answer; what was cut off may hold whole ones.
        left = answered.refusal if answered.declined else answered.text
        raise NoAnswer(answered.fault, left, again=True)
    try:
        return read(answered.text)
    except ValueError as error:
        raise NoAnswer(what_is_wrong(error), answered.text, again=True) from None
