"""One chat-completions server, reached through langchain-openai: what is sent, what comes back, what it costs."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..errors import ModelError
from .failures import failure_of
from .limits import limiter_of
from .prices import OPENAI
from .settings import ChatSettings

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_openai import ChatOpenAI

_NO_KEY = "none"


@dataclass(frozen=True)
class Answered:
    """One reply as it came."""

    text: str
    finish: str
    """Why the model stopped: ``stop``, ``length``, ``content_filter``; empty where the server does not say."""
    refusal: str
    """The model's words of refusal; empty if it did not refuse."""
    logprobs: Sequence[Any]
    """For each token of the reply, as the protocol has it; empty where they were not asked for or not given."""
    prompt_tokens: int
    reply_tokens: int
    seconds: float
    """Wall time with the retries of the transport, without the wait for a free place."""


class ChatServer:
    """Sends messages; holds the rate limit and the cap on calls in flight.

    Raises:
        ModelError: OpenAI's own server is to be used and no key is there.
    """

    def __init__(self, settings: ChatSettings) -> None:
        if settings.host == OPENAI and settings.api_key is None:
            raise ModelError(
                f"there is no key for {settings.model} at {OPENAI}: set OPENAI_API_KEY,"
                " or name a server of your own with --chat-url and --chat-model"
            )
        self.settings = settings
        self.is_openai = settings.host == OPENAI
        self._limiter = limiter_of(settings)
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def send(self, messages: "list[BaseMessage]", *, max_tokens: int, **parameters: Any) -> Answered:
        """One call; ``parameters`` are the protocol's.

        Raises:
            ModelError: the server cannot be used, by anyone or with these settings.
            Declined: the server takes the question but not this way of asking (400).
            NoAnswer: nothing came, also after the transport's retries.
        """
        async with self._place():
            await self._wait_for_turn()
            llm, started = self._llm, time.perf_counter()
            try:
                message = await llm.ainvoke(messages, **self._wire(max_tokens, parameters))
                return self._read(message, time.perf_counter() - started)
            except _sdk_errors() as error:
                # The cause is cut off: a server may echo the key in its words, and tracebacks are kept.
                raise failure_of(error, self.settings, time.perf_counter() - started) from None

    def _wire(self, max_tokens: int, parameters: dict[str, Any]) -> dict[str, Any]:
        # By way of extra_body, since the SDK, seeing a response_format, raises away replies that
        # were cut or filtered, with their text and usage.
        length = "max_completion_tokens" if self.is_openai else "max_tokens"
        return {"extra_body": {length: max_tokens, **parameters}}

    def _place(self) -> asyncio.Semaphore:
        """The cap of the running loop; a semaphore cannot serve two loops, and ``run`` makes one each time."""
        return self._places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.settings.concurrency))

    async def _wait_for_turn(self) -> None:
        if self._limiter is not None:
            await self._limiter.aacquire()

    @cached_property
    def _llm(self) -> "ChatOpenAI":
        from langchain_openai import ChatOpenAI

        from .transport import http_client, time_limits

        settings = self.settings
        return ChatOpenAI(
            model=settings.model,
            # Both are always given: what OPENAI_BASE_URL and OPENAI_API_KEY hold is for the settings
            # to read, and a key of one server must not go to another.
            base_url=settings.base_url or f"https://{OPENAI}/v1",
            api_key=settings.api_key or _NO_KEY,  # pyright: ignore[reportArgumentType]
            openai_proxy="",
            timeout=time_limits(settings.timeout),
            max_retries=settings.transport_retries,
            http_async_client=http_client(settings.timeout),
            use_responses_api=False,
            disable_streaming=True,
            cache=False,
        )

    def _read(self, message: "AIMessage", seconds: float) -> Answered:
        about: dict[str, Any] = message.response_metadata
        usage: Mapping[str, Any] = message.usage_metadata or {}
        logprobs: Mapping[str, Any] = about.get("logprobs") or {}
        return Answered(
            text=self.settings.clean(str(message.text)),
            finish=str(about.get("finish_reason") or ""),
            refusal=self.settings.clean(str(message.additional_kwargs.get("refusal") or "")),
            logprobs=list(logprobs.get("content") or ()),
            prompt_tokens=max(0, int(usage.get("input_tokens") or 0)),
            reply_tokens=max(0, int(usage.get("output_tokens") or 0)),
            seconds=seconds,
        )


def _sdk_errors() -> tuple[type[Exception], ...]:
    """The SDK's own, and what langchain-openai lets through over a reply of another shape than the protocol's."""
    import openai

    return openai.OpenAIError, ValueError, KeyError, TypeError, IndexError, AttributeError
