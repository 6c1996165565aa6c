"""Captions in two levels of detail with one meaning.

The short one is what people write. The detailed one goes on to say where each thing stands, as a
refined prompt does.
"""

import random
from collections.abc import Sequence

from .language import LEFT_TO_RIGHT, TOP_TO_BOTTOM
from .relations import arity
from .scene import Scene, Thing
from .spec import SIDES, Link, Spec
from .vocabulary import PLACES

_PHRASES: dict[str, tuple[str, ...]] = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "next to": ("next to", "beside"),
}


def short_caption(spec: Spec, rng: random.Random | None = None) -> str:
    """The spec as a person would write it; always in the same words where no ``rng`` is given."""
    named: set[int] = set()

    def name(index: int) -> str:
        wanted = spec.things[index]
        if index in named:
            return f"the {wanted.noun}"
        named.add(index)
        return with_article(" ".join(filter(None, (wanted.colour, wanted.noun))))

    def phrase(link: Link) -> str:
        known = _PHRASES.get(link.relation, (link.relation,))
        return known[0] if rng is None else rng.choice(known)

    clauses: list[str] = []
    head: int | None = None
    for link in spec.links:
        if arity(link.relation) == 3 or link.members[0] not in named:
            subjects = _enumerate([name(i) for i in _subjects(link)])
            start = f"{subjects} {phrase(link)}"
            head = link.members[0]
        elif link.members[0] == head:
            start = f"{', ' if link.relation in SIDES else ' and '}{phrase(link)}"
        else:
            start = f" {phrase(link)}"
        clauses.append(f"{start} {name(link.members[-1])}" if link.relation != "in a row" else start)
    place = "" if spec.place is None else f", {PLACES[spec.place]}"
    return "".join(clauses) + place


def detailed_caption(caption: str, scene: Scene) -> str:
    """A short caption and, after it, the place and where each thing of the scene stands."""
    things = "; ".join(f"the {describe(t)} {whereabouts(t)}" for t in scene.things)
    return f"{caption}. Placed {PLACES[scene.place]}: {things}."


def describe(thing: Thing) -> str:
    """Colour and noun, such as ``red car``."""
    return " ".join(filter(None, (thing.colour, thing.noun)))


def whereabouts(thing: Thing) -> str:
    """Where a thing stands, such as ``far left, low``: a fifth of the picture across, a row down."""
    across = LEFT_TO_RIGHT[min((2 * thing.x + thing.width - 1) // 2, 4)]
    down = TOP_TO_BOTTOM[thing.bottom - 2]
    return f"{across.replace('leftmost', 'far left').replace('rightmost', 'far right')}, {down}"


def with_article(words: str) -> str:
    """The words with ``a`` or ``an`` before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _subjects(link: Link) -> tuple[int, ...]:
    return link.members if link.relation == "in a row" else link.members[:-1]


def _enumerate(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
