"""From a network's logits to answers: what is seen, how likely, and what that settles."""

import pytest
import torch

from detailscribe.tools.world.decomposer import concepts_of
from detailscribe.tools.world.detector import Logits, detections
from detailscribe.tools.world.reading import Detection, Detections, evidence, exact_detections, probability, settle
from detailscribe.tools.world.scene import Scene, far_to_near
from detailscribe.tools.world.vocabulary import COLOURS, GRID, NOUNS, PLACES

from .worlds import answers, spec, thing

SURE = 20.0
"""A logit of which the sigmoid is 1 to eight digits."""


def logit(probability: float) -> float:
    return float(torch.logit(torch.tensor(probability)))


def logits(*corners, strange=(), place="meadow") -> Logits:
    """One picture; each corner is (noun, x, y, probability) or, with a colour, (noun, x, y, probability, colour)."""
    nouns = torch.full((1, len(NOUNS), GRID, GRID), -SURE)
    colours = torch.zeros(1, len(COLOURS), GRID, GRID)
    pieces = torch.full((1, GRID, GRID), -SURE)
    places = torch.zeros(1, len(PLACES))
    for noun, x, y, likely, *colour in corners:
        nouns[0, list(NOUNS).index(noun), y, x] = logit(likely)
        for name in colour:
            colours[0, list(COLOURS).index(name), y, x] = SURE
    for x, y in strange:
        pieces[0, y, x] = SURE
    places[0, list(PLACES).index(place)] = SURE
    return Logits(nouns, colours, pieces, places)


def seen(*corners, **more) -> Detections:
    [one] = detections(logits(*corners, **more))
    return one


def detection(name: str, x: int, bottom: int = GRID, likely: float = 0.99) -> Detection:
    shown = thing(name, x, bottom)
    return Detection(shown, likely, {c: float(c == shown.colour) for c in COLOURS} if shown.colour else {})


def look(*detections: Detection, strange: float = 0.0, place: str = "meadow") -> Detections:
    by_noun = {noun: tuple(s for s in detections if s.thing.noun == noun) for noun in NOUNS}
    return Detections(by_noun, {p: float(p == place) for p in PLACES}, strange)


def asked(made, detections: Detections) -> dict[str, float]:
    """P(yes) by check id, as if no parent had failed."""
    concepts = concepts_of(made, "a prompt")
    return {check.id: probability(check, concepts, made, detections) for check in concepts.checks}


def test_a_corner_is_a_thing_at_its_place():
    things = seen(("fox", 1, 3, 0.9), ("car", 3, 4, 0.8, "red")).things
    [fox], [car] = things["fox"], things["car"]
    assert (fox.thing, fox.probability, fox.colours) == (thing("fox", 1), pytest.approx(0.9), {})
    assert (car.thing, car.probability) == (thing("red car", 3), pytest.approx(0.8))
    assert car.colours["red"] == pytest.approx(1)
    assert all(found == () for noun, found in things.items() if noun not in ("fox", "car"))


def test_what_would_reach_over_the_edge_is_no_sighting():
    over = seen(("fox", 5, 3, 0.9), ("fox", 1, 4, 0.9), ("car", 3, 5, 0.9, "red"), ("ball", 5, 5, 0.9, "red"))
    assert not any(over.things.values())
    assert [s.thing.x for s in seen(("ball", 5, 4, 0.9, "red")).things["ball"]] == [5]


def test_the_likeliest_sighting_comes_first_and_faint_ones_not_at_all():
    found = seen(("fox", 0, 3, 0.3), ("fox", 2, 3, 0.9), ("fox", 4, 3, 0.01)).things["fox"]
    assert [s.thing.x for s in found] == [2, 0]


def test_a_fragment_anywhere_is_strange():
    assert seen().strange == pytest.approx(0, abs=1e-6)
    assert seen(strange=[(4, 2)]).strange == pytest.approx(1)


def test_the_place_is_read():
    assert seen(place="snow").places["snow"] == pytest.approx(1)


def test_pictures_of_a_batch_are_kept_apart():
    one, two = logits(("fox", 1, 3, 0.9)), logits(("bear", 1, 3, 0.9), strange=[(5, 5)], place="night")
    both = Logits(*(torch.cat([getattr(one, f), getattr(two, f)]) for f in ("nouns", "colours", "strange", "places")))
    assert detections(both) == [*detections(one), *detections(two)]


def test_presence_is_that_of_any_sighting():
    made = spec("fox")
    assert asked(made, look(detection("fox", 0, likely=0.5), detection("fox", 3, likely=0.5)))["presence:fox"] == 0.75
    assert asked(made, look())["presence:fox"] == 0


@pytest.mark.parametrize(
    ("likely", "exactly_one"), [((), 0.0), ((1.0,), 1.0), ((0.8,), 0.8), ((0.5, 0.5), 0.5), ((1.0, 1.0, 1.0), 0.0)]
)
def test_count_is_that_of_exactly_one(likely, exactly_one):
    found = [detection("fox", 2 * n, likely=p) for n, p in enumerate(likely)]
    assert asked(spec("fox"), look(*found))["count:fox"] == pytest.approx(exactly_one)


def test_the_colour_is_that_of_the_likeliest_sighting():
    two = look(detection("red car", 0, likely=0.9), detection("blue car", 3, likely=0.6))
    assert asked(spec("red car"), two)["attribute:car"] == 1
    assert asked(spec("blue car"), two)["attribute:car"] == 0
    assert asked(spec("blue car"), look())["attribute:car"] == 0


def test_a_relation_picks_the_sightings_that_stand_so():
    made = spec("fox, car", ("riding", (0, 1)))
    fox, car = detection("fox", 2, 5, likely=0.8), detection("red car", 2, likely=0.5)
    elsewhere = detection("fox", 0, likely=0.99)
    assert asked(made, look(elsewhere, fox, car))["relation:fox riding car"] == pytest.approx(0.4)
    assert asked(made, look(elsewhere, car))["relation:fox riding car"] == 0


def test_a_relation_of_three_is_asked_of_all_three():
    made = spec("fox, bear, cup", ("sharing", (0, 1, 2)))
    three = [detection("fox", 0), detection("bear", 3), detection("red cup", 2, 5, likely=0.7)]
    [relation] = [p for id, p in asked(made, look(*three)).items() if id.startswith("relation")]
    assert relation == pytest.approx(0.99 * 0.99 * 0.7)


def test_nothing_else_is_neither_stranger_nor_fragment():
    made = spec("fox")
    fox = detection("fox", 2)
    assert asked(made, look(fox, detection("fox", 4)))["nothing_else"] == 1
    assert asked(made, look(fox, detection("bear", 4, likely=0.9)))["nothing_else"] == pytest.approx(0.1)
    assert asked(made, look(fox, strange=0.8))["nothing_else"] == pytest.approx(0.2)


def test_a_third_of_a_kind_is_something_else_where_two_differ_in_their_colours():
    made = spec("red ball, blue ball", ("next to", (0, 1)))
    two = (thing("red ball", 0), thing("blue ball", 2))
    assert answers(made, Scene("meadow", two))["nothing_else"] == "pass"
    assert answers(made, Scene("meadow", (*two, thing("green ball", 4))))["nothing_else"] == "fail"


def test_what_stands_lower_hides_what_stands_behind_it():
    behind, before = thing("fox", 1, 5), thing("bear", 2)
    assert far_to_near([before, behind]) == far_to_near([behind, before]) == [behind, before]


def test_the_place_is_asked_for_where_the_prompt_names_one():
    assert asked(spec("fox", place="snow"), look(place="snow"))["scene"] == 1
    assert asked(spec("fox", place="snow"), look(place="night"))["scene"] == 0


def test_exact_sights_are_sure():
    scene = Scene("snow", (thing("fox", 2, 5), thing("red car", 2)))
    made = spec("fox, red car", ("riding", (0, 1)), place="snow")
    assert set(asked(made, exact_detections(scene, False)).values()) == {1.0}
    assert asked(made, exact_detections(scene, True))["nothing_else"] == 0


def test_a_failed_parent_settles_its_children_without_asking():
    made = spec("fox, red car", ("riding", (0, 1)))
    concepts = concepts_of(made, "a prompt")
    verdicts = {v.check: v for v in settle(concepts, made, look(detection("fox", 2, 5)))}
    assert verdicts["presence:car"].settled_by is None
    for child in ("attribute:car", "count:car", "relation:fox riding car"):
        assert (verdicts[child].answer, verdicts[child].settled_by) == ("fail", "presence:car")
        assert verdicts[child].probability is None
    assert verdicts["count:fox"].answer == "pass"


@pytest.mark.parametrize(
    ("likely", "answer"), [(0.44, "fail"), (0.46, "unknown"), (0.5, "unknown"), (0.54, "unknown"), (0.56, "pass")]
)
def test_an_answer_near_one_half_is_unknown_with_the_reason(likely, answer):
    made = spec("fox")
    verdict, *_ = settle(concepts_of(made, "a prompt"), made, look(detection("fox", 2, likely=likely)))
    assert (verdict.answer, verdict.probability) == (answer, pytest.approx(likely))
    assert (verdict.reason is not None) == (answer == "unknown")
    assert verdict.reason is None or f"{likely:.2f}" in verdict.reason


def test_an_unknown_parent_leaves_its_children_to_be_asked():
    made = spec("fox")
    presence, count, _ = settle(concepts_of(made, "a prompt"), made, look(detection("fox", 2, likely=0.5)))
    assert presence.answer == "unknown"
    assert count.settled_by is None


def test_verdicts_are_in_the_order_of_the_checks():
    made = spec("fox, red car", ("riding", (0, 1)), place="snow")
    assert list(answers(made, Scene("snow", ()))) == [c.id for c in concepts_of(made, "a prompt").checks]


def test_evidence_says_what_is_seen_where():
    made = spec("fox, red car", ("riding", (0, 1)), place="snow")
    concepts = concepts_of(made, "a prompt")
    found = look(detection("blue car", 2), detection("bear", 4), strange=1.0, place="night")
    said = {check.id: evidence(check, concepts, made, found) for check in concepts.checks}
    assert said["presence:fox"] == "no fox is seen"
    assert said["attribute:car"] == "blue car middle, bottom"
    assert said["relation:fox riding car"] == "no fox is seen; blue car middle, bottom"
    assert said["scene"] == "the place looks like: at night"
    assert said["nothing_else"] == "also seen: bear far right, bottom; a piece of something"
