"""How far raters agree with each other, and numbers with raters; plain functions of numbers.

Written out here since the package that is made for the first is under the GPL, and the others are a few lines each.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Level = Literal["nominal", "ordinal", "interval"]
"""nominal: values are alike or not; ordinal: they have an order; interval: their differences can be compared."""
Floats = NDArray[np.float64]


def alpha(units: Sequence[Sequence[float]], level: Level) -> float | None:
    """Krippendorff's alpha: 1 for perfect agreement, 0 for what chance would give.

    "Computing Krippendorff's Alpha-Reliability" (Krippendorff, 2011).

    Args:
        units: Values by unit, one for each rater that gave one; units with fewer than two count for nothing.
        level: What can be said of two values.

    Returns:
        None where no unit has two values, or all values are alike, so that there is nothing to agree on.
    """
    paired = [unit for unit in units if len(unit) > 1]
    values = sorted({value for unit in paired for value in unit})
    if len(values) < 2:
        return None
    return alpha_of(np.sum([_coincidences(unit, values) for unit in paired], axis=0), values, level)


def alpha_of(coincidences: Floats, values: Sequence[float], level: Level) -> float | None:
    """Alpha of a coincidence matrix over ``values``, which are in order; None where it holds one value alone."""
    totals = coincidences.sum(axis=1)
    apart = _distances(totals, values, level)
    expected = float(totals @ apart @ totals) / max(float(totals.sum()) - 1, 1)
    return None if expected == 0 else 1 - float((coincidences * apart).sum()) / expected


def coincidences_of(units: Sequence[Sequence[float]], values: Sequence[float]) -> Floats:
    """One coincidence matrix a unit, (units, values, values); zero for units with fewer than two values."""
    return np.stack([_coincidences(unit, values) for unit in units])


def _coincidences(unit: Sequence[float], values: Sequence[float]) -> Floats:
    """How often a pair of values occurs among the ordered pairs of raters, divided by the raters but one."""
    counts = np.array([sum(given == value for given in unit) for value in values], dtype=np.float64)
    if len(unit) < 2:
        return np.zeros((len(values), len(values)))
    return (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)


def _distances(totals: Floats, values: Sequence[float], level: Level) -> Floats:
    """Squared distance of each pair of values."""
    if level == "nominal":
        return 1 - np.eye(len(values))
    if level == "interval":
        return np.subtract.outer(np.asarray(values), np.asarray(values)) ** 2
    middle = np.cumsum(totals) - totals / 2
    return np.subtract.outer(middle, middle) ** 2


def spearman(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> float | None:
    """Spearman's rho, ties at their mean rank; None where either is constant or there are fewer than two pairs."""
    return _pearson(ranks(x), ranks(y))


def kendall(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> float | None:
    """Kendall's tau-b, which allows for ties; None where either is constant or there are fewer than two pairs."""
    first, second = (np.sign(np.subtract.outer(np.asarray(v), np.asarray(v))) for v in (x, y))
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale else None


def ranks(values: Sequence[float] | Floats) -> Floats:
    """From 1 for the smallest; equal values share the mean of their ranks."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _pearson(x: Floats, y: Floats) -> float | None:
    x, y = x - x.mean() if len(x) else x, y - y.mean() if len(y) else y
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / scale if scale > 1e-12 else None


def cohen_kappa(table: Sequence[Sequence[int]]) -> float | None:
    """Cohen's kappa of two raters from how often the first said the row and the second the column.

    None for an empty table, or where both say one thing alone, so that chance explains all of it.
    """
    counts = np.asarray(table, dtype=np.float64)
    if not counts.sum():
        return None
    shares = counts / counts.sum()
    chance = float(shares.sum(axis=1) @ shares.sum(axis=0))
    return None if chance == 1 else (float(np.trace(shares)) - chance) / (1 - chance)


def balanced_accuracy(table: Sequence[Sequence[int]]) -> float | None:
    """Mean over the rows, which are the truth, of the share on the diagonal; None where a row is empty."""
    rows = [(row[place], sum(row)) for place, row in enumerate(table)]
    return None if any(total == 0 for _, total in rows) else sum(hits / total for hits, total in rows) / len(rows)
