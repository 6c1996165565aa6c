"""Seeds follow from names, alike on every machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detailscribe.state import SEED_LIMIT, derive_seed


def test_the_same_names_give_the_same_seed_for_ever():
    assert derive_seed(7, "r0", 1) == 4031968009


@given(st.integers(0, SEED_LIMIT - 1), st.lists(st.text() | st.integers(), max_size=3))
def test_a_seed_is_in_range(seed, names):
    assert 0 <= derive_seed(seed, *names) < SEED_LIMIT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, "a"), (2, "a")),
        ((1, "a"), (1, "b")),
        ((1, "a", "b"), (1, "a/b")),
        ((1, "a/b"), (1, "a~1b")),
        ((1,), (1, "")),
    ],
)
def test_other_names_give_another_seed(one, other):
    assert derive_seed(*one) != derive_seed(*other)
