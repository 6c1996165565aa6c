"""What a server's error means: the user has to act, the request needs another form, or no answer came this time.

The same for chat and images. The words of the body decide before the status, in which servers differ more.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any, cast

from ..errors import ModelError
from ..text import brief
from .settings import ChatSettings

DOCTOR = "`detailscribe doctor` shows what is configured"
_READ, _DEEPEST = 20_000, 9
"""Characters and levels of an error's body that are read."""
_WORDS = ("message", "msg", "error", "errors", "detail", "details", "error_description", "reason", "title", "raw")
_PARAMETERS = ("param", "loc")
_CODES = ("code", "type", "status", "error_code")

_UNPAID = re.compile(
    r"insufficient[_ ](quota|credits?|funds|balance)|credit (balance|limit)|billing_hard|payment[_ ]required"
    r"|(out of|all available) credits|spending limit"
)
_QUOTA = re.compile(r"billing|exceeded your current quota")
_SOON = re.compile(r"retry (in|after)|per[_ -]?(minute|second|hour|day)|rate[_ -]?limit")
"""With these words a quota is a rate limit."""
_FILTERED = re.compile(
    r"content[_ -]?(filter|policy|management)|moderation|flagged|safety|responsible ?ai|prohibited[_ ]content"
)
TOO_LONG = re.compile(r"context.{0,20}(length|window|size)|(prompt|input|question|request) is too long|too many tokens")
TOKEN_LIMIT = re.compile(r"max_?(completion_|output_|new_)?tokens|in the completion|completion tokens|output tokens")
PICTURES = re.compile(r"image|picture|vision|multi-?modal|mmproj")
FORMAT = re.compile(r"response_?format|schema|json|grammar|guided|structured|requested parameters")
_NEVER = re.compile(r"not (currently )?support|unsupported|not implemented|only supports?")
_CHANGEABLE = re.compile(r"\b(system|roles?|stream|temperature|logprobs|top_logprobs|max_)")
_NO_MODEL = re.compile(
    r"not (found|exist)|no such|(unknown|invalid|unsupported) model|does ?n.t exist|not a valid model"
)
UNSUPPORTED = re.compile(
    r"not (currently )?support|unsupported|not implemented|not enabled|unknown|unrecogni[sz]ed|not permitted|unexpected"
    r"|not allowed|instead|not valid|must alternate|only supports?"
)
TOO_LARGE = re.compile(
    r"\b413\b|too large|too big|exceed.{0,40}(size|limit|maximum|bytes|[mk]i?b\b)|body limit|payload|(image|file) size"
)
_PLAIN_HTTP = re.compile(
    r"plain http request|http request to an https|requires? (https|tls)|client sent an http request"
)


@dataclass(frozen=True)
class Service:
    """One use of a server, and how the user names its model and URL."""

    path: str
    """After the base URL."""
    lacking: str
    """In messages: what a server without the path does not do."""
    otherwise: str
    """In messages: what a reply of another shape is."""
    model_option: str
    url_option: str
    most_bytes: int
    """Largest reply, packed or unpacked."""

    def no_such_path(self, url: str, answer: str) -> ModelError:
        """The error of a URL at which the server has no such service."""
        return ModelError(f"{url} {self.lacking} ({answer}): {self.url_option} ends in /v1; {DOCTOR}")


CHAT = Service(
    "/chat/completions", "speaks no chat completions", "no chat completion", "--chat-model", "--chat-url", 2**24
)
IMAGES = Service(
    "/images/generations", "draws no images", "none of an images endpoint", "diffusion.model", "the URL", 2**26
)
EDITS = replace(IMAGES, path="/images/edits", lacking="edits no images", model_option="edit.model")


@dataclass(frozen=True)
class Complaint:
    """The error that a server reports."""

    status: int
    words: str
    """One line for people, without secrets."""
    text: str
    """Words, codes, names of parameters and status, in small letters."""

    def speaks_of(self, pattern: re.Pattern[str]) -> bool:
        """Whether it is about something, such as ``PICTURES``."""
        return pattern.search(self.text) is not None


class NoAnswer(Exception):
    """No usable answer came; the reason is its text."""

    def __init__(self, reason: str, raw: str = "", *, again: bool = False, transient: bool = False) -> None:
        self.reason = brief(reason, 1000)
        super().__init__(self.reason)
        self.raw = raw
        """The unusable answer; empty if none came."""
        self.again = again
        """Whether asking again may help: the client has not retried already."""
        self.transient = transient
        """Whether the server did not reply, so that the client should retry."""
        self.seconds = 0.0


class Declined(Exception):
    """The server declined the request in this form; it may take it in another."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.words)
        self.complaint = complaint
        self.seconds = 0.0


def complaint_of(status: int, text: str, settings: ChatSettings) -> Complaint:
    """The complaint in an error's body, whatever shape it has: JSON of any known server, HTML or plain text."""
    text = settings.clean(text[:_READ])
    words, codes = list[str](), list[str]()
    try:
        _collect(json.loads(text), words, codes, _DEEPEST)
    except (ValueError, RecursionError):
        words = [re.sub(r"<[^<>]{0,300}>", " ", text)]
    shown = brief("; ".join(dict.fromkeys(word.strip() for word in words if word.strip())))
    return Complaint(status, shown or "no reason given", " ".join((*words, *codes, str(status))).lower()[-_READ:])


def error_status(body: Any) -> int | None:
    """The status of an error inside a successful response; None where the body is no error."""
    if isinstance(body, list) and body:
        body = cast("list[Any]", body)[0]
    if not isinstance(body, dict):
        return None
    body = cast("dict[str, Any]", body)
    choices: Any = body.get("choices") or body.get("data")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        # Some gateways put the error of their provider beside the message.
        body = cast("dict[str, Any]", choices[0])
    error: Any = body.get("error")
    if not error and body.get("object") != "error":
        return None
    places = (error if isinstance(error, dict) else {}, body)
    codes = (str(place.get(key)) for place in places for key in ("code", "status", "statusCode"))
    return next((int(code) for code in codes if re.fullmatch(r"[45]\d\d", code)), 502)


def failure_of(
    complaint: Complaint, settings: ChatSettings, service: Service, *, reached: bool = False
) -> ModelError | NoAnswer | Declined:
    """What to raise for a complaint. A service that was ``reached`` has answered before: its path cannot be wrong."""
    status, words, text = complaint.status, complaint.words, complaint.text
    host, name = settings.host, f"name one with {service.model_option}; {DOCTOR}"
    no_model = ModelError(f"{host} has no model {settings.model!r} ({words}): {name}")
    if _PLAIN_HTTP.search(text):
        return ModelError(f"{host} speaks https, not http ({words}): begin {service.url_option} with https://")
    if status == 407:
        return ModelError(f"the proxy before {host} refuses the call ({words}): put user and password into its URL")
    if status == 402 or _UNPAID.search(text) or (_QUOTA.search(text) and not _SOON.search(text)):
        return ModelError(f"{host} wants to be paid first ({words}): see to your account there")
    if status < 500 and _FILTERED.search(text):
        return NoAnswer(f"content_filter: the server answered {status} and refused the question ({words})")
    if status in (401, 403):
        given = "the key" if settings.api_key is not None else "a call without a key"
        return ModelError(f"{host} refuses {given} ({status}: {words}): set OPENAI_API_KEY to one it takes; {DOCTOR}")
    if status in (404, 405):
        # Gateways also answer so where a provider cannot do what was asked.
        pictures = complaint.speaks_of(PICTURES) and (complaint.speaks_of(UNSUPPORTED) or "image input" in text)
        if pictures or complaint.speaks_of(FORMAT):
            return Declined(complaint)
        if re.search(r"model|endpoints found|deployment", text):
            return no_model
        if reached:
            return Declined(complaint)
        return service.no_such_path(settings.url, str(status))
    if status in (400, 406, 411, 413, 414, 415, 422) or (status >= 500 and _is_refusal(complaint)):
        if "model" in text and _NO_MODEL.search(text):
            return no_model
        return Declined(complaint)
    return NoAnswer(f"the server answered {status} ({words})", transient=True)


def refused(complaint: Complaint, settings: ChatSettings, pictures: int) -> ModelError | NoAnswer:
    """What to raise for a question with so many pictures that the server takes in no form, by its last complaint."""
    words = complaint.words
    if complaint.speaks_of(TOO_LONG):
        return NoAnswer(f"the question is too long for {settings.model} ({words})")
    if pictures > 1 and complaint.speaks_of(PICTURES):
        return NoAnswer(f"{settings.name} does not take {pictures} pictures in one question ({words})")
    if pictures and complaint.speaks_of(TOO_LARGE):
        return ModelError(f"{settings.name} takes no pictures of this size ({words}): set a lower chat.picture_side")
    if pictures and complaint.speaks_of(PICTURES):
        return ModelError(f"{settings.name} takes no pictures ({words}): name a vision model with --chat-model")
    return ModelError(f"{settings.name} declines the request ({words}): {DOCTOR}")


def _is_refusal(complaint: Complaint) -> bool:
    """Whether a server that fails (5xx) says that it will never take the request in this form."""
    text = complaint.text
    if complaint.status == 501 or re.search(r"grammar|schema|response_?format", text):
        return True
    named = complaint.speaks_of(PICTURES) or complaint.speaks_of(FORMAT) or _CHANGEABLE.search(text)
    return bool(named and _NEVER.search(text)) or "must alternate" in text


def _collect(node: Any, words: list[str], codes: list[str], deepest: int, key: str = "message") -> None:
    """Gather the words and codes of an error's JSON body, at most ``deepest`` levels down."""
    if deepest == 0:
        return
    if isinstance(node, list):
        for item in cast("list[Any]", node)[:20]:
            _collect(item, words, codes, deepest - 1, key)
    elif isinstance(node, dict):
        for name, value in list(cast("dict[str, Any]", node).items())[:50]:
            _collect(value, words, codes, deepest - 1, key if isinstance(value, dict) else name.lower())
    elif key == "raw" and isinstance(node, str) and node.lstrip().startswith("{"):
        # The words of a gateway's provider, as JSON in a string.
        try:
            _collect(json.loads(node), words, codes, deepest - 1)
        except (ValueError, RecursionError):
            words.append(node)
    elif key in _CODES and node is not None:
        codes.append(str(node))
    elif isinstance(node, str) and key in (*_WORDS, *_PARAMETERS) and node != "body":
        words.append(node)
