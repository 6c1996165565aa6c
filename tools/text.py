"""Texts from users and models: prompts that can be read, and words made fit to be shown."""

import re
import unicodedata

from .errors import PromptError

PROMPT_LIMIT = 2000
"""Characters of a prompt, at most."""
HUB_ID = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""``owner/name`` of a model of the hub, and no path such as ``./name``."""
_CHAINED = r"::[a-z][\w+.-]*:"
_URL = re.compile(
    r"([a-z][a-z\d+.-]{0,30}://)"
    rf"(?:[^\s/?#@]*@|[^\s/?#@:]*:(?!:|\d*(?:[/?#]|$))(?:(?!{_CHAINED})\S){{0,500}}@)?"  # a slash in a password
    rf"((?:(?!{_CHAINED})[^\s?#])*)(?:[?#](?:(?!{_CHAINED})\S)*)?",
    re.IGNORECASE,
)
"""A URL: scheme, user and password, host and path, query and fragment, up to the next one of a chain."""
_CONTROLS = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters by which a text could command a terminal or show itself in another order, and those that are none, such as
in names of files that are no Unicode."""


def check_prompt(prompt: str) -> None:
    """Refuse what no decomposer could read: what is no text, empty, too long or holds control characters."""
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
    """With every URL in it without user, password, query and fragment, which can be secret. fsspec chains URLs, as in
    ``zip://a.txt::https://host/b.zip``; each part is treated so."""
    return _URL.sub(r"\1\2", text)


def said_by(error: BaseException, source: str) -> str:
    """An error in one line; its class alone where the source holds secrets, which may be in what it says."""
    if without_secrets(source) != source and not isinstance(error, ImportError):
        return type(error).__name__
    said = error.strerror if isinstance(error, OSError) and error.strerror else one_line(str(error))
    return said or type(error).__name__


def plain(text: str) -> str:
    """Replaces control characters, so that model output cannot command the terminal."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """With every run of blanks and line breaks as one blank."""
    return " ".join(text.split())


def brief(text: str, longest: int = 300) -> str:
    """One line of at most so many characters: words of a stranger that are shown, such as those of an error."""
    line = one_line(text[: 20 * longest])
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
