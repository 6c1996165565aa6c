"""Checks prompts, and makes texts from users and models safe to show."""

import re
import unicodedata

from .errors import PromptError

PROMPT_LIMIT = 2000
"""Most characters of a prompt."""
HUB_ID = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""``owner/name`` of a model on the hub, but no path such as ``./name``."""
_CHAINED = r"::[a-z][\w+.-]*:"
_URL = re.compile(
    r"([a-z][a-z\d+.-]{0,30}://)"
    rf"(?:[^\s/?#@]*@|[^\s/?#@:]*:(?!:|\d*(?:[/?#]|$))(?:(?!{_CHAINED})\S){{0,500}}@)?"  # a slash in a password
    rf"((?:(?!{_CHAINED})[^\s?#])*)(?:[?#](?:(?!{_CHAINED})\S)*)?",
    re.IGNORECASE,
)
"""A URL up to the next one of a chain: scheme, user and password, host and path, query and fragment."""
_CONTROLS = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that could command a terminal or reorder the text, and surrogates, such as in file names that are not
Unicode."""


def check_prompt(prompt: str) -> None:
    """Refuse a prompt that is no text, empty, too long or has control characters."""
    if not isinstance(prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a client sends what it likes
        raise PromptError(f"the prompt should be a text, not {type(prompt).__name__}")
    if not prompt.strip():
        raise PromptError("the prompt is empty; say what the picture should show")
    if len(prompt) > PROMPT_LIMIT:
        raise PromptError(f"the prompt has {len(prompt)} characters; at most {PROMPT_LIMIT} can be read")
    for place, character in enumerate(prompt):
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise PromptError(f"the prompt holds a control character, U+{ord(character):04X}, at {place}; take it out")


def without_secrets(text: str) -> str:
    """The text with every URL without user, password, query and fragment, which can be secret; also in fsspec's chains
    of URLs, such as ``zip://a.txt::https://host/b.zip``."""
    return _URL.sub(r"\1\2", text)


def said_by(error: BaseException, source: str) -> str:
    """An error in one line; only its class if the source has secrets, which the message may repeat."""
    if without_secrets(source) != source and not isinstance(error, ImportError):
        return type(error).__name__
    message = error.strerror if isinstance(error, OSError) and error.strerror else one_line(str(error))
    return message or type(error).__name__


def plain(text: str) -> str:
    """Replaces control characters, so that model output cannot command the terminal."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """The text with one blank for every run of blanks and line breaks."""
    return " ".join(text.split())


def brief(text: str, longest: int = 300) -> str:
    """The text in one line of at most ``longest`` characters, such as a foreign error message."""
    line = one_line(text[: 20 * longest])
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
