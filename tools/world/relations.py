"""The relations of the embedded world: what each is, how prompts name it and when it holds.

Ground truth, planted errors, layouts and critics all use the geometric definition given here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from ...state import InteractionKind
from .scene import Thing
from .vocabulary import NOUNS, Group


@dataclass(frozen=True)
class Relation:
    """A relation between two or three things."""

    name: str
    kind: InteractionKind
    takes: tuple[tuple[Group, ...], ...]
    """For each member, the groups that made-up prompts take it from."""
    spellings: str
    """Regular expression of every wording that prompts may use."""
    holds: Callable[[Thing, Thing], bool] | Callable[[Thing, Thing, Thing], bool]
    """The definition; it takes the things in the order of the words, subjects first."""
    phrases: tuple[str, ...] = ()
    """What captions call it, the usual phrase first; empty: by its name."""
    turn: int = 1
    """Spellings are replaced in this order, because phrases of an earlier turn contain words of a later one."""
    subjects: int = 1
    """How many act together; if it is 1 and a prompt names several, each relates to the object."""
    joint: str | None = None
    """The word between the last two things, if only the first one stands before the relation."""
    symmetric: bool = False
    """Whether subject and object can change places."""
    passes_on: bool = False
    """Whether its object is the subject of what follows in the same clause."""
    overlaps: bool = False
    """Whether the boxes of its members may share cells."""
    lifts: int | None = None
    """Index of the member that it may lift off the ground."""

    @property
    def word(self) -> str:
        """The canonical word that the grammar and the text encoder read."""
        return self.name.replace(" ", "")

    @property
    def before(self) -> int:
        """Number of things before it in a prompt."""
        return 1 if self.joint else self.subjects

    @property
    def after(self) -> int:
        """Number of things after it in a prompt."""
        return len(self.takes) - self.before


_ANIMAL: tuple[Group, ...] = ("animal",)
_LARGE: tuple[Group, ...] = ("vehicle", "container", "building")
_ANY: tuple[Group, ...] = ("animal", *_LARGE, "holdable", "plant")
_POSTURE = "standing |sitting |stands |sits "


def holds(relation: str, things: Sequence[Thing]) -> bool:
    """Whether the relation of that name holds between the things: subjects in order, then the object if any."""
    return cast("Callable[..., bool]", RELATIONS[relation].holds)(*things)


def overlap(a: Thing, b: Thing) -> bool:
    """Whether the boxes share a cell."""
    return bool(a.cells & b.cells)


def _share_rows(a: Thing, b: Thing) -> bool:
    return a.y < b.bottom and b.y < a.bottom


def _at_side(a: Thing, b: Thing) -> bool:
    return b.x == a.right or b.right == a.x


def _is(thing: Thing, *groups: Group) -> bool:
    return NOUNS[thing.noun].group in groups


def _left_of(a: Thing, b: Thing) -> bool:
    """a ends before b begins, at a common height."""
    return a.right <= b.x and _share_rows(a, b)


def _on_top_of(a: Thing, b: Thing) -> bool:
    """a stands on the upper edge of b, the narrower one whole within the columns of the wider."""
    narrow, wide = sorted((a, b), key=lambda t: t.width)
    return a.bottom == b.y and wide.x <= narrow.x and narrow.right <= wide.right


def _in_a_row(a: Thing, b: Thing, c: Thing) -> bool:
    """Three on the same ground, side by side, neighbours at most one cell apart."""
    first, second, third = sorted((a, b, c), key=lambda t: t.x)
    same_ground = first.bottom == second.bottom == third.bottom
    return same_ground and 0 <= second.x - first.right <= 1 and 0 <= third.x - second.right <= 1


def _holding(a: Thing, b: Thing) -> bool:
    """An animal has something at its side, off the ground, beside its head and paw."""
    return _is(a, "animal") and _is(b, "holdable") and a.y == b.y and _at_side(a, b)


def _lifting(a: Thing, b: Thing, c: Thing) -> bool:
    """Two animals stand side by side and carry something over their heads, midway between them."""
    left, right = sorted((a, b), key=lambda t: t.x)
    pair = _is(a, "animal") and _is(b, "animal") and left.right == right.x and left.bottom == right.bottom
    return pair and c.bottom == left.y and c.x == left.x + 1 and not _is(c, "holdable")


def _behind(a: Thing, b: Thing) -> bool:
    """a stands a row further back than b and a column aside, partly hidden by it."""
    hidden = _is(a, "animal", "plant", "building") and _is(b, "animal", "vehicle", "container")
    return hidden and abs(a.x - b.x) == 1 and a.bottom == b.bottom - 1


def _jumping_over(a: Thing, b: Thing) -> bool:
    """An animal is in the air, a row above the thing and straight over it."""
    over = b.x >= a.x and b.right <= a.right
    return _is(a, "animal") and not _is(b, "animal", "plant") and over and a.bottom == b.y - 1


def _giving(a: Thing, b: Thing, c: Thing) -> bool:
    """One animal holds something out to another, which stands a row lower, on its other side."""
    given = _holding(a, b) and _is(c, "animal") and c.y == a.y + 1
    return given and ((a.right == b.x and b.right == c.x) or (c.right == b.x and b.right == a.x))


# fmt: off
RELATIONS: dict[str, Relation] = {relation.name: relation for relation in (
    Relation("left of", "spatial", (_ANY, _ANY), r"(?:to|on|at) the left(?: side)? of|left of", _left_of,
             phrases=("to the left of", "left of"), passes_on=True),
    Relation("right of", "spatial", (_ANY, _ANY), r"(?:to|on|at) the right(?: side)? of|right of",
             lambda a, b: _left_of(b, a), phrases=("to the right of", "right of"), passes_on=True),
    # Side by side at a common height, at most one cell apart.
    Relation("next to", "spatial", (_ANY, _ANY),
             rf"(?:{_POSTURE})?(?:next to|beside|besides|near|alongside|close to|by)",
             lambda a, b: 0 <= max(b.x - a.right, a.x - b.right) <= 1 and _share_rows(a, b),
             phrases=("next to", "beside"), symmetric=True, passes_on=True),
    Relation("on top of", "spatial", (("animal", "holdable"), (*_LARGE, "plant")),
             rf"(?:{_POSTURE}|lying )?(?:on top of|atop|on)", _on_top_of, turn=2, passes_on=True, lifts=0),
    Relation("under", "spatial", (_ANIMAL, (*_LARGE, "holdable")),
             rf"(?:{_POSTURE})?(?:underneath|beneath|below|under)", lambda a, b: _on_top_of(b, a),
             turn=2, passes_on=True, lifts=1),
    # An animal looks out of a container: same columns, same ground.
    Relation("inside", "spatial", (_ANIMAL, ("container",)),
             rf"(?:{_POSTURE}|hiding )?(?:inside of|inside|within|in)",
             lambda a, b: _is(a, "animal") and _is(b, "container") and a.x == b.x and a.bottom == b.bottom,
             turn=2, overlaps=True),
    Relation("in a row", "spatial", (_ANY, _ANY, _ANY),
             r"(?:standing |stand |lined up )?in a (?:row|line)|lined up|side by side in a row", _in_a_row,
             turn=0, subjects=3),
    Relation("holding", "functional", (_ANIMAL, ("holdable",)), "holding|holds|hold|carrying|carries|carry", _holding,
             lifts=1),
    # An animal sits on a vehicle, its feet behind it.
    Relation("riding", "functional", (_ANIMAL, ("vehicle",)),
             r"(?:riding|rides|ride|driving|drives|drive|sailing|sails|sail)(?: (?:on|in))?",
             lambda a, b: _is(a, "animal") and _is(b, "vehicle") and a.x == b.x and a.bottom == b.y + 1,
             overlaps=True, lifts=0),
    # An animal touches the side of a vehicle or container on the same ground.
    Relation("pushing", "contact", (_ANIMAL, ("vehicle", "container")), "pushing|pushes|push|shoving|shoves",
             lambda a, b: (
                 _is(a, "animal") and _is(b, "vehicle", "container") and _at_side(a, b) and a.bottom == b.bottom
             )),
    Relation("lifting", "multi_subject", (_ANIMAL, _ANIMAL, _LARGE), "lifting up|lifting|lifts|lift|raising", _lifting,
             subjects=2, lifts=2),
    # Two animals hold the same thing between them.
    Relation("sharing", "multi_subject", (_ANIMAL, _ANIMAL, ("holdable",)), "sharing|shares|share",
             lambda a, b, c: a.x != b.x and a.y == b.y and _holding(a, c) and _holding(b, c), subjects=2, lifts=2),
    Relation("behind", "spatial", (("animal", "plant", "building"), ("animal", "vehicle", "container")),
             rf"(?:{_POSTURE}|hiding )?behind", _behind, passes_on=True, overlaps=True),
    # b and c stand on both sides of a, each at a common height with it.
    Relation("between", "spatial", (_ANY, _ANY, _ANY), rf"(?:{_POSTURE})?(?:in )?between",
             lambda a, b, c: (_left_of(b, a) and _left_of(a, c)) or (_left_of(c, a) and _left_of(a, b)),
             subjects=3, joint="and"),
    # An animal has something on the upper row of its head.
    Relation("wearing", "functional", (_ANIMAL, ("wearable",)), "wearing|wears|wear",
             lambda a, b: _is(a, "animal") and _is(b, "wearable") and a.x == b.x and b.bottom == a.y + 1,
             overlaps=True, lifts=1),
    Relation("jumping over", "contact", (_ANIMAL, _LARGE), "(?:jumping|jumps|leaping|leaps) over", _jumping_over,
             lifts=0),
    Relation("giving", "multi_subject", (_ANIMAL, ("holdable",), _ANIMAL), "giving|gives|handing|hands|passing",
             _giving, subjects=3, joint="to", lifts=1),
)}
"""By name, in a fixed order that the tokens of the text encoder follow."""
