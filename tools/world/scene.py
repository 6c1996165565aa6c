"""Scenes with exact ground truth, rendered from the sprites that ``training/sprites.py`` of the repository drew."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from PIL import Image

from ...state import Box
from .vocabulary import CELL, COLOURS, GRID, NOUNS, PLACES, SIZE

_ASSETS = Path(__file__).parent / "assets"
SPRITE_WIDTH, SPRITE_HEIGHT = 2 * CELL, 3 * CELL
"""Pixels of a sprite in ``things.png``, which has a row for each noun and a column for each colour."""
_DEPTH = {"building": 0, "plant": 0, "animal": 1, "vehicle": 2, "container": 2, "holdable": 3, "wearable": 3}
"""Far to near: a vehicle hides its rider's feet, a container hides who is inside."""


@dataclass(frozen=True)
class Thing:
    """A thing at its position in the grid, y downwards."""

    noun: str
    colour: str | None
    """None for things of a natural colour."""
    x: int
    """First column."""
    y: int
    """First row."""

    @cached_property
    def width(self) -> int:
        return NOUNS[self.noun].width

    @cached_property
    def height(self) -> int:
        return NOUNS[self.noun].height

    @cached_property
    def right(self) -> int:
        """One past the last column."""
        return self.x + self.width

    @cached_property
    def bottom(self) -> int:
        """One past the last row."""
        return self.y + self.height

    @cached_property
    def cells(self) -> int:
        """The cells of its box, one bit each, row by row."""
        return sum(1 << y * GRID + x for y in range(self.y, self.bottom) for x in range(self.x, self.right))

    @property
    def box(self) -> Box:
        """Its box relative to the picture's size."""
        return self.x / GRID, self.y / GRID, self.right / GRID, self.bottom / GRID


@dataclass(frozen=True)
class Scene:
    """A place, by name, and the things in it."""

    place: str
    things: tuple[Thing, ...]


def far_to_near(things: Iterable[Thing]) -> list[Thing]:
    """The order of drawing, so that near things hide far ones; of one depth, what stands lower is nearer."""
    return sorted(things, key=lambda thing: (_DEPTH[NOUNS[thing.noun].group], thing.bottom))


def render(scene: Scene) -> Image.Image:
    """The scene, RGB, ``SIZE`` x ``SIZE`` pixels."""
    left = SIZE * list(PLACES).index(scene.place)
    picture = _sheet("places").crop((left, 0, left + SIZE, SIZE))
    for thing in far_to_near(scene.things):
        image = sprite(thing.noun, thing.colour)
        picture.paste(image, (thing.x * CELL, thing.y * CELL), image)
    return picture


def sprite(noun: str, colour: str | None) -> Image.Image:
    """The picture of a thing, RGBA, as large as its box."""
    left = 0 if colour is None else SPRITE_WIDTH * list(COLOURS).index(colour)
    top = SPRITE_HEIGHT * list(NOUNS).index(noun)
    return _sheet("things").crop((left, top, left + NOUNS[noun].width * CELL, top + NOUNS[noun].height * CELL))


@cache
def _sheet(name: str) -> Image.Image:
    with Image.open(_ASSETS / f"{name}.png") as picture:
        return picture.copy()
