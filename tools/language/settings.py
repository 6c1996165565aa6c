"""How a chat model is reached, and how hard it is tried."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator

from ...state import Frozen, Words

_SHORTEST_SECRET = 8
"""Characters; local servers are given stand-ins such as ``none``, which hide nothing and stand in other words."""


class ChatSettings(Frozen):
    """One chat model on one OpenAI-compatible server."""

    # An URL with a password in it must not be shown by the error that refuses it.
    model_config = ConfigDict(hide_input_in_errors=True)

    model: Words
    """As the server names it."""
    base_url: str | None = None
    """Up to and with ``/v1``; None for OpenAI's own."""
    api_key: SecretStr | None = None
    """None where the server wants none. No environment variable stands in for it here; what ``OPENAI_API_KEY``
    holds is taken by the settings of a run (``agent.settings``), and for the server of ``chat`` alone."""
    temperature: float = Field(default=0, ge=0, le=2)
    max_tokens: int = Field(default=4096, ge=1)
    """Of one reply; a longer one is unusable, and asked again."""
    timeout: float = Field(default=120, gt=0)
    """Seconds for one call."""
    transport_retries: int = Field(default=4, ge=0)
    """Of one call after 429 (honouring Retry-After), 5xx, time-outs and cut connections."""
    attempts: int = Field(default=3, ge=1)
    """Times that a question is asked in all when its answers are unusable; each time with the reason."""
    concurrency: int = Field(default=8, ge=1)
    """Calls in flight at once."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """None is no bound."""
    input_price: float | None = Field(default=None, ge=0)
    """In US dollars per million prompt tokens; None for the price list's."""
    output_price: float | None = Field(default=None, ge=0)
    """In US dollars per million reply tokens; None for the price list's."""
    cache: Path | None = None
    """Folder of the disk cache of answers; None for no cache."""

    @property
    def host(self) -> str:
        """Host and port of the server, without scheme, path or user info."""
        if self.base_url is None:
            return "api.openai.com"
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    @property
    def name(self) -> str:
        """Model and server, as traces show them."""
        return f"{self.model}@{self.host}"

    def clean(self, text: str) -> str:
        """Text from a server without the key that it may echo, unless that is a mere stand-in, as valid Unicode."""
        key = "" if self.api_key is None else self.api_key.get_secret_value()
        text = text.encode("utf-8", "replace").decode()
        return text.replace(key, "***") if len(key) >= _SHORTEST_SECRET else text

    @field_validator("base_url")
    @classmethod
    def _is_a_plain_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a server's URL looks like http://localhost:8000/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("a server's URL holds no key and no password; give it as the API key")
        return url
