"""Where things stand: layouts that fulfil a spec, found by randomized backtracking."""

import random
from collections.abc import Callable, Iterator

from .relations import holds, overlap
from .scene import Scene, Thing
from .spec import Link, Spec
from .vocabulary import COLOURS, GRID, NOUNS, PLACES

_GROUND = (GRID - 1, GRID)
"""Lower edges of things that nothing carries."""
_MAY_OVERLAP = ("riding", "inside")

Preference = Callable[[int, Thing], float]
"""Cost of putting the thing of that index there; candidates are tried in order of cost."""


def lay_out(spec: Spec, rng: random.Random, prefer: Preference | None = None) -> Scene | None:
    """A scene that fulfils the spec and nothing more; None if there is none.

    Args:
        spec: What to show.
        rng: Chooses among the layouts, and the colours and place left open.
        prefer: Draws the search towards cheap places.
    """
    colours = [
        wanted.colour or (rng.choice(list(COLOURS)) if NOUNS[wanted.noun].coloured else None) for wanted in spec.things
    ]
    things = _place(spec, colours, (), rng, prefer)
    return None if things is None else Scene(spec.place or rng.choice(list(PLACES)), things)


def _place(
    spec: Spec, colours: list[str | None], placed: tuple[Thing, ...], rng: random.Random, prefer: Preference | None
) -> tuple[Thing, ...] | None:
    index = len(placed)
    if index == len(spec.things):
        return placed
    candidates = list(_candidates(spec, index, colours[index]))
    rng.shuffle(candidates)
    if prefer is not None:
        candidates.sort(key=lambda thing: prefer(index, thing))
    for thing in candidates:
        trial = (*placed, thing)
        if _fits(spec, trial) and (found := _place(spec, colours, trial, rng, prefer)) is not None:
            return found
    return None


def _candidates(spec: Spec, index: int, colour: str | None) -> Iterator[Thing]:
    noun = NOUNS[spec.things[index].noun]
    bottoms = range(noun.height, GRID + 1) if _is_carried(spec, index) else _GROUND
    for bottom in bottoms:
        for x in range(GRID - noun.width + 1):
            yield Thing(noun.name, colour, x, bottom - noun.height)


def _is_carried(spec: Spec, index: int) -> bool:
    """Whether a relation lifts the thing off the ground."""
    return any(
        (link.relation in ("on top of", "riding") and index == link.members[0])
        or (link.relation in ("under", "holding", "lifting", "sharing") and index == link.members[-1])
        for link in spec.links
    )


def _fits(spec: Spec, placed: tuple[Thing, ...]) -> bool:
    """Whether the newest thing keeps to itself and to every relation that is complete now."""
    new = len(placed) - 1
    partners = {i for link in spec.links if link.relation in _MAY_OVERLAP and new in link.members for i in link.members}
    apart = all(i in partners or not overlap(placed[i], placed[new]) for i in range(new))
    complete = (link for link in spec.links if new in link.members and max(link.members) == new)
    return apart and all(holds(link.relation, members(link, placed)) for link in complete)


def members(link: Link, things: tuple[Thing, ...]) -> list[Thing]:
    """The things a link relates, in its order."""
    return [things[i] for i in link.members]
