"""A decision asks for any number of attempts; what cannot be carried out is refused when it is written down."""

import pytest
from pydantic import ValidationError

from detailscribe.state import Advice, Attempt, Choice, Decision, ImageRecord, Plan

DRAWING = Attempt(prompt="a cat", seed=7)
REFINEMENT = Attempt(source="00-00", operator="inject", start_step=4, prompt="a red cat", seed=7)


def decision(*attempts):
    return Decision(image="00-00", rule="some_rule", reason="because", attempts=attempts)


@pytest.mark.parametrize(
    ("attempts", "action"),
    [
        ((), "stop"),
        ((DRAWING,), "reseed"),
        ((REFINEMENT,), "refine"),
        ((REFINEMENT, DRAWING), "refine"),
        ((DRAWING, REFINEMENT), "reseed"),
    ],
)
def test_the_action_is_that_of_the_first_attempt(attempts, action):
    made = decision(*attempts)
    assert made.action == action
    assert made.model_dump()["action"] == action, "the file of a result says it too"
    assert Decision.model_validate_json(made.model_dump_json()) == made
    assert Decision.model_validate(made.model_dump()) == made


@pytest.mark.parametrize("rule", ["Some rule", "", "1st", "kebab-case"])
def test_a_rule_is_named_in_snake_case(rule):
    with pytest.raises(ValidationError, match="rule"):
        Decision(image="00-00", rule=rule, reason="because")


@pytest.mark.parametrize("field", ["source", "operator", "start_step", "prompt", "seed", "branches"])
def test_what_belongs_to_an_attempt_is_refused_on_a_decision(field):
    with pytest.raises(ValidationError, match=field):
        Decision.model_validate({"image": "00-00", "rule": "r", "reason": "x", field: 1})


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"source": "00-00"}, "a source and an operator, or neither"),
        ({"operator": "inject"}, "a source and an operator, or neither"),
        ({"start_step": 3}, "starts at step 0"),
        ({"source": "00-00", "operator": "inject", "start_step": 5, "stop_step": 5}, "stop before it starts"),
        ({"source": "00-00", "operator": "inject", "start_step": -1}, "start_step"),
        ({"prompt": ""}, "prompt"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"steps": 0}, "steps"),
        ({"guidance": -0.5}, "guidance"),
        ({"keep_steps": (-1,)}, "keep_steps"),
        ({"strength": 0.5}, "strength"),
    ],
)
def test_an_attempt_that_cannot_be_carried_out_is_refused(fields, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Attempt.model_validate(fields)


@pytest.mark.parametrize(
    ("attempt", "origin"),
    [
        (Attempt(), "generate"),
        (Attempt(parent="00-00"), "reseed"),
        (Attempt(parent="00-00", source="00-00", operator="resume"), "refine"),
    ],
)
def test_an_attempt_knows_what_its_image_will_be(attempt, origin):
    assert attempt.origin == origin


@pytest.mark.parametrize("operator", [None, "inject", "resume"])
def test_a_record_gives_the_attempt_that_makes_it_again(operator):
    lineage = {"origin": "refine", "parent": "00-00", "start_step": 4} if operator else {"origin": "generate"}
    record = ImageRecord.model_validate(
        {
            "id": "01-00",
            "round": 1,
            "prompt": "a cat",
            "seed": 7,
            "steps": 28,
            "start_step": 0,
            "start_sigma": 1.0,
            "stop_step": 9,
            "operator": operator,
            "guidance": 3.5,
            "width": 8,
            "height": 8,
            "model": "m@0",
            "path": "images/01-00.png",
            "latent": None,
            "evaluations": 1,
            "seconds": 0.0,
        }
        | lineage
    )
    attempt = record.attempt((2, 4))
    assert (attempt.id, attempt.round, attempt.parent, attempt.origin) == ("01-00", 1, record.parent, record.origin)
    assert attempt.source == (record.parent if operator else None)
    made = (attempt.prompt, attempt.seed, attempt.start_step, attempt.stop_step, attempt.steps, attempt.guidance)
    assert made == ("a cat", 7, record.start_step, 9, 28, 3.5)
    assert attempt.keep_steps == (2, 4)


def test_a_plan_is_a_list_of_attempts():
    plan = Plan(images=3, keep_steps=(1, 2), stop_step=5)
    assert plan == (Attempt(keep_steps=(1, 2), stop_step=5),) * 3
    assert [attempt.seed for attempt in Plan(images=2, seeds=(5, 6))] == [5, 6]
    assert Plan() == (Attempt(keep_steps=()),)


@pytest.mark.parametrize("given", [{"images": 0}, {"images": 2, "seeds": (1,)}, {"keep_steps": (-1,)}])
def test_a_plan_that_cannot_be_drawn_is_refused(given):
    with pytest.raises(ValueError, match=r"at least one|as many seeds|keep_steps"):
        Plan(**given)


def test_advice_has_choices_or_says_why_it_has_none():
    choice = Choice(image="00-00", action="stop", reason="enough")
    assert Advice(round=0, choices=(choice,)).about("00-00") == choice
    assert Advice(round=0, silence="no answer").about("00-00") is None
    for wrong in ({}, {"choices": (choice,), "silence": "none"}, {"choices": (choice, choice)}):
        with pytest.raises(ValidationError, match="advice"):
            Advice(round=0, **wrong)
