"""Concepts without a checklist get a plain one."""

from detailscribe.state import Entity, Interaction, default_checks

BALL = Entity(id="b", name="ball", attributes=("red", "small"))
CATS = Entity(id="c", name="cat", count=2)
TOUCH = Interaction(id="t", kind="contact", subjects=("c",), relation="touch", object="b")


def test_every_concept_is_asked_for_after_what_it_needs():
    asked = [(c.aspect, c.about, c.depends_on) for c in default_checks([BALL, CATS], [TOUCH])]
    assert asked == [
        ("presence", "b", ()),
        ("attribute", "b", ("presence:b",)),
        ("attribute", "b", ("presence:b",)),
        ("presence", "c", ()),
        ("count", "c", ("presence:c",)),
        ("relation", "t", ("presence:c", "presence:b")),
    ]


def test_questions_tell_like_things_apart_by_their_attributes():
    questions = [c.question for c in default_checks([BALL, CATS], [TOUCH])]
    assert questions[1] == "Is the ball red?"
    assert questions[-1] == "Does the picture show this: cat touch red small ball?"


def test_what_is_wanted_once_is_counted_where_that_is_asked_for():
    assert [c.question for c in default_checks([BALL, CATS], [], counted=["b"]) if c.aspect == "count"] == [
        "Is there exactly one ball in the picture?",
        "Counting every cat in the picture, are there exactly 2?",
    ]


def test_things_of_one_name_are_not_mixed_up():
    balls = [BALL, Entity(id="b2", name="ball", attributes=("blue",))]
    assert [c.question for c in default_checks(balls, [], counted=["b", "b2"]) if c.about == "b2"] == [
        "Is there any ball in the picture?",
        "Is there any ball that is blue?",
        "Is there exactly one blue ball in the picture?",
    ]


def test_an_interaction_with_itself_depends_on_it_once():
    washes = Interaction(id="w", kind="contact", subjects=("c",), relation="wash", object="c")
    assert default_checks([CATS], [washes])[-1].depends_on == ("presence:c",)
