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
