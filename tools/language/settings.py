"""The settings of chat models and images endpoints."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from ...state import Frozen, Words

OPENAI = "api.openai.com"
"""The host of OpenAI's own server."""
IN_PROCESS = "local"
"""In place of a URL: the model runs in this process."""
_SHORTEST_SECRET = 8
"""Characters; shorter keys are placeholders such as ``none``, which also occur in other words."""


def _plain_url(url: str) -> str:
    """Refuses a URL that could hold a secret, since URLs are stored; messages do not repeat it."""
    if url == IN_PROCESS:
        return url
    try:
        parts = urlsplit(url)
        is_http = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_http, parts = False, urlsplit("")
    if not (is_http and url.isprintable() and " " not in url):
        raise ValueError("this is no URL of a server; it should read like http://localhost:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("a URL is stored with the run, so it may hold no user, password or query; set the key instead")
    return url


ServerUrl = Annotated[str, AfterValidator(_plain_url)]
"""With scheme and host, up to and with ``/v1``; no user, password or query. Or ``local``, for a chat model in this
process."""


class ChatOptions(Frozen):
    """The options of a chat model, whichever model and server they are for."""

    # A value that is refused may be a secret.
    model_config = ConfigDict(hide_input_in_errors=True)

    temperature: float = Field(default=0, ge=0, le=2)
    """Sampling temperature, 0 to 2."""
    max_tokens: int = Field(default=4096, ge=1)
    """Tokens of one reply at most; a reply that is cut there is not used, and asked for again."""
    timeout: float = Field(default=120, gt=0)
    """Seconds for one call."""
    transport_retries: int = Field(default=4, ge=0)
    """Retries of one call after 429 (honouring Retry-After), 5xx and cut connections; after a time-out it is made once
    more, of a server that has answered before."""
    attempts: int = Field(default=3, ge=1)
    """How often a question is asked at most while its answers cannot be used; each time with the reason."""
    concurrency: int = Field(default=8, ge=1)
    """Calls in flight at once."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Rate limit; None for no limit."""
    input_price: float | None = Field(default=None, ge=0)
    """In US dollars per million prompt tokens; None takes the price from the genai-prices package."""
    output_price: float | None = Field(default=None, ge=0)
    """In US dollars per million reply tokens; None takes the price from the genai-prices package."""
    picture_side: int = Field(default=1024, ge=64)
    """Pixels of the longest side of a picture that is sent; larger pictures are scaled down, none is enlarged."""
    picture_quality: int = Field(default=90, ge=1, le=100)
    """JPEG quality of a picture that is sent, 1 to 100; a small one (a PNG of at most 64 KiB) is sent as PNG."""
    headers: dict[str, SecretStr] = Field(default_factory=dict, exclude=True)
    """HTTP headers to add to each request, such as ``api-key`` for Azure; never stored or printed."""
    query: dict[str, SecretStr] = Field(default_factory=dict, exclude=True)
    """Query parameters to add to each URL, such as ``api-version`` for Azure; never stored or printed."""
    body: dict[str, Any] = Field(default_factory=dict)
    """Fields to add to the JSON body of each chat request, such as ``reasoning_effort``; they override ours. Of a model
    in this process: arguments of its ``generate``."""
    device: str | None = None
    """Of a model in this process, as torch names it; None for the GPU if there is one."""
    precision: Literal["bf16", "fp16", "fp32", "nf4"] | None = None
    """Of a model in this process; nf4: in four bits. None: bf16 on a GPU, fp32 on a CPU."""


class ImageOptions(Frozen):
    """The options of an images endpoint, whichever model and server they are for."""

    size: str | None = Field(default="1024x1024", pattern=r"^(auto|\d+x\d+)$")
    """Width and height in pixels, or ``auto``; None leaves it to the server."""
    quality: str | None = None
    """Such as ``hd`` or ``high``; None leaves it to the server."""
    price: float = Field(default=0, ge=0)
    """In US dollars for one image; it depends on model, size and quality, and is the caller's to look up."""
    send_seed: bool = False
    """Whether the server takes a ``seed``, as vLLM-Omni does; OpenAI's own refuses it."""
    mask: bool = False
    """Whether the server takes a ``mask`` beside a picture to edit, which it does not change elsewhere; sent where an
    attempt has a region."""
    picture_hosts: tuple[str, ...] = ()
    """Servers, each ``host`` or ``host:port``, from which a picture may be fetched where a reply names its URL, beside
    the endpoint itself."""


class ChatSettings(ChatOptions):
    """One chat model on one OpenAI-compatible server."""

    model: Words
    """As the server names it; in this process, a folder or a hub id."""
    base_url: ServerUrl | None = None
    """None for OpenAI's own."""
    api_key: SecretStr | None = None
    """None where the server needs none. It is never read from the environment here; the settings of a run
    (``agent.settings``) read ``OPENAI_API_KEY``, for the server of ``chat`` alone."""
    cache: Path | None = None
    """Folder of the disk cache of answers; None for no cache."""

    @property
    def url(self) -> str:
        """The base URL, OpenAI's own where none is set."""
        return self.base_url or f"https://{OPENAI}/v1"

    @property
    def is_local(self) -> bool:
        return self.base_url == IN_PROCESS

    @property
    def host(self) -> str:
        """Host and port of the server, without scheme, path or user info; ``local`` where there is none."""
        return IN_PROCESS if self.is_local else urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def name(self) -> str:
        return f"{self.model}@{self.host}"

    def clean(self, text: str) -> str:
        """Text from a server as valid Unicode, with the secrets of these settings replaced."""
        text = text.encode("utf-8", "replace").decode()
        for secret in (self.api_key, *self.headers.values(), *self.query.values()):
            value = "" if secret is None else secret.get_secret_value()
            text = text.replace(value, "***") if len(value) >= _SHORTEST_SECRET else text
        return text


def cost_of(settings: ChatSettings, prompt_tokens: int, reply_tokens: int) -> float:
    """The cost of one call in US dollars: at the configured prices, else at those of genai-prices, else nothing. The
    package is used offline: its prices, of hosted models alone, are as old as the installed version."""
    money, prices = 0.0, (settings.input_price, settings.output_price)
    if None in prices and not settings.is_local:
        from genai_prices import Usage, calc_price

        usage = Usage(input_tokens=prompt_tokens, output_tokens=reply_tokens)
        with suppress(LookupError):
            listed = calc_price(usage, settings.model, provider_api_url=settings.url)
            money += float(listed.input_price) if settings.input_price is None else 0.0
            money += float(listed.output_price) if settings.output_price is None else 0.0
    return money + (prompt_tokens * (settings.input_price or 0) + reply_tokens * (settings.output_price or 0)) / 1e6
