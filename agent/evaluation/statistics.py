"""Intervals, tests, rank correlations and agreement, as functions of numbers; resampling has a fixed seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
"""For the interval of a mean."""
FEW_RESAMPLES = 1000
"""For a statistic that is computed again from each resample."""
LEVEL = 0.95
"""Share of experiments whose interval holds the true value."""
Floats = NDArray[np.float64]
Scale = Literal["nominal", "ordinal", "interval"]
"""nominal: values are equal or not; ordinal: they have an order; interval: their differences are comparable."""

_CHUNK = 500
_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


@dataclass(frozen=True)
class Interval:
    """An estimate with the range that holds the true value in 95 of 100 experiments."""

    value: float
    low: float
    high: float


def mean_interval(samples: Sequence[float]) -> Interval | None:
    """The mean with its percentile bootstrap interval; None for no samples."""
    if not len(samples):
        return None
    values: Floats = np.asarray(samples, dtype=np.float64)
    return _interval(float(values.mean()), _resampled_means(values[:, None])[:, 0])


def proportion_interval(samples: Sequence[float], groups: Sequence[str] | None = None) -> Interval | None:
    """``mean_interval`` of samples that are 0 or 1, or shares of such; samples of one group are resampled together.

    If all are 0, or all are 1, resampling shows no spread, so the exact Clopper-Pearson interval for as many groups is
    used.
    """
    from scipy.stats import binomtest

    if samples and set(samples) in ({0.0}, {1.0}):
        count = len(samples if groups is None else set(groups))
        exact = binomtest(count * int(samples[0]), count).proportion_ci(LEVEL)
        return Interval(samples[0], float(exact.low), float(exact.high))
    if groups is None or not samples:
        return mean_interval(samples)
    return grouped_interval(samples, samples, groups, lambda x, _: float(x.mean()))


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> Interval | None:
    """Ratio of two means over the same units, resampled together; None where the denominator may be zero."""
    pairs: Floats = np.column_stack([numerators, denominators]).astype(np.float64)
    if not len(pairs):
        return None
    means = _resampled_means(pairs)
    low, high = np.quantile(means[:, 1], _TAILS)
    if low <= 0 <= high:
        return None
    means = means[means[:, 1] != 0]  # with few prompts, a resample may have no gain at all
    return _interval(float(pairs[:, 0].mean() / pairs[:, 1].mean()), means[:, 0] / means[:, 1])


def _resampled_means(values: Floats) -> Floats:
    """Means of rows drawn with replacement: (n, columns) becomes (``RESAMPLES``, columns)."""
    times = _times_drawn(len(values))
    chunks = [times[start : start + _CHUNK].astype(np.float64) @ values for start in range(0, RESAMPLES, _CHUNK)]
    return np.concatenate(chunks) / len(values)


@lru_cache(maxsize=2)
def _times_drawn(count: int) -> NDArray[np.uint16]:
    """How often each of ``count`` values is in each resample, (``RESAMPLES``, count); the same in every call."""
    rng, times = np.random.default_rng(0), np.empty((RESAMPLES, count), dtype=np.uint16)
    for start in range(0, RESAMPLES, _CHUNK):
        picks = rng.integers(count, size=(_CHUNK, count)) + count * np.arange(_CHUNK)[:, None]
        times[start : start + _CHUNK] = np.bincount(picks.ravel(), minlength=_CHUNK * count).reshape(_CHUNK, count)
    return times


def _interval(value: float, resampled: Floats | Sequence[float]) -> Interval:
    low, high = np.quantile(resampled, _TAILS)
    return Interval(value, float(low), float(high))


def paired_test(differences: Sequence[float]) -> float:
    """Two-sided p of the sign-flip randomization test: exact for up to 13 differences, by ``RESAMPLES`` random flips
    beyond. Zeros have no sign and are ignored."""
    from scipy.stats import permutation_test

    signed = np.array([d for d in differences if d])
    if len(signed) < 2:  # with one of them, the other sign is as likely
        return 1.0
    test: Any = permutation_test((signed,), np.sum, permutation_type="samples", n_resamples=RESAMPLES, rng=0)
    return float(test.pvalue)


def sign(differences: Sequence[float]) -> str | None:
    """``+`` or ``-`` where the interval of the mean is above or below zero, else ``0``; None for no differences.

    Of few differences every resample may have the same sign by chance, so fewer than 6 other than zero, with which
    ``paired_test`` cannot reach 5%, have the sign ``0``.
    """
    mean = mean_interval(differences)
    if mean is None:
        return None
    if np.count_nonzero(differences) < 6:
        return "0"
    return "+" if mean.low > 0 else "-" if mean.high < 0 else "0"


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, adjusted for multiple comparisons by Holm's step-down method, in the same order."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def spearman(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> float | None:
    """Spearman's rho, ties at their mean rank; None if either is constant or there are fewer than two pairs."""
    from scipy.stats import rankdata

    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    # Much faster than spearmanr, which also computes a p-value: intervals call this a thousand times.
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def kendall(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Kendall's tau-b, which allows for ties; None if either is constant or there are fewer than two pairs."""
    from scipy.stats import kendalltau

    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(cast(Any, kendalltau(x, y)).statistic)


def grouped_interval(
    x: Sequence[float], y: Sequence[float], groups: Sequence[str], statistic: Callable[[Floats, Floats], float | None]
) -> Interval | None:
    """A statistic of pairs with its bootstrap interval over groups; ``groups`` names the group of each pair.

    Resamples for which the statistic is None, since it is not defined, are ignored.
    """
    names, codes = np.unique(groups, return_inverse=True)
    pairs = np.column_stack([x, y]).astype(np.float64)
    return _resampled(len(names), lambda times: statistic(*np.repeat(pairs, times[codes], axis=0).T))


def alpha_interval(units: Sequence[Sequence[float]], scale: Scale) -> Interval | None:
    """Krippendorff's alpha, 1 for perfect agreement and 0 for chance, with its bootstrap interval over units.

    A unit holds one value for each rater that gave one; None if no unit has two, or all values are equal. "Computing
    Krippendorff's Alpha-Reliability" (Krippendorff, 2011); the package ``krippendorff`` is not used, as it is under
    the GPL.
    """
    paired = [np.asarray(unit, dtype=np.float64) for unit in units if len(unit) > 1]
    if not paired:
        return None
    values = np.unique(np.concatenate(paired))
    counts = np.array([(unit[:, None] == values).sum(axis=0) for unit in paired], dtype=np.float64)
    # How often each two values meet in each unit, among the ordered pairs of raters, divided by the raters but one.
    meetings = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))
    meetings = (meetings / (counts.sum(axis=1) - 1)[:, None, None]).reshape(len(paired), -1)

    def alpha(times: NDArray[np.int64]) -> float | None:
        coincidences = (times @ meetings).reshape(len(values), len(values))
        totals = coincidences.sum(axis=1)
        places = values if scale == "interval" else np.cumsum(totals) - totals / 2
        apart = 1 - np.eye(len(values)) if scale == "nominal" else np.subtract.outer(places, places) ** 2
        expected = float(totals @ apart @ totals) / max(float(totals.sum()) - 1, 1)
        return None if expected == 0 else 1 - float((coincidences * apart).sum()) / expected

    return _resampled(len(paired), alpha)


def _resampled(count: int, statistic: Callable[[NDArray[np.int64]], float | None]) -> Interval | None:
    """Bootstrap interval of a statistic, which takes how often each of ``count`` units is drawn."""
    value = statistic(np.ones(count, dtype=np.int64))
    if value is None:
        return None
    resampled = map(statistic, _times_drawn(count)[:FEW_RESAMPLES].astype(np.int64))
    defined = [estimate for estimate in resampled if estimate is not None]
    return _interval(value, defined) if defined else None


def cohen_kappa(table: Sequence[Sequence[int]]) -> float | None:
    """Cohen's kappa of a confusion matrix of two raters; None without a spread."""
    counts = np.asarray(table, dtype=np.float64)
    shares = counts / max(counts.sum(), 1)
    chance = float(shares.sum(axis=1) @ shares.sum(axis=0))
    return None if not counts.sum() or chance == 1 else (float(np.trace(shares)) - chance) / (1 - chance)


def balanced_accuracy(table: Sequence[Sequence[int]]) -> float | None:
    """Mean recall over the rows of a confusion matrix, which are the true classes; None if a row is empty."""
    if not all(map(sum, table)):
        return None
    return sum(row[place] / sum(row) for place, row in enumerate(table)) / len(table)
