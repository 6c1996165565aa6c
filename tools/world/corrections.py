"""What the embedded critic asks for next: the user's prompt and, after it, a correction as explicit as is wanted."""

import itertools
import random
from collections.abc import Sequence

from ...state import Check, ConceptGraph, derive_seed
from ..roles import Explicitness
from .decomposer import spec_of
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
    """The user's prompt and, after it, what is to change; it aims at a layout that moves as little as possible.

    Args:
        concepts: Of the prompt.
        seen: What is in the picture.
        name: Of the image; others may get another layout.
        wrong: The checks to speak of, the gravest first; ``oracle`` speaks of all things.
        explicitness: How much is said.
    """
    spec, prompt = spec_of(concepts), concepts.prompt
    stands = {noun: found[0].thing for noun, found in seen.things.items() if found and found[0].probability > _SURE}
    seen_colours = {noun: thing.colour for noun, thing in stands.items()}
    things = tuple(Wanted(w.noun, w.colour or seen_colours.get(w.noun)) for w in spec.things)
    rng = random.Random(derive_seed(0, prompt, name))
    scene = least_moved(Spec(things, spec.links, spec.place), stands, rng)
    if scene is None:
        return prompt
    if explicitness == "oracle":
        place = spec.place or max(seen.places, key=lambda p: seen.places[p])
        return detailed_caption(prompt, Scene(place, scene.things))
    return corrected(
        prompt, dict.fromkeys(said for check in wrong for said in _said(check, concepts, spec, scene, explicitness))
    )


def _said(check: Check, concepts: ConceptGraph, spec: Spec, scene: Scene, explicitness: Explicitness) -> list[str]:
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


def least_moved(spec: Spec, stands: dict[str, Thing], rng: random.Random) -> Scene | None:
    """Of one layout for each order of placing the things, the one that moves the fewest seen ones, and least.

    A single order would not do: a missing rider that is placed first takes its bicycle along.
    """

    def moved(thing: Thing) -> int:
        """Cells between where a thing is seen and where it would stand."""
        seen = stands.get(thing.noun, thing)
        return abs(seen.x - thing.x) + abs(seen.y - thing.y)

    def cost(scene: Scene) -> tuple[int, int]:
        moves = [moved(thing) for thing in scene.things]
        return sum(m > 0 for m in moves), sum(moves)

    def laid_out(order: tuple[int, ...]) -> Scene | None:
        """A scene with the things of the spec in their own order, though placed in another."""
        place_of = {thing: place for place, thing in enumerate(order)}
        links = tuple(Link(link.relation, tuple(place_of[i] for i in link.members)) for link in spec.links)
        things = tuple(spec.things[i] for i in order)
        scene = lay_out(Spec(things, links, spec.place), rng, lambda _, thing: moved(thing))
        return None if scene is None else Scene(scene.place, tuple(scene.things[place_of[i]] for i in sorted(order)))

    orders = list(itertools.permutations(range(len(spec.things))))
    layouts = map(laid_out, orders if len(orders) <= _MOST_ORDERS else rng.sample(orders, _MOST_ORDERS))
    return min((scene for scene in layouts if scene is not None), key=cost, default=None)
