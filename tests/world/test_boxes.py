"""The embedded critic says where the things are that a check is about."""

import pytest

from detailscribe.state import Verdict
from detailscribe.tools.world import EmbeddedCritic
from detailscribe.tools.world.decomposer import concepts_of
from detailscribe.tools.world.grammar import parse
from detailscribe.tools.world.scene import Scene, Thing, render

PROMPT = "a fox holding a red balloon, next to a blue car"


def test_boxes_are_those_of_the_things_in_the_picture():
    concepts = concepts_of(parse(PROMPT), PROMPT)
    fox, car, cup = Thing("fox", None, 0, 2), Thing("car", "green", 3, 4), Thing("cup", "red", 5, 0)
    seen = EmbeddedCritic.load().examine(render(Scene("meadow", (fox, car, cup))), "a", concepts)
    found = {(concepts.check(v.check).aspect, concepts.check(v.check).about): v for v in seen.verdicts}
    assert found["presence", "fox"].boxes == (fox.box,)
    assert (found["attribute", "car"].answer, found["attribute", "car"].boxes) == ("fail", (car.box,))
    assert (found["presence", "balloon"].answer, found["presence", "balloon"].boxes) == ("fail", ())
    assert found["nothing_else", None].boxes == (cup.box,) == ((5 / 6, 0, 1, 2 / 6),)
    relations = [v for (aspect, _), v in found.items() if aspect == "relation" and v.settled_by is None]
    assert [v.boxes for v in relations] == [(fox.box, car.box)]
    assert set(seen.faults) >= {car.box, cup.box}
    assert all(v.boxes == () for v in seen.verdicts if v.settled_by)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ((), ""),
        (((0, 0, 0.3, 0.3),), "upper left"),
        (((0.4, 0.4, 0.6, 0.6),), "middle"),
        (((0.7, 0.4, 1, 0.6),), "middle right"),
        (((0, 0.8, 0.2, 1), (0.8, 0.8, 1, 1)), "lower middle"),
    ],
)
def test_a_place_in_words(boxes, words):
    assert Verdict(check="a", answer="pass", boxes=boxes).place == words
