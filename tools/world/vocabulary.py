"""The things, colours and places of the embedded world, and their spellings in prompts."""

from dataclasses import dataclass
from typing import Literal

CELL = 24
"""Side of a grid cell in pixels."""
GRID = 6
"""Cells along a side of the picture."""
SIZE = CELL * GRID
"""Side of the picture in pixels."""

Group = Literal["animal", "vehicle", "container", "building", "holdable", "plant", "wearable"]
"""Animals act; vehicles are ridden; containers hold; holdables are held; wearables are worn."""


@dataclass(frozen=True)
class Noun:
    """A kind of thing, of a fixed size."""

    name: str
    group: Group
    spellings: str
    """Other words for it, as a regular expression."""
    width: int
    """Cells."""
    height: int
    """Cells."""

    @property
    def coloured(self) -> bool:
        """Whether it comes in every colour; other things have a natural one."""
        return self.group not in ("animal", "plant")


NOUNS: dict[str, Noun] = {
    noun.name: noun
    for noun in (
        Noun("fox", "animal", "foxes", 2, 3),
        Noun("bear", "animal", "bears", 2, 3),
        Noun("cat", "animal", "cats|kitten|kitty", 2, 3),
        Noun("dog", "animal", "dogs|puppy", 2, 3),
        Noun("panda", "animal", "pandas", 2, 3),
        Noun("rabbit", "animal", "rabbits|bunny|hare", 2, 3),
        Noun("frog", "animal", "frogs|toad", 2, 3),
        Noun("pig", "animal", "pigs|piglet", 2, 3),
        Noun("car", "vehicle", "cars|automobile", 2, 2),
        Noun("bicycle", "vehicle", "bicycles|bikes|bike", 2, 2),
        Noun("boat", "vehicle", "boats|sailboat|ship", 2, 2),
        Noun("box", "container", "boxes|crate", 2, 2),
        Noun("basket", "container", "baskets", 2, 2),
        Noun("house", "building", "houses|home|cottage", 2, 2),
        Noun("balloon", "holdable", "balloons", 1, 2),
        Noun("umbrella", "holdable", "umbrellas|parasol", 1, 2),
        Noun("flag", "holdable", "flags", 1, 2),
        Noun("cup", "holdable", "cups|mug", 1, 2),
        Noun("ball", "holdable", "balls", 1, 2),
        Noun("tree", "plant", "trees", 2, 3),
        Noun("hat", "wearable", "hats|cap|caps", 2, 1),
    )
}
"""By name; the networks' outputs follow this order."""

COLOURS: dict[str, str] = {
    "red": "crimson|scarlet",
    "blue": "",
    "green": "emerald",
    "yellow": "golden|gold",
    "purple": "violet",
}
"""Other words for each colour, as a regular expression; the networks' outputs follow this order."""


@dataclass(frozen=True)
class Place:
    """A backdrop."""

    phrase: str
    """As captions name it."""
    spellings: str
    """Regular expression of every wording that prompts may use."""


PLACES: dict[str, Place] = {
    "meadow": Place("in the meadow", r"(?:in|on|at) (?:the |a )?(?:meadow|grass|field|park|lawn)"),
    "beach": Place("on the beach", r"(?:on|at|by) (?:the |a )?(?:beach|sand|seaside|sea|shore)"),
    "snow": Place("in the snow", r"(?:in|on) (?:the )?snow|in winter|on a snowy day"),
    "night": Place("at night", r"at night|by night|under (?:the )?(?:stars|moon)|in (?:the )?(?:moonlight|dark)"),
}
"""By name; the networks' outputs follow this order."""
