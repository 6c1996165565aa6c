"""What a user gave, checked; each complaint is one line."""

import unicodedata

from pydantic import ValidationError

from ..tools.errors import PromptError

PROMPT_LIMIT = 2000
"""Characters."""


def check_prompt(prompt: str) -> None:
    """Refuse what no decomposer could read.

    Raises:
        PromptError: the prompt is empty, too long or holds control characters.
    """
    if not prompt.strip():
        raise PromptError("the prompt is empty; say what the picture should show")
    if len(prompt) > PROMPT_LIMIT:
        raise PromptError(f"the prompt has {len(prompt)} characters; at most {PROMPT_LIMIT} can be read")
    for place, character in enumerate(prompt):
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise PromptError(f"the prompt holds a control character, U+{ord(character):04X}, at {place}; take it out")


def first_problem(error: ValidationError) -> str:
    """The first thing that pydantic complains of."""
    detail = error.errors()[0]
    place = ".".join(str(part) for part in detail["loc"])
    return f"{place}: {detail['msg']}" if place else detail["msg"]
