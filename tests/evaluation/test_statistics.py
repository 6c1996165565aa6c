"""Intervals and tests against values that are known otherwise."""

from math import comb

import numpy as np
import pytest

from detailscribe.agent.evaluation.statistics import (
    Interval,
    holm,
    mean_interval,
    paired_test,
    proportion_interval,
    ratio_interval,
    sign,
)


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    samples = list(np.random.default_rng(1).normal(3.0, 2.0, 400))
    found = mean_interval(samples)
    assert found is not None
    error = 1.96 * np.std(samples) / 20
    assert found.value == pytest.approx(np.mean(samples))
    assert found.low == pytest.approx(found.value - error, abs=0.03)
    assert found.high == pytest.approx(found.value + error, abs=0.03)


def test_an_interval_holds_the_truth_in_about_95_of_100_experiments():
    rng = np.random.default_rng(2)
    held = [mean_interval(list(rng.binomial(1, 0.7, 100).astype(float))) for _ in range(100)]
    assert 88 <= sum(i is not None and i.low <= 0.7 <= i.high for i in held) <= 100


def test_the_same_samples_have_the_same_interval():
    samples = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert mean_interval(samples) == mean_interval(samples)


def test_where_all_succeed_the_interval_is_the_exact_one():
    assert proportion_interval([1.0] * 10) == Interval(1.0, pytest.approx(0.6915, abs=1e-4), 1.0)
    assert proportion_interval([0.0] * 10) == Interval(0.0, 0.0, pytest.approx(0.3085, abs=1e-4))
    assert proportion_interval([0.0, 1.0]) == mean_interval([0.0, 1.0])
    assert proportion_interval([1.0] * 40, list("abcdefghij") * 4) == proportion_interval([1.0] * 10)


def test_no_samples_have_no_interval():
    assert mean_interval([]) is None
    assert proportion_interval([]) is None
    assert ratio_interval([], []) is None


@pytest.mark.parametrize(("wins", "losses"), [(5, 0), (6, 2), (9, 3), (4, 4)])
def test_with_equal_steps_the_paired_test_is_the_sign_test(wins, losses):
    count = wins + losses
    tail = sum(comb(count, k) for k in range(max(wins, losses), count + 1)) / 2**count
    assert paired_test([1.0] * wins + [-1.0] * losses + [0.0] * 7) == pytest.approx(min(1.0, 2 * tail))


def test_beyond_a_few_differences_the_test_is_by_chance_and_near_the_exact_one():
    wins, losses = 22, 8
    tail = sum(comb(30, k) for k in range(wins, 31)) / 2**30
    assert paired_test([1.0] * wins + [-1.0] * losses) == pytest.approx(2 * tail, rel=0.3)


def test_differences_that_are_all_zero_say_nothing():
    assert paired_test([0.0] * 20) == 1.0


def test_holms_method_as_in_its_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_a_ratio_of_gains_has_an_interval_around_it():
    rng = np.random.default_rng(5)
    critic = rng.binomial(1, 0.5, 400).astype(float)
    judge = critic * rng.binomial(1, 0.8, 400)
    found = ratio_interval(list(judge), list(critic))
    assert found is not None
    assert found.low < 0.8 < found.high
    assert found.value == pytest.approx(judge.mean() / critic.mean())


def test_a_ratio_to_what_may_be_zero_is_not_given():
    assert ratio_interval([1.0, 0.0, 0.0, -1.0], [1.0, -1.0, 1.0, -1.0]) is None


def test_a_ratio_over_few_prompts_has_an_interval_too():
    found = ratio_interval([1.0, 1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0, 0.0])
    assert found is not None
    assert found.value == pytest.approx(2 / 3)
    assert 0 <= found.low < 2 / 3 < found.high <= 1


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1.0] * 6 + [0.0] * 4, "+"),
        ([-0.2, -0.3] * 10, "-"),
        ([1.0, -1.0] * 10, "0"),
        ([1.0], "0"),
        ([0.2] * 3, "0"),
        ([1.0] * 5 + [0.0] * 95, "0"),
        ([], None),
    ],
)
def test_the_sign_is_that_of_the_whole_interval_of_enough_differences(differences, expected):
    assert sign(differences) == expected
    assert expected in ("0", None) or paired_test(differences) < 0.05
