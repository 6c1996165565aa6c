"""What a new prompt must be: short enough, in the active voice, about its interaction, and unlike the others."""

import re
from collections.abc import Iterable

SHORTEST, LONGEST = 4, 45
"""Words of a prompt."""
_ALIKE = 0.7
"""Share of words in common from which two prompts say the same."""

_IRREGULAR = (
    "beaten|bent|bitten|blown|bound|broken|brought|built|bought|caught|chosen|cut|done|drawn|driven|drunk|dug|eaten|fed"
    "|found|flown|frozen|given|ground|held|hidden|hit|hung|kept|laid|led|lit|made|put|read|ridden|sawn|seen|sewn|shaken"
    "|shown|shut|spread|spun|strung|stuck|swept|swung|taken|taught|thrown|tied|torn|woven|won|worn|wound|written"
)
_NOT_PARTICIPLES = "red|bed|shed|sled|seed|weed|reed|hundred|naked|wicked|sacred|rugged|crooked|wooded|speed|breed|need"
_PARTICIPLE = rf"(?!(?:{_NOT_PARTICIPLES})\b)(?:[a-z]+ed|{_IRREGULAR})"
_PASSIVE = re.compile(
    rf"\b(?:is|are|was|were|be|been|being|gets?|got|getting)\s+(?:[a-z]+ly\s+)?{_PARTICIPLE}\b"
    rf"|\b{_PARTICIPLE}\s+by\s+(?:an?|the|its|their|his|her|two|three|several|many|some)\b"
)
_WORD = re.compile(r"[a-z]+(?:['’-][a-z]+)*")
_IDLE = re.compile("an?|the|and|of|in|on|at|with|to|its|their|his|her|is|are|while|as|it|they|from|into|by")


def passive_voice(prompt: str) -> str | None:
    """The words that put it into the passive; None where it is active, as far as words can tell."""
    found = _PASSIVE.search(prompt.lower())
    return None if found is None else found.group()


def what_is_wrong(prompt: str, must_name: Iterable[str] = ()) -> str | None:
    """Why a prompt is not taken, in words a model can act on; None where it is.

    Args:
        prompt: The new one.
        must_name: Words of which each must be in it, in any form.
    """
    words = prompt.split()
    if not SHORTEST <= len(words) <= LONGEST:
        return f"it has {len(words)} words; write {SHORTEST} to {LONGEST}"
    if (passive := passive_voice(prompt)) is not None:
        return f"{passive!r} is in the passive voice; say who acts"
    stems = {_stem(word) for word in _WORD.findall(prompt.lower())}
    lost = [name for name in must_name if not {_stem(word) for word in _WORD.findall(name.lower())} & stems]
    return f"it does not name {', '.join(lost)}" if lost else None


def is_alike(prompt: str, others: Iterable[frozenset[str]]) -> bool:
    """Whether one of the others says nearly the same; they are given as ``gist`` has them."""
    own = gist(prompt)
    return any(len(own & other) >= _ALIKE * len(own | other) for other in others)


def gist(prompt: str) -> frozenset[str]:
    """The words that carry its meaning, in their short form."""
    return frozenset(_stem(word) for word in _WORD.findall(prompt.lower()) if not _IDLE.fullmatch(word))


def _stem(word: str) -> str:
    """Rough: ``stirring``, ``stirs`` and ``stir`` are one; so are ``weave`` and ``weaving``."""
    for ending in ("ing", "ies", "es", "ed", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls" else word
