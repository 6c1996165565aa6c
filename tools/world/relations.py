"""The one geometric definition of each relation: for truth, for planted errors and for the critics.

Every function takes the things in the order of the words, subjects first.
"""

from collections.abc import Callable, Sequence

from .scene import Thing
from .vocabulary import NOUNS


def overlap(a: Thing, b: Thing) -> bool:
    """Whether the boxes share a cell."""
    return _share_columns(a, b) and _share_rows(a, b)


def _share_columns(a: Thing, b: Thing) -> bool:
    return a.x < b.right and b.x < a.right


def _share_rows(a: Thing, b: Thing) -> bool:
    return a.y < b.bottom and b.y < a.bottom


def _is(thing: Thing, *groups: str) -> bool:
    return NOUNS[thing.noun].group in groups


def left_of(a: Thing, b: Thing) -> bool:
    """a ends before b begins, at a common height."""
    return a.right <= b.x and _share_rows(a, b)


def right_of(a: Thing, b: Thing) -> bool:
    return left_of(b, a)


def next_to(a: Thing, b: Thing) -> bool:
    """Side by side at a common height, at most one cell apart."""
    gap = max(b.x - a.right, a.x - b.right)
    return 0 <= gap <= 1 and _share_rows(a, b)


def on_top_of(a: Thing, b: Thing) -> bool:
    """a stands on the upper edge of b, the narrower one whole within the columns of the wider."""
    narrow, wide = sorted((a, b), key=lambda t: t.width)
    return a.bottom == b.y and wide.x <= narrow.x and narrow.right <= wide.right


def under(a: Thing, b: Thing) -> bool:
    return on_top_of(b, a)


def inside(a: Thing, b: Thing) -> bool:
    """An animal looks out of a container: same columns, same ground."""
    return _is(a, "animal") and _is(b, "container") and a.x == b.x and a.bottom == b.bottom


def in_a_row(a: Thing, b: Thing, c: Thing) -> bool:
    """Three on the same ground, side by side, neighbours at most one cell apart."""
    first, second, third = sorted((a, b, c), key=lambda t: t.x)
    same_ground = first.bottom == second.bottom == third.bottom
    return same_ground and 0 <= second.x - first.right <= 1 and 0 <= third.x - second.right <= 1


def holding(a: Thing, b: Thing) -> bool:
    """An animal has something at its side, off the ground, beside its head and paw."""
    return _is(a, "animal") and _is(b, "holdable") and a.y == b.y and (b.x == a.right or b.right == a.x)


def riding(a: Thing, b: Thing) -> bool:
    """An animal sits on a vehicle, its feet behind it."""
    return _is(a, "animal") and _is(b, "vehicle") and a.x == b.x and a.bottom == b.y + 1


def pushing(a: Thing, b: Thing) -> bool:
    """An animal touches the side of a vehicle or container on the same ground."""
    touching = b.x == a.right or b.right == a.x
    return _is(a, "animal") and _is(b, "vehicle", "container") and touching and a.bottom == b.bottom


def lifting(a: Thing, b: Thing, c: Thing) -> bool:
    """Two animals stand side by side and carry something over their heads, midway between them."""
    left, right = sorted((a, b), key=lambda t: t.x)
    pair = _is(a, "animal") and _is(b, "animal") and left.right == right.x and left.bottom == right.bottom
    return pair and c.bottom == left.y and c.x == left.x + 1 and not _is(c, "holdable")


def sharing(a: Thing, b: Thing, c: Thing) -> bool:
    """Two animals hold the same thing between them."""
    return a is not b and a.x != b.x and a.y == b.y and holding(a, c) and holding(b, c)


_DEFINITIONS: dict[str, Callable[..., bool]] = {
    "left of": left_of,
    "right of": right_of,
    "next to": next_to,
    "on top of": on_top_of,
    "under": under,
    "inside": inside,
    "in a row": in_a_row,
    "holding": holding,
    "riding": riding,
    "pushing": pushing,
    "lifting": lifting,
    "sharing": sharing,
}


def holds(relation: str, things: Sequence[Thing]) -> bool:
    """Whether the relation holds between the things.

    Args:
        relation: A key of ``RELATIONS``.
        things: Subjects in order, then the object where there is one.
    """
    return _DEFINITIONS[relation](*things)


def arity(relation: str) -> int:
    """How many things it relates, 2 or 3."""
    return 3 if relation in ("in a row", "lifting", "sharing") else 2
