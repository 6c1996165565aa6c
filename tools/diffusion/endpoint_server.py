"""One images endpoint, reached through the openai SDK: what is sent, what comes back, and what a failure means."""

import asyncio
import base64
import io
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from PIL import Image
from pydantic import Field

from ...state import Exchange, Frozen
from ..errors import DetailScribeError, ModelError, ReplyError
from ..language.settings import ChatSettings

if TYPE_CHECKING:
    import openai

OPENAI = "api.openai.com"
_DOCTOR = "`detailscribe doctor` shows what is configured"
_LONGEST = 300
_NO_KEY = "none"


class EndpointSettings(Frozen):
    """One model behind ``POST /v1/images/generations``."""

    server: ChatSettings
    """Model, URL, key, time limit, retries and concurrency; what concerns chat alone has no effect."""
    size: str | None = Field(default="1024x1024", pattern=r"^(auto|\d+x\d+)$")
    """Width and height in pixels, or ``auto``; None leaves it to the server."""
    quality: str | None = None
    """Such as ``hd`` or ``high``; None leaves it to the server."""
    price: float = Field(default=0.0, ge=0)
    """In US dollars for one image; it depends on model, size and quality, and is the caller's to look up."""
    send_seed: bool = False
    """Whether the server takes a ``seed``, as vLLM-Omni does; OpenAI's own refuses it."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """More parameters of the request, such as ``num_inference_steps`` for vLLM-Omni."""


@dataclass(frozen=True)
class Drawn:
    """One picture as it came."""

    picture: Image.Image
    revised_prompt: str | None
    """What the server says it made of the prompt; None if it says nothing."""
    seconds: float
    """Wall time with the retries of the transport, without the wait for a free place."""


class EndpointServer:
    """Asks for pictures; holds the cap on calls in flight.

    Raises:
        ModelError: OpenAI's own server is to be used and no key is there.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        server = settings.server
        if server.host == OPENAI and server.api_key is None:
            raise ModelError(f"there is no key for {server.model} at {OPENAI}: set OPENAI_API_KEY, or name another URL")
        self.settings = settings
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def draw(self, prompt: str, seed: int) -> Drawn:
        """One picture of the prompt.

        Raises:
            ModelError: the server or the model cannot be used.
            ReplyError: no picture came, also after the transport's retries.
        """
        import openai

        async with self._place():
            began = perf_counter()
            try:
                reply: Any = await self._client.images.generate(prompt=prompt, **self._wire(seed))
                data, revised = await self._picture_in(reply)
                picture = await asyncio.to_thread(_decode, data)
            except Unusable as error:
                raise self._no_picture(prompt, str(error), perf_counter() - began) from None
            except (openai.OpenAIError, *_SHAPE) as error:
                # The cause is cut off: a server may echo the key in its words, and tracebacks are kept.
                raise self._failure(error, prompt, perf_counter() - began) from None
            return Drawn(picture, revised, perf_counter() - began)

    def _place(self) -> asyncio.Semaphore:
        """The cap of the running loop; a semaphore cannot serve two loops."""
        return self._places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.settings.server.concurrency))

    def _wire(self, seed: int) -> dict[str, Any]:
        settings = self.settings
        asked = {"model": settings.server.model, "n": 1, "size": settings.size, "quality": settings.quality}
        extra = ({"seed": seed} if settings.send_seed else {}) | settings.extra
        return {name: value for name, value in asked.items() if value is not None} | {"extra_body": extra}

    async def _picture_in(self, reply: Any) -> tuple[bytes, str | None]:
        """The first picture's file and the prompt as the server revised it."""
        [first, *_] = reply.data or [None]
        if first is None:
            raise Unusable("the reply holds no picture")
        revised = first.revised_prompt and self.settings.server.clean(first.revised_prompt)
        if first.b64_json:
            return base64.b64decode(first.b64_json, validate=True), revised
        if not str(first.url or "").startswith(("https://", "http://")):
            raise Unusable("the reply holds neither a picture nor its URL")
        return await self._fetch(first.url), revised

    async def _fetch(self, url: str) -> bytes:
        """The file at the URL of a reply; the key is not sent there."""
        from ..language.transport import library

        http = library()
        try:
            fetched = await self._http.get(url)
        except (http.HTTPError, http.InvalidURL) as error:
            raise Unusable(f"the picture's URL cannot be fetched ({type(error).__name__})") from None
        if not fetched.is_success:
            raise Unusable(f"the picture's URL answered {fetched.status_code}")
        return fetched.content

    def _failure(self, error: Exception, prompt: str, seconds: float) -> DetailScribeError:
        import openai

        from ..language.transport import UnreachableError

        server = self.settings.server
        words = _one_line(server.clean(str(error)))
        match error:
            case UnreachableError():
                return ModelError(f"{server.host} cannot be reached: is it running, and is the URL right? {_DOCTOR}")
            case openai.APITimeoutError():
                return self._no_picture(prompt, f"timed out after {server.timeout:g} s", seconds)
            case openai.APIConnectionError():
                return self._no_picture(prompt, f"the connection was cut ({words})", seconds)
            case openai.APIStatusError() if (refused := _of_status(error.status_code, words, server)) is not None:
                return refused
            case openai.APIStatusError():
                return self._no_picture(prompt, f"the server answered {error.status_code} ({words})", seconds)
            case _:
                return self._no_picture(prompt, f"the reply is none of an images endpoint ({words})", seconds)

    def _no_picture(self, prompt: str, reason: str, seconds: float) -> ReplyError:
        server = self.settings.server
        asked = Exchange(model=server.name, prompt=server.clean(prompt), reply="", seconds=seconds)
        return ReplyError(f"{server.name} drew no picture: {reason}", reason=reason, raw="", exchanges=(asked,))

    @cached_property
    def _http(self) -> "openai.DefaultAsyncHttpxClient":
        from ..language.transport import http_client

        return http_client(self.settings.server.timeout)

    @cached_property
    def _client(self) -> "openai.AsyncOpenAI":
        import openai

        from ..language.transport import time_limits

        server = self.settings.server
        return openai.AsyncOpenAI(
            # Always given: a key of one server must not go to another.
            base_url=server.base_url or f"https://{OPENAI}/v1",
            api_key=_NO_KEY if server.api_key is None else server.api_key.get_secret_value(),
            max_retries=server.transport_retries,
            timeout=time_limits(server.timeout),
            http_client=self._http,
        )


class Unusable(Exception):
    """The server answered, and there is no picture in it; the reason is its text."""


_SHAPE = (ValueError, KeyError, TypeError, AttributeError)
"""What the SDK lets through over a reply of another shape than the protocol's."""


def _of_status(status: int, words: str, server: ChatSettings) -> ModelError | None:
    """What is the user's to mend; None for what may go well another time or with another prompt."""
    if status in (401, 403):
        return ModelError(f"{server.host} refuses the key ({status}: {words}): set one that it takes; {_DOCTOR}")
    if status in (404, 405) and "model" in words.lower():
        return ModelError(f"{server.host} has no model {server.model!r} ({words}): name one it has; {_DOCTOR}")
    if status in (404, 405):
        return ModelError(
            f"{server.base_url or server.host} draws no images ({status}): the URL ends in /v1; {_DOCTOR}"
        )
    if status == 402 or "insufficient_quota" in words or "billing" in words:
        return ModelError(f"{server.host} wants to be paid first ({words}): see to your account there")
    if status in (400, 413, 415, 422) and not any(
        word in words for word in ("policy", "safety", "moderation", "filter")
    ):
        return ModelError(f"{server.host} takes no such request ({words}): change size, quality or extra parameters")
    return None


def _decode(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise Unusable(f"what came is no picture ({_one_line(str(error))})") from None


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
