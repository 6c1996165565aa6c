"""Scenes with exact ground truth, and how they are drawn."""

from dataclasses import dataclass

from PIL import Image

from .sprites import backdrop, sprite
from .vocabulary import CELL, NOUNS

_DEPTH = {"building": 0, "plant": 0, "animal": 1, "vehicle": 2, "container": 2, "holdable": 3}
"""Far to near: a vehicle hides its rider's feet, a container its guest's body."""


@dataclass(frozen=True)
class Thing:
    """A thing at its place; the box is in cells, y downwards."""

    noun: str
    colour: str | None
    """None for things of a natural colour."""
    x: int
    """Left edge."""
    y: int
    """Upper edge."""

    @property
    def width(self) -> int:
        return NOUNS[self.noun].width

    @property
    def height(self) -> int:
        return NOUNS[self.noun].height

    @property
    def right(self) -> int:
        """One past the last column."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """One past the last row."""
        return self.y + self.height


@dataclass(frozen=True)
class Scene:
    """A place and the things in it."""

    place: str
    things: tuple[Thing, ...]


def render(scene: Scene) -> Image.Image:
    """The scene as an RGB picture of ``SIZE`` x ``SIZE`` pixels."""
    picture = backdrop(scene.place).copy()
    for thing in sorted(scene.things, key=lambda t: _DEPTH[NOUNS[t.noun].group]):
        image = sprite(thing.noun, thing.colour)
        picture.paste(image, (thing.x * CELL, thing.y * CELL), image)
    return picture
