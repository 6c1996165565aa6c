"""What a failed call means: the user's to mend, another way of asking, or no answer this time."""

import re

from ..errors import ModelError
from .settings import ChatSettings

_LONGEST = 300
_DOCTOR = "`detailscribe doctor` shows what is configured"
_PICTURES = re.compile(r"image|picture|vision|multi-?modal|mmproj", re.IGNORECASE)
_FORMAT = re.compile(r"response_format|schema|json|grammar|guided|structured", re.IGNORECASE)
_TOO_LONG = re.compile(r"context.{0,20}(length|window|size)|too long|too many tokens", re.IGNORECASE)
_FILTERED = re.compile(r"content[_ ](filter|policy|management)|safety", re.IGNORECASE)


class NoAnswer(Exception):
    """Nothing that can be read came back; the reason is its text."""

    def __init__(self, reason: str, seconds: float, *, again: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.seconds = seconds
        self.again = again
        """Whether to ask again makes sense: the transport has tried all it does."""


class Declined(Exception):
    """The server declined a request as malformed (400): it may take it in another form."""

    def __init__(self, words: str, seconds: float) -> None:
        super().__init__(words)
        self.words = words
        """The server's own, in one line."""
        self.seconds = seconds


def failure_of(error: Exception, settings: ChatSettings, seconds: float) -> ModelError | NoAnswer | Declined:
    """What to raise in place of an error of the SDK, or of one over a reply that it cannot read."""
    import openai

    from .transport import UnreachableError

    words = _one_line(settings.clean(str(error)))
    # langchain-openai raises errors of its own from those of the SDK.
    if isinstance(error.__cause__ or error, UnreachableError):
        return ModelError(f"{settings.host} cannot be reached: is it running, and is --chat-url right? {_DOCTOR}")
    match error:
        case openai.APITimeoutError():
            return NoAnswer(f"timed out after {settings.timeout:g} s", seconds)
        case openai.APIConnectionError():
            return NoAnswer(f"the connection was cut ({words})", seconds)
        case openai.APIStatusError():
            return _of_status(error.status_code, words, settings, seconds)
        case _:
            return NoAnswer(f"the reply is no chat completion ({words})", seconds, again=True)


def _of_status(status: int, words: str, settings: ChatSettings, seconds: float) -> ModelError | NoAnswer | Declined:
    host, model = settings.host, settings.model
    if status in (401, 403):
        given = "the key" if settings.api_key is not None else "a call without a key"
        return ModelError(f"{host} refuses {given} ({status}: {words}): set OPENAI_API_KEY to one it takes; {_DOCTOR}")
    if status == 404 and "model" in words.lower():
        return ModelError(f"{host} has no model {model!r} ({words}): name one it has with --chat-model; {_DOCTOR}")
    if status in (404, 405):
        return ModelError(f"{settings.base_url or host} speaks no chat completions ({status}): --chat-url ends in /v1")
    if "insufficient_quota" in words or status == 402:
        return ModelError(f"{host} wants to be paid first ({words}): see to your account there")
    if status in (400, 413, 415, 422):
        return _of_refusal(words, settings, seconds)
    return NoAnswer(f"the server answered {status} ({words})", seconds)


def _of_refusal(words: str, settings: ChatSettings, seconds: float) -> NoAnswer | Declined:
    if _TOO_LONG.search(words):
        return NoAnswer(f"the question is too long for {settings.model} ({words})", seconds)
    if _FILTERED.search(words):
        return NoAnswer(f"content_filter: the server refused the question ({words})", seconds)
    return Declined(words, seconds)


def speaks_of_pictures(words: str) -> bool:
    """Whether a server's complaint is about pictures."""
    return _PICTURES.search(words) is not None


def takes_no_pictures(words: str) -> bool:
    """Whether a failing server says that it never will take pictures; llama.cpp's does so with status 500."""
    return speaks_of_pictures(words) and "not support" in words


def speaks_of_format(words: str) -> bool:
    """Whether a server's complaint is about the form of the answer."""
    return _FORMAT.search(words) is not None


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
