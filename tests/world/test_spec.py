"""Which prompts training may see does not change from one day to the next."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detailscribe.tools.world.grammar import parse
from detailscribe.tools.world.language import detailed_caption, short_caption
from detailscribe.tools.world.layout import laid_out_specs
from detailscribe.tools.world.relations import RELATIONS
from detailscribe.tools.world.spec import MOST_THINGS, combination, random_spec
from detailscribe.tools.world.vocabulary import NOUNS
from training.common import scenes_for_training
from training.text import MAX_TOKENS, build_tokenizer

from .worlds import SEEDS, spec


def test_the_shares_are_where_they_were():
    """Pinned: the shipped weights were trained on what is not held out here."""
    riding = [(animal, spec(f"{animal}, red bicycle", ("riding", (0, 1)))) for animal in ("fox", "bear", "cat", "dog")]
    assert {animal: (s.unseen, s.held_out) for animal, s in riding} == {
        "fox": (True, True),
        "bear": (False, False),
        "cat": (False, False),
        "dog": (False, False),
    }
    made = [random_spec(random.Random(seed)) for seed in range(400)]
    assert sum(s.unseen for s in made) == 117
    assert sum(s.held_out for s in made) == 142


def test_about_a_fifth_of_the_combinations_is_unseen():
    pairs = [spec(f"{a}, {b}", ("left of", (0, 1))) for a, b in itertools.permutations(NOUNS, 2)]
    assert 0.15 < sum(s.unseen for s in pairs) / len(pairs) < 0.25


def test_the_place_does_not_make_a_prompt_another_one():
    for seed in range(100):
        made = random_spec(random.Random(seed))
        moved = [type(made)(made.things, made.links, place) for place in ("snow", "night", None)]
        assert {s.held_out for s in moved} == {made.held_out}


def test_what_is_unseen_is_held_out():
    made = [random_spec(random.Random(seed)) for seed in range(300)]
    assert all(s.held_out for s in made if s.unseen)
    assert any(s.held_out and not s.unseen for s in made)


def test_training_sees_nothing_that_is_held_out():
    seen = list(itertools.islice(scenes_for_training(random.Random(1)), 300))
    assert not any(s.held_out or s.unseen for s, _ in seen)


def test_order_counts_where_it_has_a_meaning():
    assert combination("next to", ["fox", "bear"]) == combination("next to", ["bear", "fox"])
    assert combination("in a row", ["fox", "cat", "bear"]) == combination("in a row", ["bear", "fox", "cat"])
    assert combination("lifting", ["fox", "bear", "box"]) == combination("lifting", ["bear", "fox", "box"])
    assert combination("left of", ["fox", "bear"]) != combination("left of", ["bear", "fox"])


@given(SEEDS)
def test_a_made_up_spec_is_well_formed(seed):
    made = random_spec(random.Random(seed))
    assert 2 <= len(made.things) <= 4
    assert len({w.noun for w in made.things}) == len(made.things)  # those of a complexity may be alike
    assert all(w.colour is None or NOUNS[w.noun].coloured for w in made.things)
    for link in made.links:
        assert len(link.members) == len(set(link.members)) == len(RELATIONS[link.relation].takes)
        assert set(link.members) <= set(range(len(made.things)))


@pytest.mark.parametrize("complexity", [1, 2, 3, 4, 5])
def test_a_spec_has_as_many_relations_as_are_asked_for_and_all_belong_together(complexity):
    rng = random.Random(complexity)
    made = [s for s, _ in itertools.islice(laid_out_specs(rng, lambda _: True, complexity), 25)]
    assert {len(s.links) for s in made} == {complexity}
    assert max(len(s.things) for s in made) <= MOST_THINGS
    for s in made:
        assert parse(short_caption(s)) == parse(short_caption(s, rng)) == s
        reached = {0}
        for _ in s.links:
            reached |= {i for link in s.links if reached & set(link.members) for i in link.members}
        assert reached == set(range(len(s.things)))


def test_a_prompt_of_the_highest_complexity_is_read_to_its_end():
    tokenizer = build_tokenizer()
    for s, scene in itertools.islice(laid_out_specs(random.Random(5), lambda _: True, 5), 25):
        assert len(tokenizer(detailed_caption(short_caption(s), scene)).input_ids) <= MAX_TOKENS


@given(st.lists(SEEDS, min_size=2, max_size=4))
def test_the_same_seed_makes_the_same_spec(seeds):
    for seed in seeds:
        assert random_spec(random.Random(seed)) == random_spec(random.Random(seed))


def test_every_relation_and_noun_is_made_up():
    made = [random_spec(random.Random(seed), 1 + seed % 3) for seed in range(600)]
    assert {link.relation for s in made for link in s.links} == set(RELATIONS)
    assert {w.noun for s in made for w in s.things} == set(NOUNS)
    alike = [s for s in made if len({w.noun for w in s.things}) < len(s.things)]
    assert 0.01 < len(alike) / len(made) < 0.3
    assert all(len({(w.noun, w.colour) for w in s.things}) == len(s.things) for s in alike)
