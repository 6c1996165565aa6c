"""English phrases for templates: plurals, numbers, lists and articles."""

import re
from collections.abc import Sequence

from ..state import ConceptGraph

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_IRREGULAR = dict(
    re.findall(
        r"(\w+)/(\w+)",
        "child/children deer/deer fish/fish foot/feet goose/geese leaf/leaves loaf/loaves man/men mouse/mice"
        " person/people scarf/scarves sheep/sheep shelf/shelves tooth/teeth wolf/wolves woman/women",
    )
)


def plural(noun: str) -> str:
    """The plural of a noun or of a phrase that ends in one: ``red fox`` gives ``red foxes``."""
    before, blank, last = noun.rpartition(" ")
    regular = f"{last}es" if last.endswith(("s", "x", "z", "ch", "sh")) else f"{last}s"
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        regular = f"{last[:-1]}ies"
    return f"{before}{blank}{_IRREGULAR.get(last, regular)}"


def counted(count: int, noun: str) -> str:
    """Number and noun in agreement: ``one fox``, ``three foxes``, ``12 foxes``; ``noun`` is singular."""
    number = _NUMBERS[count] if count < len(_NUMBERS) else str(count)
    return f"{number} {noun if count == 1 else plural(noun)}"


def spellings(word: str) -> tuple[str, ...]:
    """A number in words and in digits; any other word as it is."""
    if word in _NUMBERS:
        return word, str(_NUMBERS.index(word))
    return (word, _NUMBERS[int(word)]) if word.isdecimal() and int(word) < len(_NUMBERS) else (word,)


def listed(phrases: Sequence[str]) -> str:
    """``fox``, ``fox and bear``, ``fox, bear and cat``."""
    return " and ".join(part for part in (", ".join(phrases[:-1]), *phrases[-1:]) if part)


def noun_phrases(concepts: ConceptGraph) -> tuple[str, ...]:
    """``a red umbrella``, ``two foxes``, ``the beach``: the entities with attributes and number, then the place."""
    phrases: list[str] = []
    for entity in concepts.entities:
        words = " ".join((*entity.attributes, entity.name))
        phrases.append(counted(entity.count, words) if entity.count > 1 else with_article(words))
    if concepts.scene is not None:
        phrases.append(re.sub(r"^(?i:in|on|at|under|inside|by|near|over)\s+", "", concepts.scene.strip()))
    return tuple(dict.fromkeys(phrases))


def with_article(words: str) -> str:
    """``a cat``, ``an otter``."""
    return f"{'an' if words[:1].lower() in tuple('aeiou') else 'a'} {words}"
