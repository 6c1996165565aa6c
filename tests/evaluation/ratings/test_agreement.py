"""Agreement, held against published examples."""

import random

import numpy as np
import pytest

from detailscribe.agent.evaluation.statistics import (
    alpha_interval,
    balanced_accuracy,
    cohen_kappa,
    grouped_interval,
    kendall,
    spearman,
)


def alpha(units, scale):
    """Without its interval."""
    found = alpha_interval(units, scale)
    return found and found.value


KRIPPENDORFF = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
"""Four observers, twelve units, some left out: "Computing Krippendorff's Alpha-Reliability" (2011), example C."""


def units(*raters):
    return [[float(value) for value in unit if value != "."] for unit in zip(*map(str.split, raters), strict=True)]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_the_published_example(level, published):
    assert alpha(units(*KRIPPENDORFF), level) == pytest.approx(published, abs=5e-4)


def test_alpha_of_two_observers_and_two_values_is_the_published_one():
    assert alpha(units("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"), "nominal") == pytest.approx(0.095, abs=5e-4)


def test_alpha_is_one_for_perfect_agreement_and_not_told_where_nothing_can_differ():
    assert alpha([[1, 1], [5, 5], [3, 3]], "ordinal") == 1
    assert alpha([[2, 2], [2, 2]], "ordinal") is None
    assert alpha([[1], [5]], "ordinal") is None


def test_the_interval_of_alpha_holds_it_and_does_not_change():
    found = alpha_interval(units(*KRIPPENDORFF), "ordinal")
    assert found.value == pytest.approx(0.815, abs=5e-4)
    assert found.low < found.value < found.high
    assert found == alpha_interval(units(*KRIPPENDORFF), "ordinal")


def test_the_interval_of_alpha_is_as_wide_as_a_plain_bootstrap_of_units_makes_it():
    rng = random.Random(1)
    pairs = [(a, a if rng.random() < 0.7 else rng.randint(1, 3)) for a in (rng.randint(1, 3) for _ in range(60))]
    found = alpha_interval(pairs, "nominal")
    drawn = sorted(alpha(rng.choices(pairs, k=len(pairs)), "nominal") for _ in range(200))
    assert found.value == pytest.approx(alpha(pairs, "nominal"))
    assert (found.low, found.high) == pytest.approx((drawn[5], drawn[194]), abs=0.05)
    assert found.high - found.low > 0.2


def test_an_interval_over_groups_has_the_width_of_95_of_100_experiments():
    """The statistic is a mean here, whose interval is known: 1.96 standard errors to each side."""
    values = list(np.random.default_rng(2).normal(size=400))
    found = grouped_interval(values, values, [str(n) for n in range(400)], lambda x, y: float(x.mean()))
    half = 1.96 * float(np.std(values)) / 20
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.1 * half)


def test_rank_correlations_are_those_of_published_examples():
    iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    hours = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert spearman(iq, hours) == pytest.approx(-29 / 165)
    assert kendall([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]) == pytest.approx(-0.47140452079103173)


@pytest.mark.parametrize("correlation", [spearman, kendall])
def test_what_is_constant_correlates_with_nothing(correlation):
    assert correlation([1, 1, 1], [1, 2, 3]) is None
    assert correlation([1], [2]) is None
    assert correlation([], []) is None


def test_pairs_of_one_prompt_are_resampled_together():
    x, y = [1, 2, 3, 4, 5, 6], [1, 2, 3, 6, 5, 4]
    apart = grouped_interval(x, y, list("abcdef"), spearman)
    together = grouped_interval(x, y, list("aaabbb"), spearman)
    assert apart.value == together.value
    assert apart.low != together.low


def test_kappa_and_balanced_accuracy_of_a_textbook_table():
    table = [[20, 5], [10, 15]]
    assert cohen_kappa(table) == pytest.approx(0.4)
    assert balanced_accuracy(table) == pytest.approx(0.7)


def test_a_table_that_says_nothing_has_no_figure():
    assert cohen_kappa([[0, 0], [0, 0]]) is None
    assert cohen_kappa([[9, 0], [0, 0]]) is None
    assert balanced_accuracy([[9, 1], [0, 0]]) is None
