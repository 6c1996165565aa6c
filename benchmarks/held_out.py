"""Prompts that were not used in training, and scenes with planted errors."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from detailscribe.tools.world.language import detailed_caption, short_caption
from detailscribe.tools.world.layout import laid_out_specs
from detailscribe.tools.world.relations import overlap
from detailscribe.tools.world.scene import Scene, Thing
from detailscribe.tools.world.spec import Spec
from detailscribe.tools.world.vocabulary import COLOURS, GRID, NOUNS, PLACES
from training.planted import plant


@dataclass(frozen=True)
class Prompt:
    """A held-out prompt at both levels of detail."""

    spec: Spec
    short: str
    detailed: str
    """The short prompt with a layout that satisfies it."""
    unseen: bool
    """Whether it combines a relation with things that never appeared together with it in training."""


def held_out_prompts(count: int, seed: int = 2026, complexity: int | None = None) -> list[Prompt]:
    """Distinct prompts, every second one with an unseen combination."""
    found = dict[str, Prompt]()

    def wanted(spec: Spec) -> bool:
        return spec.held_out and spec.unseen == (len(found) % 2 == 1)

    for spec, scene in laid_out_specs(random.Random(seed), wanted, complexity):
        short = short_caption(spec)
        found.setdefault(short, Prompt(spec, short, detailed_caption(short, scene), spec.unseen))
        if len(found) == count:
            break
    return list(found.values())


@dataclass(frozen=True)
class Exam:
    """An image for a spec, and what it really contains."""

    spec: Spec
    picture: Image.Image
    scene: Scene
    strange: bool
    """Whether the image contains a fragment of a thing."""


def exams(count: int, seed: int = 77, complexity: int | None = None) -> list[Exam]:
    """Held-out scenes, two thirds of which deviate from their spec."""
    rng, made = random.Random(seed), list[Exam]()
    for spec, scene in laid_out_specs(rng, lambda spec: spec.held_out, complexity):
        error = rng.choice(_ERRORS)
        planted = plant(error(scene, rng), rng, fragments=rng.choice((0, 0, 0, 2)))
        made.append(Exam(spec, planted.picture, planted.scene, bool(planted.strange)))
        if len(made) == count:
            break
    return made


def _none(scene: Scene, rng: random.Random) -> Scene:
    return scene


def _remove(scene: Scene, rng: random.Random) -> Scene:
    gone = rng.choice(scene.things)
    return replace(scene, things=tuple(t for t in scene.things if t is not gone))


def _recolour(scene: Scene, rng: random.Random) -> Scene:
    def other(thing: Thing) -> Thing:
        if thing.colour is None:
            return thing
        return replace(thing, colour=rng.choice([c for c in COLOURS if c != thing.colour]))

    return replace(scene, things=tuple(other(t) for t in scene.things))


def _swap(scene: Scene, rng: random.Random) -> Scene:
    """One thing replaced by another of the same size."""
    old = rng.choice(scene.things)
    kind = NOUNS[old.noun]
    there = {t.noun for t in scene.things}
    same = [n for n in NOUNS.values() if n.name not in there and (n.width, n.height) == (kind.width, kind.height)]
    if not same:
        return scene
    new = rng.choice(same)
    colour = rng.choice(list(COLOURS)) if new.coloured else None
    return replace(scene, things=tuple(Thing(new.name, colour, t.x, t.y) if t is old else t for t in scene.things))


def _move(scene: Scene, rng: random.Random) -> Scene:
    return _elsewhere(scene, rng, keep=False)


def _duplicate(scene: Scene, rng: random.Random) -> Scene:
    return _elsewhere(scene, rng, keep=True)


def _elsewhere(scene: Scene, rng: random.Random, keep: bool) -> Scene:
    """One thing moved to a place where it hides nothing; with ``keep``, the old one stays too."""
    old = rng.choice(scene.things)
    rest = tuple(t for t in scene.things if keep or t is not old)
    spots = [replace(old, x=x, y=y) for x in range(GRID - old.width + 1) for y in range(GRID - old.height + 1)]
    free = [s for s in spots if s != old and not any(overlap(s, t) for t in rest)]
    return replace(scene, things=(*rest, rng.choice(free))) if free else scene


def _other_place(scene: Scene, rng: random.Random) -> Scene:
    return replace(scene, place=rng.choice([p for p in PLACES if p != scene.place]))


_ERRORS: tuple[Callable[[Scene, random.Random], Scene], ...] = (
    _none,
    _none,
    _none,
    _remove,
    _recolour,
    _swap,
    _move,
    _duplicate,
    _other_place,
)
