"""The language of the embedded world: canonical words, and captions.

Grammar and text encoder both read canonical words, so that a prompt means the same to decomposer and diffusion model.
"""

import random
import re
from collections.abc import Iterable

from ...prompts import listed
from .relations import RELATIONS
from .scene import Scene, Thing
from .spec import ASIDE, Spec
from .vocabulary import COLOURS, NOUNS, PLACES

LEFT_TO_RIGHT = ("leftmost", "left", "middle", "right", "rightmost")
"""Canonical words for the column of a thing."""
TOP_TO_BOTTOM = ("top", "high", "halfway", "low", "bottom")
"""Canonical words for the row of a thing's lower edge."""
_SILENT = (
    "a|an|the|is|are|there|together|both|each|one|only|nothing else|which|that|who|while|being|placed|some|to"
    "|picture of|image of"
)

SPELLINGS: tuple[tuple[str, str], ...] = tuple(
    (rf"\b(?:{spellings})\b", f" {word} ")
    for word, spellings in (
        *((name, place.spellings) for name, place in PLACES.items()),
        *((r.word, r.spellings) for r in sorted(RELATIONS.values(), key=lambda r: r.turn)),
        *((name, noun.spellings) for name, noun in NOUNS.items()),
        *((name, spellings) for name, spellings in COLOURS.items() if spellings),
        ("leftmost", "far left"),
        ("rightmost", "far right"),
        ("", _SILENT),
    )
)
"""Regular expressions and their replacements, applied in order to lower-case text."""

_CONTENT = (*NOUNS, *COLOURS, *(relation.word for relation in RELATIONS.values()), *PLACES)
WORDS: tuple[str, ...] = (*_CONTENT, *LEFT_TO_RIGHT, *TOP_TO_BOTTOM, "and", ".")
"""Every canonical word, in the order of the text encoder's tokens."""


def canonical(text: str) -> list[str]:
    """The words of a text in canonical spelling, with commas and full stops; unknown words stay as they are."""
    text = re.sub(r"[;:]", ",", text.lower().replace("&", " and "))
    for pattern, word in SPELLINGS:
        text = re.sub(pattern, word, text)
    return re.findall(r"[a-z0-9'-]+|[,.]|[^\s\w,.]", re.sub(r"[!?\"“”()]", " ", text))


def short_caption(spec: Spec, rng: random.Random | None = None) -> str:
    """The spec as a person would write it; ``rng`` varies the words."""
    named: set[int] = set()

    def name(index: int) -> str:
        wanted = spec.things[index]
        if index in named:
            alike = sum(thing.noun == wanted.noun for thing in spec.things) > 1
            return f"the {wanted.colour} {wanted.noun}" if alike else f"the {wanted.noun}"
        named.add(index)
        words = f"{wanted.colour or ''} {wanted.noun}".lstrip()
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    text, head, actor = "", -1, -1
    for link in spec.links:
        relation, first = RELATIONS[link.relation], link.members[0]
        if relation.before > 1 or first not in (head, actor):
            text += ", " if text else ""
            text += listed([name(i) for i in link.members[: relation.before]]) + " "
            head = actor = first if relation.before == 1 else -1
        elif first == head:
            text += ", " if link.relation in ASIDE else " and "
            actor = head
        else:
            text += " "
        phrases = relation.phrases or (relation.name,)
        text += phrases[0] if rng is None else rng.choice(phrases)
        after = f" {relation.joint} ".join(name(i) for i in link.members[relation.before :])
        text += f" {after}".rstrip()
        actor = link.members[-1] if relation.passes_on else actor
    return text if spec.place is None else f"{text}, {PLACES[spec.place].phrase}"


def detailed_caption(caption: str, scene: Scene) -> str:
    """A caption, then the place and where each thing of the scene stands: the form of a refined prompt."""
    things = "; ".join(f"the {describe(t)} {whereabouts(t)}" for t in scene.things)
    return f"{caption.rstrip(' .,;:!?')}. Placed {PLACES[scene.place].phrase}: {things}."


def corrected(caption: str, changes: Iterable[str]) -> str:
    """A caption, then what to change."""
    return f"{caption.rstrip(' .,;:!?')}. Placed: {'; '.join(changes)}."


def describe(thing: Thing) -> str:
    """Colour and noun, such as ``red car``."""
    return f"{thing.colour or ''} {thing.noun}".lstrip()


def whereabouts(thing: Thing) -> str:
    """Where a thing stands, such as ``far left, low``."""
    return f"{across(thing)}, {height(thing)}"


def across(thing: Thing) -> str:
    """The fifth of the picture's width, such as ``far left``."""
    word = LEFT_TO_RIGHT[min((2 * thing.x + thing.width - 1) // 2, 4)]
    return word.replace("leftmost", "far left").replace("rightmost", "far right")


def height(thing: Thing) -> str:
    """The row of its lower edge, such as ``low``."""
    return TOP_TO_BOTTOM[max(thing.bottom - 2, 0)]
