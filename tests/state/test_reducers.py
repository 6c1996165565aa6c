"""Concurrent updates meet in any order, with one outcome."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detailscribe.state import Decision, merge_by_id

merge = merge_by_id(str)

TRUTH = {id: f"record of {id}" for id in "abcdefgh"}
UPDATES = st.sets(st.sampled_from(sorted(TRUTH))).map(lambda ids: {id: TRUTH[id] for id in ids})


@given(UPDATES, UPDATES)
def test_order_does_not_matter(one, other):
    merged = merge(one, other)
    assert list(merged.items()) == list(merge(other, one).items())
    assert merged == {id: TRUTH[id] for id in sorted(one.keys() | other.keys())}


@given(UPDATES, UPDATES, UPDATES)
def test_grouping_does_not_matter(one, two, three):
    assert merge(merge(one, two), three) == merge(one, merge(two, three))


@given(UPDATES)
def test_an_update_that_comes_twice_counts_once(update):
    assert merge(update, update) == update


@given(UPDATES, UPDATES)
def test_the_updates_themselves_are_left_alone(one, other):
    before = dict(one), dict(other)
    merge(one, other)
    assert (one, other) == before


def test_the_later_record_of_an_id_counts_so_that_a_state_can_be_edited():
    assert merge({"c": "1", "a": "1"}, {"a": "2"}) == {"a": "2", "c": "1"}


def test_plain_data_becomes_a_record_and_anything_else_is_refused():
    kept = Decision(image="00-00", rule="enough", reason="one is enough")
    assert merge_by_id(Decision)({}, {"00-00": kept.model_dump(mode="json")}) == {"00-00": kept}
    assert merge_by_id(Decision)({}, {"00-00": kept})["00-00"] is kept
    with pytest.raises(RuntimeError, match="no such update as Decision by id: 00-00: rule: Field required"):
        merge_by_id(Decision)({}, {"00-00": {"image": "00-00"}})
    with pytest.raises(RuntimeError, match="no such update as Decision by id: Input should be a valid dictionary"):
        merge_by_id(Decision)({}, "stop it")
