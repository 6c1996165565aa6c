"""The critic of the embedded world: a network's answers to the checklist, and the corrected prompt."""

import asyncio
import itertools
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ...state import Check, ConceptGraph, Critique, Exchange, ImageRecord, Verdict, derive_seed
from ..files import Store
from ..roles import Explicitness
from .decomposer import entities_of, spec_of
from .language import across, corrected, describe, detailed_caption, height, short_caption, whereabouts
from .layout import lay_out
from .reading import Sights, settle
from .scene import Scene, Thing
from .spec import Link, Spec, Wanted
from .vocabulary import PLACES

if TYPE_CHECKING:
    from .eyes import Eyes

_WEIGHT = {"presence": 0, "relation": 1, "attribute": 2, "count": 3, "scene": 4, "nothing_else": 5}
"""Rank of issues by aspect, the worst first."""
_SURE = 0.5
_MOST_ORDERS = 24
"""Orders of placing the things that are tried."""


class EmbeddedCritic:
    """Answers every check with a probability and words a correction, as explicit as it is asked to be; as ``oracle`` it
    states a layout that passes every check."""

    def __init__(self, eyes: "Eyes", corrections: Explicitness = "oracle") -> None:
        self._eyes = eyes
        self.corrections: Explicitness = corrections
        self.model = eyes.model + ("" if corrections == "oracle" else f" (corrections={corrections})")
        """Name and content hash, and how it corrects where that is not ``oracle``."""

    @classmethod
    def load(cls, folder: Path | None = None, corrections: Explicitness = "oracle") -> "EmbeddedCritic":
        """The critic inside the package, or of ``folder``; ``ModelError`` if its weights cannot be read."""
        from .eyes import WEIGHTS, Eyes

        return cls(Eyes.load("critic", folder or WEIGHTS), corrections)

    def correcting(self, corrections: Explicitness) -> "EmbeddedCritic":
        """The same eyes, with other words."""
        return EmbeddedCritic(self._eyes, corrections)

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """One verdict for each check; ``PromptError`` for concepts from outside the embedded world."""
        return await asyncio.to_thread(lambda: self.examine(store.picture(image.path), image.id, concepts))

    async def correct(
        self, image: ImageRecord, concepts: ConceptGraph, verdicts: tuple[Verdict, ...], store: Store
    ) -> str | None:
        """The corrected prompt that these verdicts on the image call for, be they true or not; None if all pass."""
        [seen] = await asyncio.to_thread(lambda: self._eyes.look([store.picture(image.path)]))
        return self._corrected(concepts, verdicts, seen, image.id)

    def examine(self, picture: Image.Image, name: str, concepts: ConceptGraph) -> Critique:
        """The critique of a picture that no store holds."""
        started = time.perf_counter()
        [seen] = self._eyes.look([picture])
        verdicts = settle(concepts, spec_of(concepts), seen)
        issues = (
            f"{c.question} {'No' if v.answer == 'fail' else 'Perhaps not'}: {v.evidence}"
            for c, v in _gravest_first(concepts, verdicts)
        )
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
            refined_prompt=self._corrected(concepts, verdicts, seen, name),
            exchanges=(exchange,),
        )

    def _corrected(self, concepts: ConceptGraph, verdicts: Iterable[Verdict], seen: Sights, name: str) -> str | None:
        wrong = [check for check, verdict in _gravest_first(concepts, verdicts) if verdict.settled_by is None]
        return corrected_prompt(concepts, seen, name, wrong, self.corrections) if wrong else None


def _gravest_first(concepts: ConceptGraph, verdicts: Iterable[Verdict]) -> list[tuple[Check, Verdict]]:
    """The verdicts that are no pass, each with its check."""
    wrong = [(concepts.check(v.check), v) for v in verdicts if v.answer != "pass"]
    return sorted(wrong, key=lambda pair: _WEIGHT[pair[0].aspect])


class EmbeddedJudge:
    """The independent judge: a network of another kind, trained on other pictures, than the critic's."""

    def __init__(self) -> None:
        """Raises ``ModelError`` if its weights cannot be read."""
        from .eyes import Eyes

        self._eyes = Eyes.load("judge")
        self.model = self._eyes.model

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """Verdicts alone: a judge corrects nothing; ``PromptError`` for concepts from outside the embedded world."""
        [seen] = await asyncio.to_thread(lambda: self._eyes.look([store.picture(image.path)]))
        return Critique(image=image.id, verdicts=settle(concepts, spec_of(concepts), seen))


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
