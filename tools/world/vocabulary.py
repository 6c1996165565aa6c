"""The closed vocabulary of the embedded world: its things, colours, places and relations."""

from dataclasses import dataclass
from typing import Literal

from ...state import InteractionKind

CELL = 24
"""Side of a grid cell in pixels."""
GRID = 6
"""Cells along a side of the picture."""
SIZE = CELL * GRID
"""Side of the picture in pixels."""

Group = Literal["animal", "vehicle", "container", "building", "holdable", "plant"]
"""What a thing can do: animals act; vehicles are ridden; containers hold; holdables are held."""


@dataclass(frozen=True)
class Noun:
    """A kind of thing; its box has a fixed size."""

    name: str
    group: Group
    width: int
    """Cells."""
    height: int
    """Cells."""

    @property
    def coloured(self) -> bool:
        """Whether it comes in every colour; the others have a natural one."""
        return self.group not in ("animal", "plant")


_ANIMALS = ("fox", "bear", "cat", "dog", "panda", "rabbit", "frog", "pig")

NOUNS: dict[str, Noun] = {
    noun.name: noun
    for noun in (
        *(Noun(name, "animal", 2, 3) for name in _ANIMALS),
        Noun("car", "vehicle", 2, 2),
        Noun("bicycle", "vehicle", 2, 2),
        Noun("boat", "vehicle", 2, 2),
        Noun("box", "container", 2, 2),
        Noun("basket", "container", 2, 2),
        Noun("house", "building", 2, 2),
        Noun("balloon", "holdable", 1, 2),
        Noun("umbrella", "holdable", 1, 2),
        Noun("flag", "holdable", 1, 2),
        Noun("cup", "holdable", 1, 2),
        Noun("ball", "holdable", 1, 2),
        Noun("tree", "plant", 2, 3),
    )
}
"""By name, in a fixed order that the critics' output follows."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (228, 52, 58),
    "blue": (48, 110, 232),
    "green": (40, 172, 84),
    "yellow": (250, 200, 38),
    "purple": (148, 82, 206),
}
"""RGB by name, in a fixed order that the critics' output follows."""

PLACES: dict[str, str] = {
    "meadow": "in the meadow",
    "beach": "on the beach",
    "snow": "in the snow",
    "night": "at night",
}
"""The phrase that names a backdrop, by backdrop."""

RELATIONS: dict[str, InteractionKind] = {
    "left of": "spatial",
    "right of": "spatial",
    "next to": "spatial",
    "on top of": "spatial",
    "under": "spatial",
    "inside": "spatial",
    "in a row": "spatial",
    "holding": "functional",
    "riding": "functional",
    "pushing": "contact",
    "lifting": "multi_subject",
    "sharing": "multi_subject",
}
"""Kind by relation. ``lifting`` and ``sharing`` have two subjects, ``in a row`` three and no object."""
