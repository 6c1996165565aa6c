"""The relations of the embedded world: one entry for each says what it is, how prompts name it and when it holds.

The geometric definition of an entry is the only one: truth, planted errors, layouts and critics all use it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...state import InteractionKind
from .scene import Thing
from .vocabulary import NOUNS, Group


@dataclass(frozen=True)
class Relation:
    """What can be between things."""

    name: str
    kind: InteractionKind
    takes: tuple[tuple[Group, ...], ...]
    """Groups that each member may come from when prompts are made up; as many as it relates things, 2 or 3."""
    spellings: str
    """All that prompts may say for it, as a regular expression."""
    holds: Callable[..., bool]
    """The definition; it takes the things in the order of the words, subjects first."""
    phrases: tuple[str, ...] = ()
    """What captions say for it, the usual phrase first; none where that is the name."""
    turn: int = 1
    """Spellings are replaced in this order, because the words of a later turn occur in phrases of an earlier one."""
    subjects: int = 1
    """How many act together; where it is 1 and a prompt names several, each relates to the object."""
    joint: str | None = None
    """The word between the last two things, where a prompt names but the first before the relation."""
    symmetric: bool = False
    """Whether subject and object can change places."""
    passes_on: bool = False
    """Whether its object is the subject of what follows in the same clause."""
    overlaps: bool = False
    """Whether the boxes of its members may share cells."""
    lifts: int | None = None
    """Index of the member that it may take off the ground."""

    @property
    def word(self) -> str:
        """The canonical word, which grammar and text encoder read."""
        return self.name.replace(" ", "")

    @property
    def has_object(self) -> bool:
        return len(self.takes) > self.subjects

    @property
    def before(self) -> int:
        """How many things a prompt names before the relation."""
        return 1 if self.joint else self.subjects

    @property
    def after(self) -> int:
        """How many things a prompt names after it."""
        return len(self.takes) - self.before


RELATIONS: dict[str, Relation] = {}
"""By name, in a fixed order that the tokens of the text encoder follow."""

_Holds = Callable[..., bool]
_ANIMAL: tuple[Group, ...] = ("animal",)
_LARGE: tuple[Group, ...] = ("vehicle", "container", "building")
_ANY: tuple[Group, ...] = ("animal", *_LARGE, "holdable", "plant")
_POSTURE = "standing |sitting |stands |sits "


def _relation(
    name: str, kind: InteractionKind, takes: tuple[tuple[Group, ...], ...], spellings: str, **more: Any
) -> Callable[[_Holds], _Holds]:
    """Makes the function below it the definition of a relation."""

    def add(holds: _Holds) -> _Holds:
        RELATIONS[name] = Relation(name, kind, takes, spellings, holds, **more)
        return holds

    return add


def holds(relation: str, things: Sequence[Thing]) -> bool:
    """Whether the relation of that name holds between the things: subjects in order, then the object if any."""
    return RELATIONS[relation].holds(*things)


def overlap(a: Thing, b: Thing) -> bool:
    """Whether the boxes share a cell."""
    return bool(a.cells & b.cells)


def _share_rows(a: Thing, b: Thing) -> bool:
    return a.y < b.bottom and b.y < a.bottom


def _at_side(a: Thing, b: Thing) -> bool:
    return b.x == a.right or b.right == a.x


def _is(thing: Thing, *groups: Group) -> bool:
    return NOUNS[thing.noun].group in groups


# fmt: off
@_relation("left of", "spatial", (_ANY, _ANY), r"(?:to|on|at) the left(?: side)? of|left of",
           phrases=("to the left of", "left of"), passes_on=True)
def _left_of(a: Thing, b: Thing) -> bool:
    """a ends before b begins, at a common height."""
    return a.right <= b.x and _share_rows(a, b)


@_relation("right of", "spatial", (_ANY, _ANY), r"(?:to|on|at) the right(?: side)? of|right of",
           phrases=("to the right of", "right of"), passes_on=True)
def _right_of(a: Thing, b: Thing) -> bool:
    return _left_of(b, a)


@_relation("next to", "spatial", (_ANY, _ANY),
           rf"(?:{_POSTURE})?(?:next to|beside|besides|near|alongside|close to|by)",
           phrases=("next to", "beside"), symmetric=True, passes_on=True)
def _next_to(a: Thing, b: Thing) -> bool:
    """Side by side at a common height, at most one cell apart."""
    return 0 <= max(b.x - a.right, a.x - b.right) <= 1 and _share_rows(a, b)


@_relation("on top of", "spatial", (("animal", "holdable"), (*_LARGE, "plant")),
           rf"(?:{_POSTURE}|lying )?(?:on top of|atop|on)", turn=2, passes_on=True, lifts=0)
def _on_top_of(a: Thing, b: Thing) -> bool:
    """a stands on the upper edge of b, the narrower one whole within the columns of the wider."""
    narrow, wide = sorted((a, b), key=lambda t: t.width)
    return a.bottom == b.y and wide.x <= narrow.x and narrow.right <= wide.right


@_relation("under", "spatial", (_ANIMAL, (*_LARGE, "holdable")),
           rf"(?:{_POSTURE})?(?:underneath|beneath|below|under)", turn=2, passes_on=True, lifts=1)
def _under(a: Thing, b: Thing) -> bool:
    return _on_top_of(b, a)


@_relation("inside", "spatial", (_ANIMAL, ("container",)),
           rf"(?:{_POSTURE}|hiding )?(?:inside of|inside|within|in)", turn=2, overlaps=True)
def _inside(a: Thing, b: Thing) -> bool:
    """An animal looks out of a container: same columns, same ground."""
    return _is(a, "animal") and _is(b, "container") and a.x == b.x and a.bottom == b.bottom


@_relation("in a row", "spatial", (_ANY, _ANY, _ANY),
           r"(?:standing |stand |lined up )?in a (?:row|line)|lined up|side by side in a row", turn=0, subjects=3)
def _in_a_row(a: Thing, b: Thing, c: Thing) -> bool:
    """Three on the same ground, side by side, neighbours at most one cell apart."""
    first, second, third = sorted((a, b, c), key=lambda t: t.x)
    same_ground = first.bottom == second.bottom == third.bottom
    return same_ground and 0 <= second.x - first.right <= 1 and 0 <= third.x - second.right <= 1


@_relation("holding", "functional", (_ANIMAL, ("holdable",)), "holding|holds|hold|carrying|carries|carry", lifts=1)
def _holding(a: Thing, b: Thing) -> bool:
    """An animal has something at its side, off the ground, beside its head and paw."""
    return _is(a, "animal") and _is(b, "holdable") and a.y == b.y and _at_side(a, b)


@_relation("riding", "functional", (_ANIMAL, ("vehicle",)),
           r"(?:riding|rides|ride|driving|drives|drive|sailing|sails|sail)(?: (?:on|in))?", overlaps=True, lifts=0)
def _riding(a: Thing, b: Thing) -> bool:
    """An animal sits on a vehicle, its feet behind it."""
    return _is(a, "animal") and _is(b, "vehicle") and a.x == b.x and a.bottom == b.y + 1


@_relation("pushing", "contact", (_ANIMAL, ("vehicle", "container")), "pushing|pushes|push|shoving|shoves")
def _pushing(a: Thing, b: Thing) -> bool:
    """An animal touches the side of a vehicle or container on the same ground."""
    return _is(a, "animal") and _is(b, "vehicle", "container") and _at_side(a, b) and a.bottom == b.bottom


@_relation("lifting", "multi_subject", (_ANIMAL, _ANIMAL, _LARGE), "lifting up|lifting|lifts|lift|raising",
           subjects=2, lifts=2)
def _lifting(a: Thing, b: Thing, c: Thing) -> bool:
    """Two animals stand side by side and carry something over their heads, midway between them."""
    left, right = sorted((a, b), key=lambda t: t.x)
    pair = _is(a, "animal") and _is(b, "animal") and left.right == right.x and left.bottom == right.bottom
    return pair and c.bottom == left.y and c.x == left.x + 1 and not _is(c, "holdable")


@_relation("sharing", "multi_subject", (_ANIMAL, _ANIMAL, ("holdable",)), "sharing|shares|share", subjects=2, lifts=2)
def _sharing(a: Thing, b: Thing, c: Thing) -> bool:
    """Two animals hold the same thing between them."""
    return a is not b and a.x != b.x and a.y == b.y and _holding(a, c) and _holding(b, c)


@_relation("behind", "spatial", (("animal", "plant", "building"), ("animal", "vehicle", "container")),
           rf"(?:{_POSTURE}|hiding )?behind", passes_on=True, overlaps=True)
def _behind(a: Thing, b: Thing) -> bool:
    """a stands a row further back than b and a column aside, partly hidden by it."""
    hidden = _is(a, "animal", "plant", "building") and _is(b, "animal", "vehicle", "container")
    return hidden and abs(a.x - b.x) == 1 and a.bottom == b.bottom - 1


@_relation("between", "spatial", (_ANY, _ANY, _ANY), rf"(?:{_POSTURE})?(?:in )?between", subjects=3, joint="and")
def _between(a: Thing, b: Thing, c: Thing) -> bool:
    """b and c stand on both sides of a, each at a common height with it."""
    return (_left_of(b, a) and _left_of(a, c)) or (_left_of(c, a) and _left_of(a, b))


@_relation("wearing", "functional", (_ANIMAL, ("wearable",)), "wearing|wears|wear", overlaps=True, lifts=1)
def _wearing(a: Thing, b: Thing) -> bool:
    """An animal has something on the upper row of its head."""
    return _is(a, "animal") and _is(b, "wearable") and a.x == b.x and b.bottom == a.y + 1


@_relation("jumping over", "contact", (_ANIMAL, _LARGE), "(?:jumping|jumps|leaping|leaps) over", lifts=0)
def _jumping_over(a: Thing, b: Thing) -> bool:
    """An animal is in the air, a row above the thing and straight over it."""
    over = b.x >= a.x and b.right <= a.right
    return _is(a, "animal") and not _is(b, "animal", "plant") and over and a.bottom == b.y - 1


@_relation("giving", "multi_subject", (_ANIMAL, ("holdable",), _ANIMAL), "giving|gives|handing|hands|passing",
           subjects=3, joint="to", lifts=1)
def _giving(a: Thing, b: Thing, c: Thing) -> bool:
    """One animal holds something out to another, which stands a row lower, on its other side."""
    given = _holding(a, b) and _is(c, "animal") and c.y == a.y + 1
    return given and ((a.right == b.x and b.right == c.x) or (c.right == b.x and b.right == a.x))
