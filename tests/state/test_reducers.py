"""Concurrent updates meet in any order, with one outcome."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detailscribe.state import merge_by_id

TRUTH = {id: f"record of {id}" for id in "abcdefgh"}
UPDATES = st.sets(st.sampled_from(sorted(TRUTH))).map(lambda ids: {id: TRUTH[id] for id in ids})


@given(UPDATES, UPDATES)
def test_order_does_not_matter(one, other):
    merged = merge_by_id(one, other)
    assert list(merged.items()) == list(merge_by_id(other, one).items())
    assert merged == {id: TRUTH[id] for id in sorted(one.keys() | other.keys())}


@given(UPDATES, UPDATES, UPDATES)
def test_grouping_does_not_matter(one, two, three):
    assert merge_by_id(merge_by_id(one, two), three) == merge_by_id(one, merge_by_id(two, three))


@given(UPDATES)
def test_an_update_that_comes_twice_counts_once(update):
    assert merge_by_id(update, update) == update


@given(UPDATES, UPDATES)
def test_the_updates_themselves_are_left_alone(one, other):
    before = dict(one), dict(other)
    merge_by_id(one, other)
    assert (one, other) == before


def test_a_clash_is_an_error_that_names_the_ids():
    with pytest.raises(ValueError, match=r"same id: a, c$"):
        merge_by_id({"c": 1, "a": 1, "b": 1}, {"a": 2, "b": 1, "c": 2})
