"""Spends add up, and a budget says which bound was reached."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from detailscribe.state import Budget, Spend

WHOLE = st.integers(0, 10**9)
SPENDS = st.builds(Spend, evaluations=WHOLE, images=WHOLE, critic_calls=WHOLE, tokens=WHOLE, seconds=WHOLE, money=WHOLE)


@given(SPENDS, SPENDS)
def test_spends_add_up_field_by_field(one, other):
    total = one + other
    assert total == other + one
    for name in Spend.model_fields:
        assert getattr(total, name) == getattr(one, name) + getattr(other, name)


@pytest.mark.parametrize("name", ["images", "evaluations", "critic_calls", "tokens", "seconds", "money"])
def test_a_bound_may_be_reached_and_not_exceeded(name):
    budget = Budget(**{"images": 100, name: 3})
    assert budget.exceeded_by(Spend(**{name: 3})) is None
    assert budget.exceeded_by(Spend(**{name: 4})) == name


def test_what_is_not_bounded_is_never_exceeded():
    much = Spend(images=1, evaluations=10**9, tokens=10**9, seconds=1e9, money=1e9)
    assert Budget(images=2).exceeded_by(much) is None


def test_rounds_and_images_are_always_bounded():
    for name in ("rounds", "images"):
        with pytest.raises(ValidationError):
            Budget(**{name: None})


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf")])
def test_a_spend_is_a_finite_amount(amount):
    with pytest.raises(ValidationError):
        Spend(seconds=amount)
