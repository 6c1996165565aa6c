"""The critic of the embedded world: a network's answers to the checklist, and the corrected prompt."""

import asyncio
import itertools
import random
import time
from pathlib import Path

from PIL import Image

from ...state import ConceptGraph, Critique, Exchange, ImageRecord, Verdict, derive_seed
from ..store import Store
from .captions import detailed_caption
from .decomposer import spec_of
from .eyes import Eyes, read_picture
from .layout import lay_out
from .reading import Sights
from .scene import Scene, Thing
from .spec import Link, Spec, Wanted
from .verdicts import settle

_SURE = 0.5
_WEIGHT = {"presence": 0, "relation": 1, "attribute": 2, "count": 3, "scene": 4, "nothing_else": 5}
"""Rank of issues by aspect, the worst first."""


class EmbeddedCritic:
    """Answers every check with a probability and states a layout that would pass them all."""

    def __init__(self, eyes: Eyes) -> None:
        self._eyes = eyes

    @classmethod
    def load(cls, folder: Path | None = None) -> "EmbeddedCritic":
        """The critic inside the package, or of ``folder``; ``ModelError`` if its weights cannot be read."""
        return cls(Eyes.load("critic", folder))

    @property
    def model(self) -> str:
        """Name and content hash."""
        return self._eyes.model

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """One verdict for each check; ``PromptError`` for concepts from outside the embedded world."""
        picture = await asyncio.to_thread(read_picture, store, image)
        return await asyncio.to_thread(self.examine, picture, image.id, concepts)

    def examine(self, picture: Image.Image, name: str, concepts: ConceptGraph) -> Critique:
        """The critique of a picture that no store holds."""
        started = time.perf_counter()
        spec = spec_of(concepts)
        [seen] = self._eyes.look([picture])
        verdicts = settle(concepts, spec, seen)
        wrong = [v for v in verdicts if v.answer != "pass"]
        wrong.sort(key=lambda verdict: _WEIGHT[concepts.check(verdict.check).aspect])
        return Critique(
            image=name,
            verdicts=verdicts,
            issues=tuple(_issue(concepts.check(v.check).question, v) for v in wrong),
            refined_prompt=corrected_prompt(concepts, spec, seen, name) if wrong else None,
            exchanges=(
                Exchange(
                    model=self.model,
                    prompt="\n".join(check.question for check in concepts.checks),
                    reply="\n".join(_reply(v) for v in verdicts),
                    seconds=time.perf_counter() - started,
                ),
            ),
        )


def _issue(question: str, verdict: Verdict) -> str:
    return f"{question} {'No' if verdict.answer == 'fail' else 'Perhaps not'}: {verdict.evidence}"


def _reply(verdict: Verdict) -> str:
    """A verdict in one line; those that were settled without being asked have no probability."""
    likely = "-" if verdict.probability is None else f"{verdict.probability:.3f}"
    return f"{verdict.answer} {likely} {verdict.evidence}"


def corrected_prompt(concepts: ConceptGraph, spec: Spec, seen: Sights, name: str) -> str:
    """The user's prompt and, after it, a layout that fulfils it and moves as little as possible."""
    stands = {noun: found[0].thing for noun, found in seen.things.items() if found and found[0].probability > _SURE}
    rng = random.Random(derive_seed(0, concepts.prompt, name))
    scene = _least_moved(_with_seen_colours(spec, stands), stands, rng)
    if scene is None:
        return concepts.prompt
    place = spec.place or max(seen.places, key=lambda p: seen.places[p])
    return detailed_caption(concepts.prompt.rstrip(" .,;:!?"), Scene(place, scene.things))


def _with_seen_colours(spec: Spec, stands: dict[str, Thing]) -> Spec:
    """Colours that the prompt leaves open, as they are in the picture."""
    things = tuple(
        Wanted(w.noun, w.colour or (stands[w.noun].colour if w.noun in stands else None)) for w in spec.things
    )
    return Spec(things, spec.links, spec.place)


def _least_moved(spec: Spec, stands: dict[str, Thing], rng: random.Random) -> Scene | None:
    """Of one layout for each order of placing the things, the one that moves the fewest seen ones, and least.

    A single order would not do: a missing rider that is placed first takes its bicycle along.
    """

    def cost(scene: Scene) -> tuple[int, float]:
        moves = [_moved(stands.get(thing.noun), thing) for thing in scene.things]
        return sum(m > 0 for m in moves), sum(moves)

    orders = itertools.permutations(range(len(spec.things)))
    layouts = (_lay_out_in(order, spec, stands, rng) for order in orders)
    return min((scene for scene in layouts if scene is not None), key=cost, default=None)


def _lay_out_in(order: tuple[int, ...], spec: Spec, stands: dict[str, Thing], rng: random.Random) -> Scene | None:
    """A scene with the things of the spec in their own order, though placed in another."""
    things = tuple(spec.things[i] for i in order)
    links = tuple(Link(link.relation, tuple(order.index(i) for i in link.members)) for link in spec.links)
    scene = lay_out(Spec(things, links, spec.place), rng, lambda i, thing: _moved(stands.get(things[i].noun), thing))
    return None if scene is None else Scene(scene.place, tuple(scene.things[order.index(i)] for i in range(len(order))))


def _moved(seen: Thing | None, thing: Thing) -> float:
    """Cells between where a thing is seen and where it would stand."""
    return 0.0 if seen is None else abs(seen.x - thing.x) + abs(seen.y - thing.y)
