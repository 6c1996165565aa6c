"""A decision carries what its action needs, and nothing else."""

import pytest
from pydantic import ValidationError

from detailscribe.state import SEED_LIMIT, Decision, Plan

PARAMETERS = {
    "refine": {"source": "x", "operator": "inject", "start_step": 0, "prompt": "a cat", "seed": 1},
    "reseed": {"prompt": "a cat", "seed": 1},
    "stop": {},
}
WHY = {"image": "x", "rule": "some_rule", "reason": "because"}


@pytest.mark.parametrize("action", PARAMETERS)
def test_a_decision_with_what_its_action_needs_is_whole(action):
    assert Decision(action=action, **WHY, **PARAMETERS[action]).action == action


@pytest.mark.parametrize(("action", "name"), [(a, name) for a, given in PARAMETERS.items() for name in given])
def test_a_missing_parameter_is_named(action, name):
    rest = {n: value for n, value in PARAMETERS[action].items() if n != name}
    with pytest.raises(ValidationError, match=f"a {action} decision needs .*missing: {name}; surplus: none"):
        Decision(action=action, **WHY, **rest)


@pytest.mark.parametrize(
    ("action", "name"), [(a, n) for a, given in PARAMETERS.items() for n in PARAMETERS["refine"] if n not in given]
)
def test_a_surplus_parameter_is_named(action, name):
    surplus = {name: PARAMETERS["refine"][name]}
    with pytest.raises(ValidationError, match=f"missing: none; surplus: {name}"):
        Decision(action=action, **WHY, **PARAMETERS[action], **surplus)


@pytest.mark.parametrize("rule", ["", "All Pass", "all-pass", "2nd"])
def test_a_rule_is_named_in_snake_case(rule):
    with pytest.raises(ValidationError):
        Decision(image="x", action="stop", rule=rule, reason="because")


def test_a_decision_has_a_reason():
    with pytest.raises(ValidationError):
        Decision(image="x", action="stop", rule="all_pass", reason=" ")


@pytest.mark.parametrize("seed", [-1, SEED_LIMIT])
def test_a_seed_is_in_range(seed):
    with pytest.raises(ValidationError):
        Decision(action="reseed", **WHY, prompt="a cat", seed=seed)


def test_a_plan_draws_at_least_one_image_and_keeps_steps_from_zero():
    with pytest.raises(ValidationError):
        Plan(images=0)
    with pytest.raises(ValidationError):
        Plan(keep_steps=(-1,))


def test_a_refinement_can_start_at_several_steps_each_an_image():
    decision = Decision(action="refine", **WHY, **PARAMETERS["refine"], branches=(2, 4))
    assert decision.starts == (0, 2, 4)
    assert Decision(action="stop", **WHY).starts == ()


@pytest.mark.parametrize(
    ("action", "branches", "complaint"),
    [("reseed", (2,), "surplus: branches"), ("stop", (2,), "surplus: branches"), ("refine", (0,), "one image")],
)
def test_only_a_refinement_branches_and_each_branch_is_another_image(action, branches, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Decision(action=action, **WHY, **PARAMETERS[action], branches=branches)


def test_a_plan_that_fixes_seeds_fixes_one_for_each_drawing():
    assert Plan(images=2, seeds=(3, 4)).seeds == (3, 4)
    with pytest.raises(ValidationError, match="2 first drawings need as many seeds, not 1"):
        Plan(images=2, seeds=(3,))


def test_a_preview_stops_after_it_starts_and_a_stop_has_none():
    assert Decision(action="refine", **WHY, **PARAMETERS["refine"], stop_step=3).stop_step == 3
    with pytest.raises(ValidationError, match="would stop before it starts"):
        Decision(action="refine", **WHY, **PARAMETERS["refine"], branches=(3,), stop_step=3)
    with pytest.raises(ValidationError, match="surplus: stop_step"):
        Decision(action="stop", **WHY, stop_step=3)
