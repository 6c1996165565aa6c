"""The words of the embedded world: many spellings, one canonical word for each meaning.

The grammar and the text encoder's tokenizer both read the canonical words, so that a prompt means
the same to the decomposer and to the diffusion model.
"""

import re

from .vocabulary import COLOURS, NOUNS

LEFT_TO_RIGHT = ("leftmost", "left", "middle", "right", "rightmost")
"""Canonical words for where a thing stands across the picture."""
TOP_TO_BOTTOM = ("top", "high", "halfway", "low", "bottom")
"""Canonical words for the row of a thing's lower edge."""

RELATION_WORDS: dict[str, str] = {
    "left of": "leftof",
    "right of": "rightof",
    "next to": "nextto",
    "on top of": "ontopof",
    "under": "under",
    "inside": "inside",
    "in a row": "inarow",
    "holding": "holding",
    "riding": "riding",
    "pushing": "pushing",
    "lifting": "lifting",
    "sharing": "sharing",
}
"""Canonical word by relation."""

_PLACE_SPELLINGS = {
    "meadow": r"(?:in|on|at) (?:the |a )?(?:meadow|grass|field|park|lawn)",
    "beach": r"(?:on|at|by) (?:the |a )?(?:beach|sand|seaside|sea|shore)",
    "snow": r"(?:in|on) (?:the )?snow|in winter|on a snowy day",
    "night": r"at night|by night|under (?:the )?(?:stars|moon)|in (?:the )?(?:moonlight|dark)",
}
_RELATION_SPELLINGS = {
    "inarow": r"(?:standing |stand |lined up )?in a (?:row|line)|lined up|side by side in a row",
    "leftof": r"(?:to|on|at) the left(?: side)? of|left of",
    "rightof": r"(?:to|on|at) the right(?: side)? of|right of",
    "nextto": r"(?:standing |sitting |stands |sits )?(?:next to|beside|besides|near|alongside|close to|by)",
    "holding": r"holding|holds|hold|carrying|carries|carry",
    "riding": r"(?:riding|rides|ride|driving|drives|drive|sailing|sails|sail)(?: (?:on|in))?",
    "pushing": r"pushing|pushes|push|shoving|shoves",
    "lifting": r"lifting up|lifting|lifts|lift|raising",
    "sharing": r"sharing|shares|share",
    "ontopof": r"(?:standing |sitting |stands |sits |lying )?(?:on top of|atop|on)",
    "under": r"(?:standing |sitting |stands |sits )?(?:underneath|beneath|below|under)",
    "inside": r"(?:standing |sitting |stands |sits |hiding )?(?:inside of|inside|within|in)",
}
_NOUN_SPELLINGS = {
    "fox": "foxes",
    "bear": "bears",
    "cat": "cats|kitten|kitty",
    "dog": "dogs|puppy",
    "panda": "pandas",
    "rabbit": "rabbits|bunny|hare",
    "frog": "frogs|toad",
    "pig": "pigs|piglet",
    "car": "cars|automobile",
    "bicycle": "bicycles|bikes|bike",
    "boat": "boats|sailboat|ship",
    "box": "boxes|crate",
    "basket": "baskets",
    "house": "houses|home|cottage",
    "balloon": "balloons",
    "umbrella": "umbrellas|parasol",
    "flag": "flags",
    "cup": "cups|mug",
    "ball": "balls",
    "tree": "trees",
}
_COLOUR_SPELLINGS = {"red": "crimson|scarlet", "green": "emerald", "yellow": "golden|gold", "purple": "violet"}
_POSITION_SPELLINGS = {"leftmost": "far left", "rightmost": "far right"}
_SILENT = r"a|an|the|is|are|there|together|both|each|one|which|that|who|while|being|placed|some|picture of|image of"

SPELLINGS: tuple[tuple[str, str], ...] = tuple(
    (rf"\b(?:{spellings})\b", f" {word} ")
    for table in (
        _PLACE_SPELLINGS,
        _RELATION_SPELLINGS,
        _NOUN_SPELLINGS,
        _COLOUR_SPELLINGS,
        _POSITION_SPELLINGS,
        {"": _SILENT},
    )
    for word, spellings in table.items()
)
"""Regular expressions and what they become, to be applied in order to lower-case text."""

PLACE_WORDS = tuple(_PLACE_SPELLINGS)
WORDS: tuple[str, ...] = (
    *NOUNS,
    *COLOURS,
    *RELATION_WORDS.values(),
    *PLACE_WORDS,
    *LEFT_TO_RIGHT,
    *TOP_TO_BOTTOM,
    "and",
    ".",
)
"""Every canonical word."""


def canonical(text: str) -> list[str]:
    """The words of a text in canonical spelling; commas and full stops stand alone, unknown words as they are."""
    text = re.sub(r"[;:]", ",", text.lower().replace("&", " and "))
    for pattern, word in SPELLINGS:
        text = re.sub(pattern, word, text)
    return re.findall(r"[a-z0-9'-]+|[,.]|[^\s\w,.]", re.sub(r"[!?\"“”()]", " ", text))
