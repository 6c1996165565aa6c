"""Intervals and tests for means of paired samples; all by resampling, all from a fixed seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with the range that holds the true value in 95 of 100 experiments."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> str:
        """``+`` or ``-`` where the whole range is above or below zero, else ``0``."""
        return "+" if self.low > 0 else "-" if self.high < 0 else "0"


def proportion_interval(samples: Sequence[float]) -> Interval | None:
    """``mean_interval`` of samples that are yes or no, or shares of such.

    Where all are 0, or all are 1, resampling shows no spread at all, and the exact interval of
    Clopper and Pearson takes its place.
    """
    if not samples or set(samples) not in ({0.0}, {1.0}):
        return mean_interval(samples)
    bound = ((1 - LEVEL) / 2) ** (1 / len(samples))
    return Interval(1.0, bound, 1.0) if samples[0] else Interval(0.0, 0.0, 1 - bound)


def mean_interval(samples: Sequence[float]) -> Interval | None:
    """The mean with its percentile bootstrap interval; None for no samples."""
    values: Floats = np.asarray(samples, dtype=np.float64)
    if not len(values):
        return None
    return _interval(float(values.mean()), resampled_means(values[:, None])[:, 0])


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> Interval | None:
    """Ratio of two means over the same units, resampled together; None where the denominator may well be zero."""
    pairs: Floats = np.column_stack([numerators, denominators]).astype(np.float64)
    if not len(pairs):
        return None
    means = resampled_means(pairs)
    low, high = np.quantile(means[:, 1], _TAILS)
    if low <= 0 <= high:
        return None
    return _interval(float(pairs[:, 0].mean() / pairs[:, 1].mean()), means[:, 0] / means[:, 1])


def resampled_means(values: Floats, seed: int = 0) -> Floats:
    """Means of samples drawn with replacement: (n, columns) becomes (``RESAMPLES``, columns), rows kept together."""
    times = _times_drawn(len(values), seed)
    chunks = [times[start : start + _CHUNK].astype(np.float64) @ values for start in range(0, RESAMPLES, _CHUNK)]
    return np.concatenate(chunks) / len(values)


@lru_cache(maxsize=2)
def _times_drawn(count: int, seed: int) -> NDArray[np.uint16]:
    """How often each of so many values is in each resample, (``RESAMPLES``, count); the same for all figures."""
    rng, times = np.random.default_rng(seed), np.empty((RESAMPLES, count), dtype=np.uint16)
    for start in range(0, RESAMPLES, _CHUNK):
        size = min(_CHUNK, RESAMPLES - start)
        picks = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times[start : start + size] = np.bincount(picks.ravel(), minlength=size * count).reshape(size, count)
    return times


def paired_test(differences: Sequence[float]) -> float:
    """Two-sided p of "the signs of the differences are by chance": the sign-flip randomization test.

    Exact over all flips for up to 12 differences that are not zero, by ``RESAMPLES`` random flips
    beyond. Zeros say nothing and are left out.
    """
    values: Floats = np.asarray([d for d in differences if d], dtype=np.float64)
    if not len(values):
        return 1.0
    if len(values) <= _EXACT:
        flips = 1 - 2 * ((np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1)
        return float((_as_extreme(flips, values)).mean())
    flips = np.random.default_rng(0).choice((-1, 1), size=(RESAMPLES, len(values)))
    return float((_as_extreme(flips, values).sum() + 1) / (RESAMPLES + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The same p-values, adjusted for their number by Holm's step-down method, in the same order."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


_CHUNK = 500
_EXACT = 12
_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def _as_extreme(flips: NDArray[np.int64], values: Floats) -> NDArray[np.bool_]:
    return np.abs(flips @ values) >= abs(values.sum()) - 1e-9


def _interval(value: float, resampled: Floats) -> Interval:
    low, high = np.quantile(resampled, _TAILS)
    return Interval(value, float(low), float(high))
