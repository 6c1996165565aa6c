"""The critic of the embedded world: a network's answers to the checklist, and the corrected prompt."""

import asyncio
import itertools
import random
import time
from pathlib import Path

from PIL import Image

from ...state import ConceptGraph, Critique, Exchange, ImageRecord, Verdict, derive_seed
from ..files import Store
from .decomposer import spec_of
from .eyes import Eyes
from .language import detailed_caption
from .layout import lay_out
from .reading import Sights, settle
from .scene import Scene, Thing
from .spec import Link, Spec, Wanted

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
        return await asyncio.to_thread(lambda: self.examine(store.picture(image.path), image.id, concepts))

    async def correct(
        self, image: ImageRecord, concepts: ConceptGraph, verdicts: tuple[Verdict, ...], store: Store
    ) -> str | None:
        """The corrected prompt as if ``verdicts`` were its own."""
        if all(v.answer == "pass" for v in verdicts):
            return None
        [seen] = await asyncio.to_thread(lambda: self._eyes.look([store.picture(image.path)]))
        return corrected_prompt(concepts, spec_of(concepts), seen, image.id)

    def examine(self, picture: Image.Image, name: str, concepts: ConceptGraph) -> Critique:
        """The critique of a picture that no store holds."""
        started = time.perf_counter()
        spec = spec_of(concepts)
        [seen] = self._eyes.look([picture])
        verdicts = settle(concepts, spec, seen)
        wrong = [(concepts.check(v.check), v) for v in verdicts if v.answer != "pass"]
        wrong.sort(key=lambda pair: _WEIGHT[pair[0].aspect])
        issues = (f"{c.question} {'No' if v.answer == 'fail' else 'Perhaps not'}: {v.evidence}" for c, v in wrong)
        likely = ("-" if v.probability is None else f"{v.probability:.3f}" for v in verdicts)
        exchange = Exchange(
            model=self.model,
            prompt="\n".join(check.question for check in concepts.checks),
            reply="\n".join(f"{v.answer} {p} {v.evidence}" for v, p in zip(verdicts, likely, strict=True)),
            seconds=time.perf_counter() - started,
        )
        return Critique(
            image=name,
            verdicts=verdicts,
            issues=tuple(issues),
            refined_prompt=corrected_prompt(concepts, spec, seen, name) if wrong else None,
            exchanges=(exchange,),
        )


class EmbeddedJudge:
    """The independent judge: a network of another kind, trained on other pictures, than the critic's."""

    def __init__(self) -> None:
        """Raises ``ModelError`` if its weights cannot be read."""
        self._eyes = Eyes.load("judge")

    @property
    def model(self) -> str:
        """Name and content hash."""
        return self._eyes.model

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """Verdicts alone: a judge corrects nothing; ``PromptError`` for concepts from outside the embedded world."""
        [seen] = await asyncio.to_thread(lambda: self._eyes.look([store.picture(image.path)]))
        return Critique(image=image.id, verdicts=settle(concepts, spec_of(concepts), seen))


def corrected_prompt(concepts: ConceptGraph, spec: Spec, seen: Sights, name: str) -> str:
    """The user's prompt and, after it, a layout that fulfils it and moves as little as possible."""
    stands = {noun: found[0].thing for noun, found in seen.things.items() if found and found[0].probability > _SURE}
    seen_colours = {noun: thing.colour for noun, thing in stands.items()}
    things = tuple(Wanted(w.noun, w.colour or seen_colours.get(w.noun)) for w in spec.things)
    rng = random.Random(derive_seed(0, concepts.prompt, name))
    scene = _least_moved(Spec(things, spec.links, spec.place), stands, rng)
    if scene is None:
        return concepts.prompt
    place = spec.place or max(seen.places, key=lambda p: seen.places[p])
    return detailed_caption(concepts.prompt, Scene(place, scene.things))


def _least_moved(spec: Spec, stands: dict[str, Thing], rng: random.Random) -> Scene | None:
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

    layouts = map(laid_out, itertools.permutations(range(len(spec.things))))
    return min((scene for scene in layouts if scene is not None), key=cost, default=None)
