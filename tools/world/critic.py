"""The critic of the embedded world: a network answers the checklist, and words correct the prompt."""

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
from .reading import Detections, settle
from .scene import Scene, Thing
from .spec import Link, Spec, Wanted
from .vocabulary import PLACES

if TYPE_CHECKING:
    from .detector import Detector

_ASPECTS = ("presence", "relation", "attribute", "count", "scene", "nothing_else")
"""The order of issues, the worst first."""
_SURE = 0.5
_MOST_ORDERS = 24
"""Orders of placing the things that are tried."""


class EmbeddedCritic:
    """Answers every check with a probability and corrects the prompt, as explicitly as it is asked to; as ``oracle`` it
    states a layout that passes every check."""

    def __init__(self, detector: "Detector", corrections: Explicitness = "oracle") -> None:
        self._detector = detector
        self.corrections: Explicitness = corrections
        self.model = detector.model + ("" if corrections == "oracle" else f" (corrections={corrections})")
        """Name and content hash, and the kind of corrections unless it is ``oracle``."""

    @classmethod
    def load(cls, folder: Path | None = None, corrections: Explicitness = "oracle") -> "EmbeddedCritic":
        """The critic inside the package, or of ``folder``; ``ModelError`` if its weights cannot be read."""
        from .detector import WEIGHTS, Detector

        return cls(Detector.load("critic", folder or WEIGHTS), corrections)

    def correcting(self, corrections: Explicitness) -> "EmbeddedCritic":
        """The same network with corrections of another kind."""
        return EmbeddedCritic(self._detector, corrections)

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """One verdict for each check; ``PromptError`` for concepts from outside the embedded world."""
        return await asyncio.to_thread(lambda: self.examine(store.picture(image.path), image.id, concepts))

    async def correct(
        self, image: ImageRecord, concepts: ConceptGraph, verdicts: tuple[Verdict, ...], store: Store
    ) -> str | None:
        """The corrected prompt for these verdicts on the image, even if they are wrong; None if all pass."""
        [seen] = await asyncio.to_thread(lambda: self._detector.detect([store.picture(image.path)]))
        return self._prompt(concepts, verdicts, seen, image.id)

    def examine(self, picture: Image.Image, name: str, concepts: ConceptGraph) -> Critique:
        """The critique of a picture that is in no store."""
        started = time.perf_counter()
        [seen] = self._detector.detect([picture])
        verdicts = settle(concepts, spec_of(concepts), seen)
        issues = (
            f"{c.question} {'No' if v.answer == 'fail' else 'Perhaps not'}: {v.evidence}"
            for c, v in _worst_first(concepts, verdicts)
        )
        likely = ("-" if v.probability is None else f"{v.probability:.3f}" for v in verdicts)
        exchange = Exchange(
            model=self.model,
            prompt="\n".join(check.question for check in concepts.checks),
            reply="\n".join(f"{v.answer} {p} {v.evidence}" for v, p in zip(verdicts, likely, strict=True)),
            seconds=time.perf_counter() - started,
        )
        prompt = self._prompt(concepts, verdicts, seen, name)
        return Critique(
            image=name, verdicts=verdicts, issues=tuple(issues), refined_prompt=prompt, exchanges=(exchange,)
        )

    def _prompt(self, concepts: ConceptGraph, verdicts: Iterable[Verdict], seen: Detections, name: str) -> str | None:
        wrong = [check for check, _ in _worst_first(concepts, verdicts)]
        return corrected_prompt(concepts, seen, name, wrong, self.corrections) if wrong else None


def _worst_first(concepts: ConceptGraph, verdicts: Iterable[Verdict]) -> list[tuple[Check, Verdict]]:
    """Each verdict that is not a pass, with its check."""
    wrong = [(concepts.check(v.check), v) for v in verdicts if v.answer != "pass"]
    return sorted(wrong, key=lambda pair: _ASPECTS.index(pair[0].aspect))


class EmbeddedJudge:
    """The independent judge: another architecture than the critic's, trained on other pictures."""

    def __init__(self) -> None:
        """Raises ``ModelError`` if its weights cannot be read."""
        from .detector import Detector

        self._detector = Detector.load("judge")
        self.model = self._detector.model

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """Verdicts without a correction; ``PromptError`` for concepts from outside the embedded world."""
        [seen] = await asyncio.to_thread(lambda: self._detector.detect([store.picture(image.path)]))
        return Critique(image=image.id, verdicts=settle(concepts, spec_of(concepts), seen))


def corrected_prompt(
    concepts: ConceptGraph,
    seen: Detections,
    name: str,
    wrong: Sequence[Check] = (),
    explicitness: Explicitness = "oracle",
) -> str:
    """The user's prompt, then what to change: about the checks that are ``wrong``, the worst first, or as ``oracle``
    about all things. It moves things as little as possible, and images of another ``name`` get another layout."""
    spec, prompt = spec_of(concepts), concepts.prompt
    scene = least_moved(spec, seen, random.Random(derive_seed(0, prompt, name)))
    if scene is None:
        return prompt
    if explicitness == "oracle":
        place = spec.place or max(seen.places, key=lambda p: seen.places[p])
        return detailed_caption(prompt, Scene(place, scene.things))
    changes = (phrase for check in wrong for phrase in correction(check, concepts, spec, scene, explicitness))
    return corrected(prompt, dict.fromkeys(changes))


def correction(check: Check, concepts: ConceptGraph, spec: Spec, scene: Scene, explicitness: Explicitness) -> list[str]:
    """Phrases that correct a failed check, given a scene that would pass it."""
    if check.aspect == "scene":
        return [PLACES[scene.place].phrase]
    if check.aspect == "nothing_else":
        return ["nothing else"]
    about = str(check.about)
    if check.aspect == "relation":
        link = spec.links[[interaction.id for interaction in concepts.interactions].index(about)]
        things = [scene.things[i] for i in link.members]
    else:
        link, things = None, [scene.things[[entity.id for entity in concepts.entities].index(about)]]
    only = "only one" if check.aspect == "count" else "the"
    if explicitness == "place":
        return [f"{only} {describe(thing)} {whereabouts(thing)}" for thing in things]
    if explicitness == "pose" and (link or check.aspect == "presence"):
        stacked = len({across(thing) for thing in things}) < len(things)
        return [f"the {describe(thing)} {height(thing) if stacked else across(thing)}" for thing in things]
    return [short_caption(Spec(spec.things, (link,))) if link else f"{only} {describe(things[0])}"]


def least_moved(spec: Spec, seen: Detections, rng: random.Random) -> Scene | None:
    """Of one layout for each order of placing the things, the one that moves the fewest of those seen, and least.

    Things whose colour is free keep the colour that is seen. One order would not do: a missing rider that is placed
    first would move its bicycle.
    """
    detections = (seen.of(entity) for entity in entities_of(spec))
    now = {i: some[0].thing for i, some in enumerate(detections) if some and some[0].probability > _SURE}
    wanted = [Wanted(w.noun, w.colour or (now[i].colour if i in now else None)) for i, w in enumerate(spec.things)]

    def moved(index: int, thing: Thing) -> int:
        """Cells between where a thing is seen and where it would stand."""
        before = now.get(index, thing)
        return abs(before.x - thing.x) + abs(before.y - thing.y)

    def cost(scene: Scene) -> tuple[int, int]:
        moves = [moved(index, thing) for index, thing in enumerate(scene.things)]
        return sum(m > 0 for m in moves), sum(moves)

    def placed_in(order: tuple[int, ...]) -> Scene | None:
        """A scene whose things are placed in this order, and listed in that of the spec."""
        place_of = {thing: place for place, thing in enumerate(order)}
        links = tuple(Link(link.relation, tuple(place_of[i] for i in link.members)) for link in spec.links)
        things = tuple(wanted[i] for i in order)
        scene = lay_out(Spec(things, links, spec.place), rng, lambda place, thing: moved(order[place], thing))
        return None if scene is None else Scene(scene.place, tuple(scene.things[place_of[i]] for i in sorted(order)))

    orders = list(itertools.permutations(range(len(spec.things))))
    layouts = map(placed_in, orders if len(orders) <= _MOST_ORDERS else rng.sample(orders, _MOST_ORDERS))
    return min((scene for scene in layouts if scene is not None), key=cost, default=None)
