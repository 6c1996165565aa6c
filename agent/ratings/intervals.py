"""Bootstrap intervals of figures that are no means; from a fixed seed."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from ..experiments.statistics import LEVEL, Interval
from .agreement import Floats, Level, alpha_of, coincidences_of

RESAMPLES = 1000
_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def alpha_interval(units: Sequence[Sequence[float]], level: Level) -> Interval | None:
    """Krippendorff's alpha with its interval over units; None where alpha is not defined."""
    values = sorted({value for unit in units for value in unit})
    if not units or len(values) < 2:
        return None
    each = coincidences_of(units, values)
    value = alpha_of(each.sum(axis=0), values, level)
    rng = np.random.default_rng(0)
    picks = (rng.integers(len(each), size=len(each)) for _ in range(RESAMPLES))
    return _interval(value, [alpha_of(each[pick].sum(axis=0), values, level) for pick in picks])


def rank_interval(
    x: Sequence[float],
    y: Sequence[float],
    groups: Sequence[str],
    statistic: Callable[[Floats, Floats], float | None],
) -> Interval | None:
    """A statistic of pairs with its interval over groups, whose pairs are drawn together; None where it is not defined.

    Args:
        x: One side of each pair.
        y: The other side.
        groups: Name of each pair's group.
        statistic: None where it is not defined.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        places[group].append(place)
    members = [np.array(found) for found in places.values()]
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    rng = np.random.default_rng(0)
    resampled: list[float | None] = []
    for _ in range(RESAMPLES):
        pick = np.concatenate([members[n] for n in rng.integers(len(members), size=len(members))])
        resampled.append(statistic(first[pick], second[pick]))
    return _interval(statistic(first, second), resampled)


def _interval(value: float | None, resampled: Sequence[float | None]) -> Interval | None:
    """Resamples in which the statistic is not defined are left out."""
    told = [found for found in resampled if found is not None]
    if value is None or not told:
        return None
    low, high = np.quantile(told, _TAILS)
    return Interval(value, float(low), float(high))
