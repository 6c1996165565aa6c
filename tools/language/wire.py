"""One OpenAI-compatible server, reached through the openai SDK: retries, limits, proxies, and the body of each reply.

It knows nothing of questions and answers; chat models and images endpoints both use it.
"""

import asyncio
import importlib
import ipaddress
import json
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from ..errors import ModelError
from .failures import DOCTOR, Declined, NoAnswer, Service, complaint_of, error_status, failure_of, one_line
from .settings import OPENAI, ChatSettings

if TYPE_CHECKING:
    import openai

_CONNECT = 10
"""Seconds within which a server that is there takes a connection."""
_LONGEST_POLL = 0.1
"""Seconds between two looks at the rate limiter."""

_UNSENDABLE = "the API key or a header holds characters that HTTP does not allow: was it copied whole and alone?"


class Limiter(Protocol):
    """Makes callers wait, as the rate limiters of LangChain do."""

    async def aacquire(self) -> object:
        """Return when the caller may go."""
        ...


def own_limiter(settings: ChatSettings) -> Limiter | None:
    """A limiter for this process alone; None where no rate is set."""
    if settings.requests_per_minute is None:
        return None
    from langchain_core.rate_limiters import InMemoryRateLimiter

    rate = settings.requests_per_minute / 60
    limiter = InMemoryRateLimiter(
        requests_per_second=rate, check_every_n_seconds=min(_LONGEST_POLL, 0.25 / rate), max_bucket_size=1
    )
    limiter.available_tokens = 1  # The first call need not wait.
    return limiter


LimiterOf = Callable[[ChatSettings], Limiter | None]
_LIMITER_OF: ContextVar[LimiterOf] = ContextVar("limiter_of", default=own_limiter)


@contextmanager
def limited_by(choose: LimiterOf) -> Generator[None]:
    """Servers that are made inside take their limiters from ``choose``, such as one that processes share."""
    token = _LIMITER_OF.set(choose)
    try:
        yield
    finally:
        _LIMITER_OF.reset(token)


class Server:
    """Sends requests; holds the rate limit and the cap on calls in flight.

    Raises:
        ModelError: OpenAI's own server is to be used and no key is there, or a proxy cannot be used.
    """

    def __init__(self, settings: ChatSettings, service: Service) -> None:
        self.is_openai = settings.host == OPENAI
        """Whether it is OpenAI's own server, which takes fewer keywords in schemas."""
        if self.is_openai and settings.api_key is None:
            raise ModelError(
                f"there is no key for {settings.model} at {OPENAI}: set OPENAI_API_KEY,"
                f" or name a server of your own with {service.url_option} and {service.model_option}"
            )
        self.settings, self.service = settings, service
        self._limiter = _LIMITER_OF.get()(settings)
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
        self._reached = False

    async def post(self, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """The JSON that the server replies, the parts of a stream joined, and the seconds that it took.

        These are of wall time, with the retries of the transport and without the wait for a free place.

        Raises:
            ModelError: the server cannot be used, by anyone or with these settings.
            Declined: the server does not take the request as it is put.
            NoAnswer: nothing came, also after the transport's retries.
        """
        # A semaphore cannot serve two event loops, and ``run`` makes one each time.
        places = self._places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.settings.concurrency))
        async with places:
            if self._limiter is not None:
                await self._limiter.aacquire()
            client, began = self._client, time.perf_counter()
            try:
                how: Any = {"cast_to": http_library().Response, "options": {"headers": self._headers}}
                response = await client.post(self.service.path, body=body, **how)
                replied = self._read(response)
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

    async def fetch(self, url: str) -> bytes:
        """A file that a reply refers to; the key is not sent there. ``NoAnswer`` if it cannot be had."""
        http = http_library()
        try:
            async with _http_client(url, self.settings.timeout, "the URL") as client:
                fetched = await client.get(url)
        except (http.HTTPError, http.InvalidURL, ValueError, ModelError, _sdk().OpenAIError) as error:
            raise NoAnswer(f"the picture's URL cannot be fetched ({type(error).__name__})") from None
        if not fetched.is_success:
            raise NoAnswer(f"the picture's URL answered {fetched.status_code}")
        return fetched.content

    @property
    def _headers(self) -> dict[str, Any]:
        headers = {name: value.get_secret_value() for name, value in self.settings.headers.items()}
        # Where a header holds the key, an empty one beside it would be refused.
        no_key = {"Authorization": _sdk().Omit()} if headers and self.settings.api_key is None else {}
        return no_key | headers

    @cached_property
    def _client(self) -> "openai.AsyncOpenAI":
        settings = self.settings
        return _sdk().AsyncOpenAI(
            # Both are always given: what OPENAI_BASE_URL and OPENAI_API_KEY hold is for the settings
            # to read, and a key of one server must not go to another.
            base_url=settings.url,
            api_key="none" if settings.api_key is None else settings.api_key.get_secret_value(),
            default_query={name: value.get_secret_value() for name, value in settings.query.items()},
            timeout=http_library().Timeout(settings.timeout, connect=min(_CONNECT, settings.timeout)),
            max_retries=settings.transport_retries,
            http_client=_http_client(settings.url, settings.timeout, self.service.url_option, self._judge),
        )

    def _judge(self, response: Any) -> None:
        """Give an error inside a successful response its status, and end retries where they cannot help.

        Both go to the SDK in the way that servers can speak to it.
        """
        with suppress(ValueError):
            status = error_status(_body(response)) if response.status_code < 400 else None
            response.status_code = status or response.status_code
        if response.status_code >= 400:
            failure = self._of_complaint(response)
            if not (isinstance(failure, NoAnswer) and failure.transient):
                response.headers["x-should-retry"] = "false"

    def _of_complaint(self, response: Any) -> ModelError | NoAnswer | Declined:
        complaint = complaint_of(response.status_code, response.text, self.settings)
        return failure_of(complaint, self.settings, self.service, reached=self._reached)

    def _read(self, response: Any) -> dict[str, Any]:
        try:
            body = _body(response)
        except ValueError:
            body = None
        if isinstance(body, dict):
            return cast("dict[str, Any]", body)
        settings, words = self.settings, one_line(self.settings.clean(response.text))
        if not self._reached and not urlsplit(settings.url).path.rstrip("/").endswith("/v1"):
            wrong = f"{settings.url} {self.service.lacking} (it answered {words or 'nothing'})"
            raise ModelError(f"{wrong}: {self.service.url_option} ends in /v1; {DOCTOR}")
        raise NoAnswer(f"the reply is {self.service.otherwise} ({words or 'empty'})", again=True)

    def _failure(self, error: Exception) -> ModelError | NoAnswer | Declined | None:
        """What to raise in place of an error of the SDK; None for an error that is not its own."""
        sdk, settings = _sdk(), self.settings
        match error:
            case ModelError() | NoAnswer() | Declined():
                return error
            case sdk.APITimeoutError():
                return NoAnswer(f"timed out after {settings.timeout:g} s")
            case sdk.APIConnectionError():
                words = one_line(settings.clean(str(error.__cause__ or error)))
                # A server of https answers http with what is no HTTP, or hangs up.
                plain = urlsplit(settings.url).scheme == "http" and not self._reached
                if plain and "illegal status line" in words:
                    url = self.service.url_option
                    return ModelError(f"{settings.host} does not speak http: begin {url} with https://")
                return NoAnswer(f"the connection was cut ({words}{'; does the server want https?' if plain else ''})")
            case sdk.APIStatusError():
                return self._of_complaint(error.response)
            case sdk.OpenAIError():
                return NoAnswer(f"the reply is {self.service.otherwise} ({one_line(settings.clean(str(error)))})")
            case UnicodeError():
                return ModelError(_UNSENDABLE)
            case _:
                return None


def http_library() -> Any:
    """httpx or httpx2: whichever the SDK's own client is made of."""
    return importlib.import_module(_sdk().DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for a URL; None for a direct way. NO_PROXY may hold networks (CIDR)."""
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
    url: str, seconds: float, url_option: str, judge: Callable[[Any], None] = lambda response: None
) -> Any:
    """An HTTP client for one server, whose calls take at most that long; ``judge`` sees each response.

    Connections are not kept for a later call: that call may come from another event loop, where
    they would fail, and a model's seconds hide the handshake.
    """
    sdk, http, proxy = _sdk(), http_library(), proxy_of(url)

    class Client(sdk.DefaultAsyncHttpxClient):
        reached = False

        async def send(self, request: Any, **options: Any) -> Any:
            try:
                async with asyncio.timeout(seconds):
                    response = await super().send(request, **options)
            except TimeoutError as error:
                raise http.ReadTimeout(f"no reply within {seconds:g} s", request=request) from error
            except (http.ConnectError, http.ConnectTimeout, http.ProxyError) as error:
                if self.reached:
                    raise
                # A wrong URL must not cost a minute of retries.
                raise _unreachable(url, url_option, proxy, error) from error
            except http.LocalProtocolError as error:
                raise ModelError(_UNSENDABLE) from error
            self.reached = True
            judge(response)
            return response

    limits = http.Limits(max_keepalive_connections=0)
    try:
        # The environment is not read by the client, which fails on proxies and networks that it does not know.
        return Client(limits=limits, proxy=proxy, trust_env=False, verify=http.create_ssl_context())
    except (ValueError, ImportError) as error:
        raise ModelError(
            f"the proxy {_without_password(proxy)} of the environment cannot be used ({one_line(str(error))}): name an"
            " HTTP proxy in HTTPS_PROXY or HTTP_PROXY, unset ALL_PROXY, or list the server in NO_PROXY"
        ) from None


def _unreachable(url: str, url_option: str, proxy: str | None, error: Exception) -> ModelError:
    host, words = urlsplit(url).netloc, one_line(str(error))
    lower = words.lower()
    if "certificate" in lower:
        return ModelError(
            f"the certificate of {host} cannot be verified ({words}): where your network has one of its own,"
            " set SSL_CERT_FILE to it"
        )
    if "ssl" in lower or "tls" in lower:
        return ModelError(f"{host} does not speak https ({words}): does its URL begin with http://?")
    if proxy is not None:
        through = f"{host} cannot be reached through the proxy {_without_password(proxy)} ({words or 'no reply'})"
        return ModelError(f"{through}: is the proxy right? NO_PROXY lists servers to reach without it; {DOCTOR}")
    return ModelError(f"{host} cannot be reached: is it running, and is {url_option} right? {DOCTOR}")


def _without_password(proxy: str | None) -> str:
    parts = urlsplit(proxy or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _body(response: Any) -> Any:
    """The JSON of a response, the parts of a stream joined; ``ValueError`` where there is none."""
    text: str = response.text
    streamed = "event-stream" in response.headers.get("content-type", "") or text.startswith("data:")
    try:
        return _joined(text) if streamed else json.loads(text)
    except (RecursionError, AttributeError, TypeError) as error:
        raise ValueError(f"this is no JSON of the protocol ({type(error).__name__})") from error


def _joined(stream: str) -> dict[str, Any]:
    """One body from the server-sent events of a chat completion; the error where one of them is."""
    body: dict[str, Any] = {}
    choice: dict[str, Any] = {"finish_reason": None}
    texts: dict[str, list[str]] = {}
    logprobs: list[Any] = []
    # Not splitlines, which would also split at characters that may stand in a JSON string.
    for data in (line[5:].strip() for line in stream.split("\n") if line.startswith("data:")):
        part: Any = {} if data in ("", "[DONE]") else json.loads(data)
        if not isinstance(part, dict) or part.get("error"):
            return cast("dict[str, Any]", part)
        body |= {name: value for name, value in cast("dict[str, Any]", part).items() if value is not None}
        for piece in list(cast("list[dict[str, Any]]", part.get("choices") or ()))[:1]:
            choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
            logprobs += (piece.get("logprobs") or {}).get("content") or []
            for name, value in (piece.get("delta") or {}).items():
                if isinstance(value, str):
                    texts.setdefault(name, []).append(value)
    message = {name: "".join(pieces) for name, pieces in texts.items()}
    return body | {"choices": [choice | {"message": message, "logprobs": {"content": logprobs}}]}


def _sdk() -> Any:
    """The SDK, loaded at its first use."""
    return importlib.import_module("openai")
