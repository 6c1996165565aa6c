"""An image editor for the embedded world: not a trained model, but a program that errs at a set rate."""

import random
import re

from PIL import Image

from ...state import derive_seed
from ..errors import PromptError, SettingsError
from .critic import least_moved
from .detector import Detector
from .grammar import parse
from .scene import Scene, Thing, render
from .spec import Spec
from .vocabulary import CELL, COLOURS, GRID, NOUNS, PLACES

_SURE = 0.5


class EmbeddedPainter:
    """Edits pictures of the embedded world, so that policies over edits can be studied; it is no trained model.

    It detects things with the critic's network, and moves, adds, removes and recolours those that the instruction
    names, as little as possible. Each change goes wrong at the rate ``mistakes``, from 0 to 1: it is left out, takes
    another colour or place, or removes another thing.
    """

    def __init__(self, mistakes: float = 0.1) -> None:
        if not 0 <= mistakes <= 1:
            raise SettingsError(f"mistakes is a rate from 0 to 1, not {mistakes}")
        self.mistakes = mistakes
        self.model = f"embedded-painter (no trained model, mistakes={mistakes:g})"

    def __call__(self, picture: Image.Image, instruction: str, seed: int) -> Image.Image:
        """The edited picture, the same for the same picture, instruction and seed. ``PromptError`` if the instruction
        holds no prompt of the embedded world, or one that no picture can show."""
        [seen] = Detector.load("critic").detect([picture])
        spec, asked = _read(instruction)
        rng = random.Random(derive_seed(seed, "edit", instruction))
        now = {noun: [s.thing for s in some if s.probability > _SURE] for noun, some in seen.things.items()}
        target = least_moved(spec, seen, rng)
        if target is None:
            raise PromptError("no picture of the embedded world can show what the instruction asks for")
        place = max(seen.places, key=lambda name: seen.places[name])
        changed = list[Thing]()
        for noun in sorted(asked & NOUNS.keys()):
            goal = [thing for thing in target.things if thing.noun == noun]
            if now[noun] != goal:
                for name, then in self._change(noun, goal, now, rng).items():
                    changed += [*now[name], *then]
                    now[name] = then
        backdrop = spec.place if spec.place and PLACES.keys() & asked else place
        whole = render(Scene(backdrop, tuple(thing for some in now.values() for thing in some)))
        after = whole if backdrop != place else picture.copy()
        for thing in changed:
            box = (thing.x * CELL, thing.y * CELL, thing.right * CELL, thing.bottom * CELL)
            after.paste(whole.crop(box), box)
        return after

    def _change(
        self, noun: str, goal: list[Thing], now: dict[str, list[Thing]], rng: random.Random
    ) -> dict[str, list[Thing]]:
        """The things after one change, by noun, as far as they change; by mistake others than the goal."""
        mistake = rng.choice(("omit", "colour", "place", "loss")) if rng.random() < self.mistakes else None
        others = [other for other, things in now.items() if things and other != noun]
        match mistake:
            case "colour" if goal and NOUNS[noun].coloured:
                return {
                    noun: [Thing(t.noun, rng.choice([c for c in COLOURS if c != t.colour]), t.x, t.y) for t in goal]
                }
            case "place" if goal:
                return {noun: [Thing(t.noun, t.colour, rng.randrange(GRID - t.width + 1), t.y) for t in goal]}
            case "loss" if others:
                return {noun: goal, rng.choice(others): []}
            case None:
                return {noun: goal}
            case _:
                return {}


def _read(instruction: str) -> tuple[Spec, set[str]]:
    """The first sentence that is a prompt of the embedded world, and the words of what to correct."""
    for sentence in re.split(r"[\n:]|(?<=\.)\s", instruction):
        try:
            spec = parse(sentence.strip())
        except PromptError:
            continue
        mend = instruction.partition("To mend")[2].partition("To keep")[0] or instruction
        places = {name for name, place in PLACES.items() if place.phrase in mend}
        return spec, {*re.findall(r"[a-z]+", mend.lower())} | places
    raise PromptError("the instruction holds no prompt of the embedded world, and its painter reads no other")
