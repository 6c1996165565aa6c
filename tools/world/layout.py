"""Layouts that fulfil a spec, found by randomized backtracking."""

import itertools
import random
from collections.abc import Callable, Iterator
from functools import reduce
from operator import or_

from .relations import RELATIONS, holds
from .scene import Scene, Thing
from .spec import Link, Spec, random_spec
from .vocabulary import COLOURS, GRID, NOUNS, PLACES

_GROUND = (GRID - 1, GRID)
"""Lower edges of things that nothing lifts."""
_MOST_TRIALS = 20_000
"""Positions tried before a spec counts as having no layout."""

Preference = Callable[[int, Thing], float]
"""Cost of a position for the thing of that index; positions are tried in order of cost."""


def lay_out(spec: Spec, rng: random.Random, prefer: Preference | None = None) -> Scene | None:
    """A scene that fulfils the spec with nothing else in it; None if there is none. ``rng`` chooses the layout, and
    colours and place where the spec leaves them open."""
    colours = [
        wanted.colour or (rng.choice(list(COLOURS)) if NOUNS[wanted.noun].coloured else None) for wanted in spec.things
    ]
    positions = [list(_positions(spec, index, colour)) for index, colour in enumerate(colours)]
    costs = [{thing: prefer(index, thing) for thing in some} for index, some in enumerate(positions) if prefer]
    relations = [_complete_with(spec, index) for index in range(len(spec.things))]
    trials = itertools.count()

    def place(placed: tuple[Thing, ...]) -> tuple[Thing, ...] | None:
        index = len(placed)
        if index == len(spec.things):
            return placed
        candidates = positions[index].copy()
        rng.shuffle(candidates)
        if costs:
            candidates.sort(key=costs[index].__getitem__)
        partners, complete = relations[index]
        taken = reduce(or_, (thing.cells for i, thing in enumerate(placed) if i not in partners), 0)
        for thing in candidates:
            if next(trials) > _MOST_TRIALS:
                return None
            if thing.cells & taken:
                continue
            trial = (*placed, thing)
            if all(holds(link.relation, members(link, trial)) for link in complete) and (things := place(trial)):
                return things
        return None

    things = place(())
    return None if things is None else Scene(spec.place or rng.choice(list(PLACES)), things)


def laid_out_specs(
    rng: random.Random, wanted: Callable[[Spec], bool], complexity: int | None = None
) -> Iterator[tuple[Spec, Scene]]:
    """Endless random specs that are wanted and have a layout, each with one."""
    while True:
        spec = random_spec(rng, complexity)
        if wanted(spec) and (scene := lay_out(spec, rng)) is not None:
            yield spec, scene


def _positions(spec: Spec, index: int, colour: str | None) -> Iterator[Thing]:
    noun = NOUNS[spec.things[index].noun]
    lifts = [(link, RELATIONS[link.relation].lifts) for link in spec.links]
    lifted = any(member is not None and link.members[member] == index for link, member in lifts)
    for bottom in range(noun.height, GRID + 1) if lifted else _GROUND:
        for x in range(GRID - noun.width + 1):
            yield Thing(noun.name, colour, x, bottom - noun.height)


def _complete_with(spec: Spec, new: int) -> tuple[set[int], list[Link]]:
    """The things whose cells a new one may share, and the links whose members are all placed with it."""
    links = [link for link in spec.links if new in link.members]
    partners = {i for link in links if RELATIONS[link.relation].overlaps for i in link.members}
    return partners, [link for link in links if max(link.members) == new]


def members(link: Link, things: tuple[Thing, ...]) -> list[Thing]:
    """The things a link relates, in its order."""
    return [things[i] for i in link.members]
