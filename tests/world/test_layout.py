"""Scenes that are laid out for a spec show it, and nothing that it does not allow."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailscribe.tools.world.layout import lay_out, members
from detailscribe.tools.world.relations import RELATIONS, holds, overlap
from detailscribe.tools.world.spec import Spec, Wanted
from detailscribe.tools.world.vocabulary import COLOURS, GRID, NOUNS, PLACES

from .worlds import SEEDS, answers, spec, spec_and_scene


@given(SEEDS)
@settings(deadline=None)
def test_a_scene_shows_what_its_spec_wants(seed):
    made, scene = spec_and_scene(seed)
    assert [t.noun for t in scene.things] == [w.noun for w in made.things]
    assert all(w.colour in (None, t.colour) for t, w in zip(scene.things, made.things, strict=True))
    assert all(holds(link.relation, members(link, scene.things)) for link in made.links)
    assert scene.place == made.place if made.place else scene.place in PLACES


@given(SEEDS)
@settings(deadline=None)
def test_things_stay_in_the_picture_and_only_riders_and_guests_overlap(seed):
    made, scene = spec_and_scene(seed)
    together = {frozenset(link.members) for link in made.links if RELATIONS[link.relation].overlaps}
    assert all(min(t.x, t.y) >= 0 and max(t.right, t.bottom) <= GRID for t in scene.things)
    for (i, a), (j, b) in itertools.combinations(enumerate(scene.things), 2):
        assert frozenset((i, j)) in together or not overlap(a, b)


@given(SEEDS)
@settings(deadline=None)
def test_a_scene_passes_every_check_of_its_spec(seed):
    assert set(answers(*spec_and_scene(seed)).values()) == {"pass"}


@given(SEEDS)
@settings(deadline=None)
def test_open_colours_are_filled_for_those_that_have_one(seed):
    _, scene = spec_and_scene(seed)
    assert all((t.colour in COLOURS) == NOUNS[t.noun].coloured for t in scene.things)


@given(SEEDS)
@settings(deadline=None)
def test_the_same_seed_lays_out_the_same_scene(seed):
    made, _ = spec_and_scene(seed)
    assert lay_out(made, random.Random(seed)) == lay_out(made, random.Random(seed))


@pytest.mark.parametrize(
    ("names", "relation"),
    [("fox, red car", "riding"), ("fox, box", "inside"), ("fox, bear", "behind"), ("fox, hat", "wearing")],
)
def test_things_that_share_cells_have_a_scene(names, relation):
    assert lay_out(spec(names, (relation, (0, 1))), random.Random(0)) is not None


def test_what_cannot_be_has_no_scene():
    left_of_each_other = spec("fox, bear", ("left of", (0, 1)), ("left of", (1, 0)))
    no_room_for_a_fourth = spec("fox, bear, cat, dog", ("in a row", (0, 1, 2)), ("next to", (0, 3)))
    a_fox_on_two_vehicles = spec("fox, car, boat", ("riding", (0, 1)), ("riding", (0, 2)))
    for impossible in (left_of_each_other, no_room_for_a_fourth, a_fox_on_two_vehicles):
        assert lay_out(impossible, random.Random(0)) is None


@given(SEEDS)
@settings(deadline=None)
def test_things_go_to_cheap_places(seed):
    alone = spec("fox")
    for column in range(5):
        scene = lay_out(alone, random.Random(seed), lambda _, t, column=column: abs(t.x - column))
        assert scene.things[0].x == column


@given(SEEDS, st.integers(0, 99))
@settings(deadline=None)
def test_a_scene_that_fulfils_the_spec_is_found_again_where_staying_is_cheapest(seed, other):
    made, scene = spec_and_scene(seed)
    as_it_is = Spec(tuple(Wanted(t.noun, t.colour) for t in scene.things), made.links, scene.place)
    again = lay_out(
        as_it_is, random.Random(other), lambda i, t: abs(t.x - scene.things[i].x) + abs(t.y - scene.things[i].y)
    )
    assert again == scene
