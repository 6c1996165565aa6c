"""What each relation means, on hand-made placements in a grid of 6 x 6 cells."""

import itertools

import pytest

from detailscribe.tools.world.relations import RELATIONS, holds, overlap
from detailscribe.tools.world.scene import Thing
from detailscribe.tools.world.vocabulary import GRID, NOUNS

from .worlds import thing

TRUE = [
    ("left of", thing("fox", 0), thing("red car", 2)),
    ("left of", thing("fox", 0), thing("red car", 4, 5)),
    ("right of", thing("red car", 2), thing("fox", 0)),
    ("next to", thing("fox", 0), thing("tree", 2)),
    ("next to", thing("fox", 3), thing("tree", 0)),
    ("on top of", thing("fox", 2, 4), thing("red car", 2)),
    ("on top of", thing("blue cup", 3, 4), thing("red house", 2)),
    ("on top of", thing("fox", 2, 4), thing("blue cup", 3)),
    ("under", thing("red car", 2), thing("fox", 2, 4)),
    ("under", thing("fox", 1), thing("blue umbrella", 2, 3)),
    ("inside", thing("fox", 2), thing("red basket", 2)),
    ("in a row", thing("fox", 0), thing("tree", 2), thing("red car", 4)),
    ("in a row", thing("red car", 4), thing("fox", 0), thing("blue cup", 3)),
    ("holding", thing("fox", 0), thing("red ball", 2, 5)),
    ("holding", thing("fox", 3, 5), thing("red ball", 2, 4)),
    ("riding", thing("fox", 2, 5), thing("red car", 2)),
    ("pushing", thing("fox", 0), thing("red car", 2)),
    ("pushing", thing("fox", 4), thing("red box", 2)),
    ("lifting", thing("fox", 1), thing("bear", 3), thing("red box", 2, 3)),
    ("lifting", thing("bear", 3), thing("fox", 1), thing("red box", 2, 3)),
    ("sharing", thing("fox", 0), thing("bear", 3), thing("red ball", 2, 5)),
    ("sharing", thing("bear", 3), thing("fox", 0), thing("red ball", 2, 5)),
    ("behind", thing("fox", 1, 5), thing("red car", 2)),
    ("behind", thing("tree", 3, 5), thing("fox", 2)),
    ("between", thing("fox", 2), thing("bear", 0), thing("tree", 4)),
    ("between", thing("red ball", 2), thing("tree", 4), thing("bear", 0)),
    ("wearing", thing("fox", 2), thing("red hat", 2, 4)),
    ("jumping over", thing("fox", 2, 3), thing("red car", 2)),
    ("jumping over", thing("fox", 2, 3), thing("red ball", 3)),
    ("giving", thing("fox", 0, 5), thing("red ball", 2, 4), thing("bear", 3)),
    ("giving", thing("fox", 3, 5), thing("red ball", 2, 4), thing("bear", 0)),
]

FALSE = [
    pytest.param("left of", thing("red car", 2), thing("fox", 0), id="left of: the other way round"),
    pytest.param("left of", thing("fox", 1), thing("red car", 2), id="left of: a common column"),
    pytest.param("left of", thing("red ball", 0, 2), thing("red car", 4), id="left of: no common height"),
    pytest.param("right of", thing("fox", 0), thing("red car", 2), id="right of: the other way round"),
    pytest.param("next to", thing("fox", 0), thing("red car", 4), id="next to: two cells apart"),
    pytest.param("next to", thing("fox", 0), thing("red car", 1), id="next to: one hides the other"),
    pytest.param("next to", thing("fox", 2, 4), thing("red car", 2), id="next to: one above the other"),
    pytest.param("on top of", thing("red car", 2), thing("fox", 2, 4), id="on top of: the other way round"),
    pytest.param("on top of", thing("fox", 1, 4), thing("red car", 2), id="on top of: half beside it"),
    pytest.param("on top of", thing("blue cup", 4, 4), thing("red house", 2), id="on top of: the narrow one beside"),
    pytest.param("on top of", thing("fox", 2, 3), thing("red car", 2), id="on top of: floating"),
    pytest.param("under", thing("fox", 2, 4), thing("red car", 2), id="under: the other way round"),
    pytest.param("inside", thing("red basket", 2), thing("fox", 2), id="inside: the other way round"),
    pytest.param("inside", thing("fox", 2), thing("red car", 2), id="inside: no container"),
    pytest.param("inside", thing("fox", 3), thing("red basket", 2), id="inside: not the same columns"),
    pytest.param("inside", thing("fox", 2, 5), thing("red basket", 2), id="inside: feet in the air"),
    pytest.param(
        "in a row", thing("fox", 0), thing("tree", 2), thing("red cup", 5, 5), id="in a row: no common ground"
    ),
    pytest.param("in a row", thing("red ball", 0), thing("red cup", 1), thing("fox", 4), id="in a row: a wide gap"),
    pytest.param("in a row", thing("fox", 0), thing("tree", 1), thing("red car", 4), id="in a row: one hides another"),
    pytest.param("holding", thing("red ball", 2, 5), thing("fox", 0), id="holding: the other way round"),
    pytest.param("holding", thing("fox", 0), thing("red ball", 2), id="holding: on the ground"),
    pytest.param("holding", thing("fox", 0), thing("red ball", 3, 5), id="holding: out of reach"),
    pytest.param("holding", thing("fox", 0), thing("red car", 2, 5), id="holding: too large"),
    pytest.param("holding", thing("tree", 0), thing("red ball", 2, 5), id="holding: a tree has no paws"),
    pytest.param("riding", thing("red car", 2), thing("fox", 2, 5), id="riding: the other way round"),
    pytest.param("riding", thing("fox", 2, 4), thing("red car", 2), id="riding: only on top"),
    pytest.param("riding", thing("fox", 3, 5), thing("red car", 2), id="riding: beside the saddle"),
    pytest.param("riding", thing("fox", 2, 5), thing("red box", 2), id="riding: no vehicle"),
    pytest.param("pushing", thing("red car", 2), thing("fox", 0), id="pushing: the other way round"),
    pytest.param("pushing", thing("fox", 0), thing("red car", 3), id="pushing: no touch"),
    pytest.param("pushing", thing("fox", 0, 5), thing("red car", 2), id="pushing: not the same ground"),
    pytest.param("pushing", thing("fox", 0), thing("red house", 2), id="pushing: houses do not move"),
    pytest.param("lifting", thing("fox", 0), thing("bear", 3), thing("red box", 1, 3), id="lifting: not side by side"),
    pytest.param("lifting", thing("fox", 1), thing("bear", 3), thing("red box", 1, 3), id="lifting: one alone"),
    pytest.param("lifting", thing("fox", 1), thing("bear", 3), thing("red box", 2, 2), id="lifting: it flies"),
    pytest.param("lifting", thing("fox", 1), thing("bear", 3, 5), thing("red box", 2, 3), id="lifting: uneven"),
    pytest.param("lifting", thing("fox", 1), thing("tree", 3), thing("red box", 2, 3), id="lifting: with a tree"),
    pytest.param("lifting", thing("fox", 1), thing("bear", 3), thing("red cup", 2, 3), id="lifting: a trifle"),
    pytest.param("sharing", thing("fox", 0), thing("bear", 4), thing("red ball", 2, 5), id="sharing: one out of reach"),
    pytest.param("sharing", thing("fox", 0), thing("bear", 3, 5), thing("red ball", 2, 5), id="sharing: uneven"),
    pytest.param("behind", thing("red car", 2), thing("fox", 1, 5), id="behind: the other way round"),
    pytest.param("behind", thing("fox", 2, 5), thing("red car", 2), id="behind: riding it"),
    pytest.param("behind", thing("fox", 1), thing("red car", 2), id="behind: on the same row"),
    pytest.param("behind", thing("fox", 0, 5), thing("red car", 2), id="behind: beside it"),
    pytest.param("between", thing("bear", 0), thing("fox", 2), thing("tree", 4), id="between: an outer one"),
    pytest.param("between", thing("fox", 4), thing("bear", 0), thing("tree", 2), id="between: both on one side"),
    pytest.param("between", thing("fox", 1), thing("bear", 0), thing("tree", 4), id="between: one hides another"),
    pytest.param("between", thing("fox", 2), thing("red ball", 0, 2), thing("tree", 4), id="between: one flies"),
    pytest.param("wearing", thing("red hat", 2, 4), thing("fox", 2), id="wearing: the other way round"),
    pytest.param("wearing", thing("fox", 2), thing("red hat", 2, 3), id="wearing: over the head"),
    pytest.param("wearing", thing("fox", 2), thing("red hat", 3, 4), id="wearing: awry"),
    pytest.param("jumping over", thing("fox", 2, 4), thing("red car", 2), id="jumping over: standing on it"),
    pytest.param("jumping over", thing("fox", 0, 3), thing("red car", 2), id="jumping over: beside it"),
    pytest.param("jumping over", thing("red car", 2), thing("fox", 2, 3), id="jumping over: the other way round"),
    pytest.param("giving", thing("bear", 3), thing("red ball", 2, 4), thing("fox", 0, 5), id="giving: it is given"),
    pytest.param("giving", thing("fox", 0), thing("red ball", 2, 5), thing("bear", 3), id="giving: both hold it"),
    pytest.param("giving", thing("fox", 0, 5), thing("red ball", 2, 4), thing("bear", 4), id="giving: out of reach"),
]


@pytest.mark.parametrize(("relation", "things"), [(relation, things) for relation, *things in TRUE])
def test_it_holds(relation, things):
    assert holds(relation, things)


@pytest.mark.parametrize(("relation", "things"), [pytest.param(p.values[0], p.values[1:], id=p.id) for p in FALSE])
def test_it_does_not_hold(relation, things):
    assert not holds(relation, things)


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_relation_has_examples_both_ways_of_its_arity(relation):
    true = [things for name, *things in TRUE if name == relation]
    false = [p.values[1:] for p in FALSE if p.values[0] == relation]
    assert true
    assert false
    assert {len(things) for things in (*true, *false)} == {len(RELATIONS[relation].takes)}


def places(noun: str) -> list[Thing]:
    kind = NOUNS[noun]
    colour = "red" if kind.coloured else None
    return [Thing(noun, colour, x, y) for x in range(GRID - kind.width + 1) for y in range(GRID - kind.height + 1)]


def everywhere(*nouns: str):
    return itertools.product(*map(places, nouns))


@pytest.mark.parametrize(("relation", "mirrored"), [("left of", "right of"), ("on top of", "under")])
def test_mirror_images_say_the_same_from_the_other_side(relation, mirrored):
    for a, b in everywhere("fox", "house"):
        assert holds(relation, (a, b)) == holds(mirrored, (b, a))
        assert not (holds(relation, (a, b)) and holds(relation, (b, a)))


def test_no_two_ways_of_being_on_or_at_a_box_hold_at_once():
    for pair in everywhere("fox", "box"):
        assert sum(holds(r, pair) for r in ("inside", "on top of", "under", "pushing")) <= 1
    for pair in everywhere("fox", "car"):
        assert sum(holds(r, pair) for r in ("riding", "on top of", "under", "pushing")) <= 1


def test_only_some_relations_let_boxes_overlap_and_no_two_of_them_hold_at_once():
    entwined = {name for name, relation in RELATIONS.items() if relation.overlaps}
    assert entwined == {"riding", "inside", "behind", "wearing"}
    pairs = [pair for noun in ("car", "basket", "cup", "hat", "bear") for pair in everywhere("fox", noun)]
    for pair in pairs:
        if overlap(*pair):
            found = {r for r in RELATIONS if len(RELATIONS[r].takes) == 2 and holds(r, pair)}
            assert found <= entwined
            assert len(found) <= 1


def test_who_gives_a_thing_holds_it_and_who_gets_it_does_not():
    given = [(a, b, c) for a, b, c in everywhere("fox", "cup", "bear") if holds("giving", (a, b, c))]
    assert given
    assert all(holds("holding", (a, b)) and not holds("holding", (c, b)) for a, b, c in given)


def test_who_shares_a_thing_holds_it():
    shared = [(a, b, c) for a, b, c in everywhere("fox", "bear", "cup") if holds("sharing", (a, b, c))]
    assert shared
    assert all(holds("holding", (a, c)) and holds("holding", (b, c)) for a, b, c in shared)


def test_who_lifts_stands_beside_the_other():
    lifted = [(a, b) for a, b, c in everywhere("fox", "bear", "box") if holds("lifting", (a, b, c))]
    assert lifted
    assert all(holds("next to", pair) and not overlap(*pair) for pair in lifted)
