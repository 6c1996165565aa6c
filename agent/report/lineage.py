"""Where each image stands in the family tree: a column for each round, a lane for each line of descent."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...state import ImageRecord

TILE = 96
"""Pixels; side of a thumbnail."""
COLUMN = 158
"""Pixels from one round to the next."""
LANE = 166
"""Pixels from one lane to the next."""
CAPTION = 44
"""Pixels below a thumbnail, for its name."""
TOP = 32
"""Pixels above the first lane, for the names of the rounds."""


@dataclass(frozen=True)
class Place:
    """A cell of the tree."""

    column: int
    lane: int

    @property
    def left(self) -> int:
        """Pixels."""
        return self.column * COLUMN

    @property
    def top(self) -> int:
        """Pixels."""
        return TOP + self.lane * LANE


@dataclass(frozen=True)
class Tree:
    """The places of all images and the curves from parents to children."""

    places: dict[str, Place]
    """By image id."""
    columns: tuple[tuple[int, int], ...]
    """Round and left edge in pixels."""
    curves: tuple[str, ...]
    """SVG path data."""
    width: int
    height: int


def lay_out(images: Sequence[ImageRecord]) -> Tree:
    """Children keep their parent's lane where they can; no curve runs behind a stranger's picture."""
    rounds = sorted({i.round for i in images})
    places = _places(images, {number: column for column, number in enumerate(rounds)})
    return Tree(
        places=places,
        columns=tuple((number, column * COLUMN) for column, number in enumerate(rounds)),
        curves=tuple(_curve(places[i.parent], places[i.id]) for i in images if i.parent in places),
        width=(len(rounds) - 1) * COLUMN + TILE,
        height=max(p.top for p in places.values()) + TILE + CAPTION,
    )


def _places(images: Sequence[ImageRecord], column_of: dict[int, int]) -> dict[str, Place]:
    places: dict[str, Place] = {}
    taken: set[Place] = set()
    for image in sorted(images, key=lambda i: i.round):
        column = column_of[image.round]
        parent = places.get(image.parent) if image.parent else None
        first = min(column, parent.column + 1) if parent else column
        lane = _free_lane(taken, range(first, column + 1), parent.lane if parent else 0, len(images))
        places[image.id] = Place(column, lane)
        taken |= {Place(c, lane) for c in range(first, column + 1)}
    return places


def _free_lane(taken: set[Place], columns: range, wanted: int, lanes: int) -> int:
    """The lane nearest to the wanted one that is free in all those columns."""
    free = [lane for lane in range(lanes) if all(Place(c, lane) not in taken for c in columns)]
    return min(free, key=lambda lane: (abs(lane - wanted), -lane))


def _curve(parent: Place, child: Place) -> str:
    """From the parent's right edge into the child's lane within one gap, then straight to the child."""
    x, y = parent.left + TILE, parent.top + TILE // 2
    end_x, end_y = child.left, child.top + TILE // 2
    bend, middle = x + COLUMN - TILE, x + (COLUMN - TILE) // 2
    return f"M{x} {y}C{middle} {y} {middle} {end_y} {bend} {end_y}H{end_x}"
