"""The client of one OpenAI-compatible server: rate limit, retries, proxies, and errors by their cause.

Chat goes through LangChain's ``ChatOpenAI``, so that callbacks and tracers see each call, and images through the SDK
below it. Both share one HTTP client, which checks every response before the SDK does.
"""

import asyncio
import importlib
import ipaddress
import json
import time
import urllib.request
import zlib
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from ..errors import ModelError
from ..text import brief
from .failures import DOCTOR, Complaint, Declined, NoAnswer, Service, complaint_of, error_status, failure_of
from .settings import OPENAI, ChatSettings
from .structured import is_deep

if TYPE_CHECKING:
    import openai
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage

T = TypeVar("T")

_CONNECT = 10
"""Seconds to connect."""
_REDIRECTS = 3
"""Redirects of one request that are followed at most."""
_UNSENDABLE = "the API key or a header holds characters that HTTP does not allow: was it copied whole and alone?"


def _own_limiter(settings: ChatSettings) -> Any:
    """A limiter for this process alone; None where no rate is set."""
    if settings.requests_per_minute is None:
        return None
    from langchain_core.rate_limiters import InMemoryRateLimiter

    rate = settings.requests_per_minute / 60
    poll = min(0.1, 0.25 / rate)
    limiter = InMemoryRateLimiter(requests_per_second=rate, check_every_n_seconds=poll, max_bucket_size=1)
    limiter.available_tokens = 1  # The first call need not wait.
    return limiter


_LIMITER_OF: ContextVar[Callable[[ChatSettings], Any]] = ContextVar("limiter_of", default=_own_limiter)


@contextmanager
def limited_by(choose: Callable[[ChatSettings], Any]) -> Generator[None]:
    """Servers made inside use the limiter that ``choose`` returns, if any, such as one shared by all processes."""
    token = _LIMITER_OF.set(choose)
    try:
        yield
    finally:
        _LIMITER_OF.reset(token)


class Server:
    """Sends requests within the rate limit and the limit of calls in flight. ``ModelError`` without a key for OpenAI's
    own."""

    def __init__(self, settings: ChatSettings, service: Service) -> None:
        self.is_openai = settings.host == OPENAI
        if self.is_openai and settings.api_key is None:
            raise ModelError(
                f"there is no key for {settings.model} at {OPENAI}: set OPENAI_API_KEY,"
                f" or name a server of your own with {service.url_option} and {service.model_option}"
            )
        self.settings, self.service = settings, service
        self._limiter = _LIMITER_OF.get()(settings)
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
        self._reached = False

    async def chat(
        self, name: str, messages: "list[BaseMessage]", parameters: dict[str, Any]
    ) -> "tuple[AIMessage, float]":
        """The reply, from a LangChain run called ``name``, and its seconds; raises as ``post`` does."""
        # Explicit, since a tracer that is attached would have it streamed.
        how: Any = {"stream": False} | parameters
        return await self._timed(lambda: self._llm.ainvoke(messages, {"run_name": name}, **how))

    async def post(
        self, body: dict[str, Any], files: Mapping[str, tuple[str, bytes, str]] | None = None
    ) -> tuple[dict[str, Any], float]:
        """The JSON reply, and the seconds with retries but without the wait for a free place. With ``files``, each with
        its name, contents and type, the request is a form.

        Raises:
            ModelError: the server cannot be used, by anyone or with these settings.
            Declined: the server does not take the request in this form.
            NoAnswer: no usable reply came, also after retries.
        """
        how: Any = {"cast_to": http_library().Response}
        if files is not None:
            how |= {"files": files, "options": {"headers": {"Content-Type": "multipart/form-data"}}}
        response, seconds = await self._timed(lambda: self._client.post(self.service.path, body=body, **how))
        return _values(response.text)[0], seconds

    async def fetch(self, url: str, hosts: Collection[str]) -> bytes:
        """A file that a reply refers to, fetched without the key; ``NoAnswer`` if it cannot be had. It must lie on this
        server or on one of ``hosts`` (``host`` or ``host:port``): another may be one that only this machine can reach.
        """
        http = http_library()
        try:
            place = http.URL(url).netloc.decode("ascii")
            if place not in (http.URL(self.settings.url).netloc.decode("ascii"), *hosts):
                raise NoAnswer(f"the picture lies on another server, {place}: allow it with images.picture_hosts")
            async with _http_client(url, self.settings.timeout, "the URL", self.service.most_bytes) as client:
                fetched = await client.get(url)
        except (http.HTTPError, http.InvalidURL, ValueError, ModelError, _sdk().OpenAIError) as error:
            raise NoAnswer(f"the picture's URL cannot be fetched ({type(error).__name__})") from None
        if not fetched.is_success:
            raise NoAnswer(f"the picture's URL answered {fetched.status_code}")
        return fetched.content

    async def _timed(self, call: Callable[[], Awaitable[T]]) -> tuple[T, float]:
        # A semaphore cannot serve two event loops, and ``run`` makes one each time.
        places = self._places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.settings.concurrency))
        async with places:
            if self._limiter is not None:
                await self._limiter.aacquire()
            began = time.perf_counter()
            try:
                replied = await call()
            except Exception as error:
                failure = self._failure(error)
                if failure is None:
                    raise
                if isinstance(failure, NoAnswer | Declined):
                    failure.seconds = time.perf_counter() - began
                # The cause is cut off: a server may repeat the key in its words, and tracebacks are kept.
                raise failure from None
            self._reached = True
            return replied, time.perf_counter() - began

    @cached_property
    def _client(self) -> "openai.AsyncOpenAI":
        settings = self.settings
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        limits = (settings.timeout, self.service.url_option, self.service.most_bytes)
        http_client = _http_client(settings.url, *limits, self._check)
        if headers and settings.api_key is None and "authorization" not in map(str.lower, headers):

            async def without_key(request: Any) -> None:
                # Where another header holds the key, a wrong one beside it would be refused.
                del request.headers["authorization"]

            http_client.event_hooks = {"request": [without_key]}
        return _sdk().AsyncOpenAI(
            # Both are always given: what OPENAI_BASE_URL and OPENAI_API_KEY hold is for the settings
            # to read, and a key of one server must not go to another.
            base_url=settings.url,
            api_key="none" if settings.api_key is None else settings.api_key.get_secret_value(),
            default_headers=headers,
            default_query={name: value.get_secret_value() for name, value in settings.query.items()},
            timeout=http_library().Timeout(settings.timeout, connect=min(_CONNECT, settings.timeout)),
            max_retries=settings.transport_retries,
            http_client=http_client,
        )

    @cached_property
    def _llm(self) -> "BaseChatModel":
        if self.settings.is_local:
            from .local import LocalChat

            return LocalChat(settings=self.settings, cache=False)
        from .chat_openai import AnyChatOpenAI

        sdk: Any = self._client
        # The client alone holds key, headers and URL: what tracers are given of the model holds no secret.
        clients = {"client": sdk.chat.completions, "async_client": sdk.chat.completions, "root_async_client": sdk}
        without: Any = {"api_key": "none", "openai_proxy": "", "http_socket_options": (), "cache": False}
        return AnyChatOpenAI(model=self.settings.model, use_responses_api=False, **clients, **without)

    def _check(self, response: Any, is_stream: bool) -> None:
        """Raise what is wrong with a response. What the SDK should retry only gets the status for that, also where the
        error is inside a successful response."""
        settings = self.settings
        try:
            values = _values(response.text)
        except ValueError:
            values = []
        if response.status_code < 400:
            response.status_code = next(filter(None, map(error_status, values)), response.status_code)
        if response.status_code >= 400:
            failure = self._of_complaint(response)
            if not (isinstance(failure, NoAnswer) and failure.transient):
                raise failure
        elif not (values and isinstance(values[0], dict)):
            words = brief(settings.clean(response.text))
            if not self._reached and not urlsplit(settings.url).path.rstrip("/").endswith("/v1"):
                raise self.service.no_such_path(settings.url, f"it answered {words or 'nothing'}")
            raise NoAnswer(f"the reply is {self.service.otherwise} ({words or 'empty'})", again=True)
        elif not is_stream:
            if response.text.startswith("data:"):
                words = "the server replies in a stream only"
                raise Declined(Complaint(response.status_code, words, words))
            response.headers["content-type"] = "application/json"  # The SDK reads no other.

    def _of_complaint(self, response: Any) -> ModelError | NoAnswer | Declined:
        complaint = complaint_of(response.status_code, response.text, self.settings)
        return failure_of(complaint, self.settings, self.service, reached=self._reached)

    def _failure(self, error: Exception) -> ModelError | NoAnswer | Declined | None:
        """What to raise in place of an error of the SDK or of LangChain; None for any other."""
        sdk, settings = _sdk(), self.settings
        match error:
            case ModelError() | NoAnswer() | Declined():
                return error
            case sdk.APITimeoutError():
                return NoAnswer(f"timed out after {settings.timeout:g} s", transient=True)
            case sdk.APIConnectionError():
                cause: BaseException = error
                while isinstance(cause, sdk.APIConnectionError) and cause.__cause__:  # LangChain wraps the SDK's.
                    cause = cause.__cause__
                words = brief(settings.clean(str(cause)))
                # A server of https answers http with what is no HTTP, or hangs up.
                plain = urlsplit(settings.url).scheme == "http" and not self._reached
                if plain and "illegal status line" in words:
                    begin = f"begin {self.service.url_option} with https://"
                    return ModelError(f"{settings.host} does not speak http: {begin}")
                words += "; does the server want https?" if plain else ""
                return NoAnswer(f"the connection was cut ({words})", transient=True)
            case sdk.APIStatusError():
                return self._of_complaint(error.response)
            case UnicodeEncodeError():
                return ModelError(_UNSENDABLE)
            case sdk.OpenAIError() | ValueError():
                words = brief(settings.clean(f"{type(error).__name__}: {error}"))
                return NoAnswer(f"the reply is {self.service.otherwise} ({words})", again=True)
            case _:
                return None


def http_library() -> Any:
    """httpx or httpx2: whichever the SDK's own client is made of."""
    return importlib.import_module(_sdk().DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])


def proxy_of(url: str) -> str | None:
    """The proxy that the environment sets for a URL, if any; NO_PROXY may hold networks (CIDR)."""
    parts = urlsplit(url)
    host, proxies = parts.hostname or "", urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(host):
        return None
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        for entry in proxies.get("no", "").split(","):
            with suppress(ValueError):
                if address in ipaddress.ip_network(entry.strip().strip("[]"), strict=False):
                    return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _http_client(
    url: str, seconds: float, url_option: str, most_bytes: int, check: Callable[[Any, bool], None] | None = None
) -> Any:
    """An HTTP client for one server, with a timeout of ``seconds`` and a limit on the size of replies; it follows no
    redirect to another server, and calls ``check`` on each response.

    Connections are not kept: the next call may come from another event loop, where they would fail.
    """
    sdk, http, proxy = _sdk(), http_library(), proxy_of(url)

    class Client(sdk.DefaultAsyncHttpxClient):
        reached = False

        async def send(self, request: Any, **options: Any) -> Any:
            is_stream = bool(options.get("stream"))
            options |= {"stream": True, "follow_redirects": False}
            try:
                async with asyncio.timeout(seconds):
                    response = await _whole(await super().send(request, **options), most_bytes)
                    for _ in range(_REDIRECTS):
                        if response.next_request is None:
                            break
                        _stay(response, url_option, self.reached)
                        response = await _whole(await super().send(response.next_request, **options), most_bytes)
            except TimeoutError as error:
                again = self.reached and request.headers.get("x-stainless-retry-count", "0") == "0"
                if not again:  # The SDK would retry a server that hangs for ten minutes.
                    raise sdk.APITimeoutError(request=request) from error
                raise http.ReadTimeout(f"no reply within {seconds:g} s", request=request) from error
            except (http.ConnectError, http.ConnectTimeout, http.ProxyError) as error:
                if self.reached:
                    raise
                # The SDK would retry a wrong URL for a minute.
                raise _unreachable(url, url_option, proxy, error) from error
            except http.LocalProtocolError as error:
                raise ModelError(_UNSENDABLE) from error
            self.reached = True
            if check is not None:
                check(response, is_stream)
            return response

    limits = http.Limits(max_keepalive_connections=0)
    try:
        # The client itself fails on proxies and networks in the environment that it does not know.
        ways = {"limits": limits, "proxy": proxy, "trust_env": False, "verify": http.create_ssl_context()}
        return Client(headers={"accept-encoding": "gzip, deflate"}, **ways)
    except (ValueError, ImportError) as error:
        raise ModelError(
            f"the proxy {_without_password(proxy)} of the environment cannot be used ({brief(str(error))}): name an"
            " HTTP proxy in HTTPS_PROXY or HTTP_PROXY, unset ALL_PROXY, or list the server in NO_PROXY"
        ) from None


async def _whole(response: Any, most_bytes: int) -> Any:
    """The response with its whole body, decompressed here, since libraries do that without a limit. Text is read as
    UTF-8: a ``charset`` may name any decoder of Python's."""
    http, body, large = http_library(), bytearray(), NoAnswer(f"the reply is larger than {most_bytes >> 20} MiB")
    try:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > most_bytes:
                raise large
    finally:
        await response.aclose()
    packing = response.headers.get("content-encoding", "").strip().lower()
    if packing in ("gzip", "x-gzip", "deflate"):
        # Servers send deflate with and without the header of zlib.
        bare = packing == "deflate" and (body[:1] or b"x")[0] & 15 != 8
        unpacking = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
        try:
            body = unpacking.decompress(body, most_bytes + 1)
        except zlib.error as error:
            raise http.DecodingError(str(error), request=response.request) from error
        if len(body) > most_bytes:
            raise large
    elif packing not in ("", "identity"):
        raise NoAnswer(f"the reply is packed in a way that was not asked for, {brief(packing)}")
    headers = response.headers.copy()
    headers["content-type"] = headers.get("content-type", "").partition(";")[0]
    for name in {"content-encoding", "content-length", "transfer-encoding"} & headers.keys():
        del headers[name]
    whole = http.Response(response.status_code, headers=headers, content=bytes(body), request=response.request)
    whole.next_request = response.next_request
    return whole


def _stay(response: Any, url_option: str, reached: bool) -> None:
    """Refuses a redirect to another server, which would get the question, and maybe a key."""
    here, there = response.request.url, response.next_request.url
    if (here.host, here.port) == (there.host, there.port) and there.scheme in (here.scheme, "https"):
        return
    words = f"{here.host} sends the call on to another server, {brief(str(there.netloc, 'ascii'))}"
    raise NoAnswer(words) if reached else ModelError(f"{words}: name that in {url_option} if it is yours; {DOCTOR}")


def _unreachable(url: str, url_option: str, proxy: str | None, error: Exception) -> ModelError:
    host, words = urlsplit(url).netloc, brief(str(error))
    lower = words.lower()
    if "certificate" in lower:
        wrong = f"the certificate of {host} cannot be verified ({words})"
        return ModelError(f"{wrong}: where your network has one of its own, set SSL_CERT_FILE to it")
    if "ssl" in lower or "tls" in lower:
        return ModelError(f"{host} does not speak https ({words}): does its URL begin with http://?")
    if proxy is not None:
        through = f"{host} cannot be reached through the proxy {_without_password(proxy)} ({words or 'no reply'})"
        return ModelError(f"{through}: is the proxy right? NO_PROXY lists servers to reach without it; {DOCTOR}")
    return ModelError(f"{host} cannot be reached: is it running, and is {url_option} right? {DOCTOR}")


def _without_password(proxy: str | None) -> str:
    parts = urlsplit(proxy or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _values(text: str) -> list[Any]:
    """The JSON of a response: one value, or those of a stream of events; ``ValueError`` where there is none."""
    events = [text]
    if text.startswith("data:"):
        # Not splitlines, which would also split at characters that may stand in a JSON string.
        events = [line[5:].strip() for line in text.split("\n") if line.startswith("data:")]
    with suppress(RecursionError):
        values = [json.loads(event) for event in events if event not in ("", "[DONE]")]
        if not is_deep(values):
            return values
    raise ValueError("the JSON is nested too deeply")


def _sdk() -> Any:
    return importlib.import_module("openai")
