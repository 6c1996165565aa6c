"""Small worlds in few words: things by name and place, scenes by seed, and a detector that never errs."""

import random
from dataclasses import dataclass
from pathlib import Path

from hypothesis import assume, strategies

from detailscribe.state import ConceptGraph
from detailscribe.tools.world.decomposer import concepts_of
from detailscribe.tools.world.layout import lay_out
from detailscribe.tools.world.reading import exact_detections, settle
from detailscribe.tools.world.scene import Scene, Thing
from detailscribe.tools.world.spec import Link, Spec, Wanted, random_spec
from detailscribe.tools.world.vocabulary import GRID, NOUNS

ROOT = Path(__file__).parents[2]
"""The checkout."""
SEEDS = strategies.integers(0, 2**32 - 1)


def thing(name: str, x: int, bottom: int = GRID) -> Thing:
    """``thing("red car", 2)`` is a red car on the ground with its left edge at column 2."""
    *colour, noun = name.split()
    return Thing(noun, colour[0] if colour else None, x, bottom - NOUNS[noun].height)


def wanted(*names: str) -> tuple[Wanted, ...]:
    """``wanted("fox", "red car")``."""
    return tuple(Wanted(name.split()[-1], name.split()[0] if " " in name else None) for name in names)


def spec(names: str, *links: tuple[str, tuple[int, ...]], place: str | None = None) -> Spec:
    """``spec("fox, red car", ("riding", (0, 1)))``."""
    return Spec(wanted(*names.split(", ")), tuple(Link(*link) for link in links), place)


def spec_and_scene(seed: int) -> tuple[Spec, Scene]:
    """A made-up spec of some complexity and a scene that fulfils it; hypothesis draws again where there is none."""
    rng = random.Random(seed)
    made = random_spec(rng, (None, 1, 2, 3, 4)[seed % 5])
    scene = lay_out(made, rng)
    assume(scene is not None)
    return made, scene


def answers(made: Spec, scene: Scene, strange: bool = False) -> dict[str, str]:
    """Answer by check id of a detector that never errs."""
    concepts = concepts_of(made, "a prompt")
    return {v.check: v.answer for v in settle(concepts, made, exact_detections(scene, strange))}


def failed_aspects(made: Spec, scene: Scene, strange: bool = False) -> set[str]:
    concepts: ConceptGraph = concepts_of(made, "a prompt")
    return {concepts.check(id).aspect for id, answer in answers(made, scene, strange).items() if answer == "fail"}


@dataclass
class ExactDetector:
    """Sees a scene whatever picture it is shown."""

    scene: Scene
    strange: bool = False
    model: str = "exact@0"

    def detect(self, pictures):
        return [exact_detections(self.scene, self.strange) for _ in pictures]
