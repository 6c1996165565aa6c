"""What the embedded critic asks for next: the user's prompt and, after it, a correction as explicit as is wanted."""

import itertools
import random
from collections.abc import Sequence

from ...state import Check, ConceptGraph, derive_seed
from ..roles import Explicitness
from .decomposer import entities_of, spec_of
from .language import across, corrected, describe, detailed_caption, height, short_caption, whereabouts
from .layout import lay_out
from .reading import Sights
from .scene import Scene, Thing
from .spec import Link, Spec, Wanted
from .vocabulary import PLACES

_SURE = 0.5
_MOST_ORDERS = 24
"""Orders of placing the things that are tried."""


def corrected_prompt(
    concepts: ConceptGraph,
    seen: Sights,
    name: str,
    wrong: Sequence[Check] = (),
    explicitness: Explicitness = "oracle",
) -> str:
    """The user's prompt and, after it, what is to change; it aims at a layout that moves as little as possible, and
    another one for an image of another ``name``. It speaks of the checks that are ``wrong``, the gravest first, and as
    ``oracle`` of all things."""
    spec, prompt = spec_of(concepts), concepts.prompt
    scene = least_moved(spec, seen, random.Random(derive_seed(0, prompt, name)))
    if scene is None:
        return prompt
    if explicitness == "oracle":
        place = spec.place or max(seen.places, key=lambda p: seen.places[p])
        return detailed_caption(prompt, Scene(place, scene.things))
    return corrected(
        prompt, dict.fromkeys(words for check in wrong for words in said(check, concepts, spec, scene, explicitness))
    )


def said(check: Check, concepts: ConceptGraph, spec: Spec, scene: Scene, explicitness: Explicitness) -> list[str]:
    """What a person says of a failed check, knowing a scene that would pass it."""
    if check.aspect == "scene":
        return [PLACES[scene.place].phrase]
    if check.aspect == "nothing_else":
        return ["nothing else"]
    ids = [entity.id for entity in concepts.entities]
    links = {interaction.id: link for interaction, link in zip(concepts.interactions, spec.links, strict=True)}
    about = str(check.about)
    indices = links[about].members if check.aspect == "relation" else (ids.index(about),)
    things = [scene.things[i] for i in indices]
    only = "only one" if check.aspect == "count" else "the"
    match explicitness:
        case "place":
            return [f"{only} {describe(thing)} {whereabouts(thing)}" for thing in things]
        case "pose" if len(things) > 1 or check.aspect == "presence":
            stacked = len({across(thing) for thing in things}) < len(things)
            return [f"the {describe(thing)} {height(thing) if stacked else across(thing)}" for thing in things]
        case _ if check.aspect == "relation":
            return [short_caption(Spec(spec.things, (links[about],)))]
        case _:
            return [f"{only} {describe(things[0])}"]


def least_moved(spec: Spec, seen: Sights, rng: random.Random) -> Scene | None:
    """Of one layout for each order of placing the things, the one that moves the fewest seen ones, and least.

    Things whose colour is free keep the one that is seen. A single order would not do: a missing rider that is placed
    first takes its bicycle along.
    """
    found = (seen.of(entity) for entity in entities_of(spec))
    stands = {i: some[0].thing for i, some in enumerate(found) if some and some[0].probability > _SURE}
    wanted = [
        Wanted(w.noun, w.colour or (stands[i].colour if i in stands else None)) for i, w in enumerate(spec.things)
    ]

    def moved(index: int, thing: Thing) -> int:
        """Cells between where a thing is seen and where it would stand."""
        now = stands.get(index, thing)
        return abs(now.x - thing.x) + abs(now.y - thing.y)

    def cost(scene: Scene) -> tuple[int, int]:
        moves = [moved(*placed) for placed in enumerate(scene.things)]
        return sum(m > 0 for m in moves), sum(moves)

    def laid_out(order: tuple[int, ...]) -> Scene | None:
        """A scene with the things of the spec in their own order, though placed in another."""
        place_of = {thing: place for place, thing in enumerate(order)}
        links = tuple(Link(link.relation, tuple(place_of[i] for i in link.members)) for link in spec.links)
        things = tuple(wanted[i] for i in order)
        scene = lay_out(Spec(things, links, spec.place), rng, lambda place, thing: moved(order[place], thing))
        return None if scene is None else Scene(scene.place, tuple(scene.things[place_of[i]] for i in sorted(order)))

    orders = list(itertools.permutations(range(len(spec.things))))
    layouts = map(laid_out, orders if len(orders) <= _MOST_ORDERS else rng.sample(orders, _MOST_ORDERS))
    return min((scene for scene in layouts if scene is not None), key=cost, default=None)
