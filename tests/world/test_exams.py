"""Errors that are planted in scenes make the checks fail that they must."""

import random
from dataclasses import replace

from hypothesis import assume, given, settings

import benchmarks.held_out as held_out
from detailscribe.tools.world.decomposer import entities_of

from .worlds import SEEDS, answers, failed_aspects, spec_and_scene


def changed(seed, error):
    """A spec with its scene, and the scene after the error."""
    made, scene = spec_and_scene(seed)
    wrong = error(scene, random.Random(seed))
    assume(wrong != scene)
    return made, scene, wrong


def names_of(spec):
    return [entity.id for entity in entities_of(spec)]


@given(SEEDS)
@settings(deadline=None)
def test_a_thing_that_is_gone_is_missed(seed):
    made, scene, wrong = changed(seed, held_out._remove)
    gone = next(name for name, t in zip(names_of(made), scene.things, strict=True) if t not in wrong.things)
    found = answers(made, wrong)
    assert found[f"presence:{gone}"] == "fail"
    assert all(a == "pass" for check, a in found.items() if check.startswith("presence") and gone not in check)


@given(SEEDS)
@settings(deadline=None)
def test_a_wrong_colour_is_seen_where_one_was_asked_for(seed):
    made, _, wrong = changed(seed, held_out._recolour)
    assume(names_of(made) == [w.noun for w in made.things])
    asked = {f"attribute:{w.noun}" for w in made.things if w.colour is not None}
    assert {check for check, answer in answers(made, wrong).items() if answer == "fail"} == asked


@given(SEEDS)
@settings(deadline=None)
def test_another_thing_in_the_place_of_one_is_missed_and_a_stranger(seed):
    made, _, wrong = changed(seed, held_out._swap)
    assert {"presence", "nothing_else"} <= failed_aspects(made, wrong)


@given(SEEDS)
@settings(deadline=None)
def test_a_second_one_is_counted_and_is_no_stranger(seed):
    made, scene, wrong = changed(seed, held_out._duplicate)
    added = wrong.things[-1]
    pairs = zip(names_of(made), scene.things, strict=True)
    twice = next(name for name, t in pairs if (t.noun, t.colour) == (added.noun, added.colour))
    assert len(wrong.things) == len(scene.things) + 1
    assert [c for c, a in answers(made, wrong).items() if a == "fail"] == [f"count:{twice}"]


@given(SEEDS)
@settings(deadline=None)
def test_a_thing_that_moved_breaks_nothing_but_relations(seed):
    made, _, wrong = changed(seed, held_out._move)
    assert failed_aspects(made, wrong) <= {"relation"}


@given(SEEDS)
@settings(deadline=None)
def test_another_place_is_seen_where_one_was_asked_for(seed):
    made, _, wrong = changed(seed, held_out._other_place)
    assert failed_aspects(made, wrong) == ({"scene"} if made.place else set())


@given(SEEDS)
@settings(deadline=None)
def test_a_fragment_is_something_else(seed):
    made, scene = spec_and_scene(seed)
    assert failed_aspects(made, scene, strange=True) == {"nothing_else"}


def test_exams_are_held_out_and_some_are_without_error():
    made = held_out.exams(60)
    correct = [not failed_aspects(exam.spec, exam.scene, exam.strange) for exam in made]
    assert all(exam.spec.held_out for exam in made)
    assert 0.2 < sum(correct) / len(correct) < 0.6


def test_exams_are_the_same_each_time():
    first, second = ([replace(e, picture=e.picture.tobytes()) for e in held_out.exams(6)] for _ in range(2))
    assert first == second


def test_every_second_held_out_prompt_has_an_unseen_combination():
    prompts = held_out.held_out_prompts(20)
    assert [p.unseen for p in prompts] == [False, True] * 10
    assert len({p.short for p in prompts}) == 20
    assert all(p.spec.held_out and p.detailed.startswith(f"{p.short}. Placed ") for p in prompts)
