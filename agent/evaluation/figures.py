"""Statistics of methods by scenario, over prompts, and what the methods spent, as tables."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from math import isclose, sqrt
from statistics import mean, stdev
from typing import Any, NamedTuple

from ...state import Spend
from .measure import Measurement
from .tables import Cell, Column, Table, columns

EVERY = "all"
"""The scenario, or the kind of checks, that stands for all of them together."""


class Figure(NamedTuple):
    """What one metric says of one method in one scenario."""

    scenario: str
    """``all`` for all of them together."""
    method: str
    metric: str
    mean: float | None
    """Over prompts; images of one prompt are averaged first. None where every value is missing."""
    deviation: float | None
    """Standard deviation over prompts, of a sample; None below two prompts."""
    error: float | None
    """Standard error of the mean, deviation / sqrt(prompts)."""
    win_rate: float | None
    """Share of prompts on which it is above the baseline, a tie counting half; None for the baseline itself."""
    pairs: int
    """Prompts that both have a value for."""
    prompts: int
    """With a value."""
    images: int
    """With a value."""
    missing: int
    """Without one."""
    means: tuple[float, ...]
    """Of each prompt with a value."""
    gains: tuple[float, ...]
    """Over the baseline, of each prompt that both have a value for; empty for the baseline itself."""

    @property
    def data(self) -> dict[str, Any]:
        """As JSON, without the values of single prompts."""
        return {name: value for name, value in self._asdict().items() if name not in ("means", "gains")}


def with_every(groups: Iterable[str]) -> list[str]:
    """The groups, unless there is only one, and then ``all``."""
    named = [group for group in dict.fromkeys(groups) if group]
    return [*(named if len(named) > 1 else ()), EVERY]


def means_of(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """Mean by name of the values that are not None."""
    by_name = defaultdict[str, list[float]](list)
    for name, value in values:
        if value is not None:
            by_name[name].append(value)
    return {name: mean(own) for name, own in by_name.items()}


def figures_of(measurements: Sequence[Measurement], baseline: str | None = None) -> list[Figure]:
    """Figures by scenario, metric and method, each in the order of first appearance; ``all`` comes last.

    Methods are compared with the ``baseline``, by default the first one.
    """
    scenarios = with_every(m.scenario for m in measurements)
    metrics, methods = (dict.fromkeys(getattr(m, name) for m in measurements) for name in ("metric", "method"))
    reference = next(iter(methods), "") if baseline is None else baseline
    groups = defaultdict[tuple[str, str, str], list[tuple[str, float | None]]](list)
    for m in measurements:
        for scenario in {m.scenario, EVERY}.intersection(scenarios):
            groups[scenario, m.metric, m.method].append((m.prompt, m.value))
    figures = list[Figure]()
    for scenario, metric, method in filter(groups.__contains__, product(scenarios, metrics, methods)):
        values = groups[scenario, metric, method]
        ours, theirs = means_of(values), means_of(groups.get((scenario, metric, reference), ()))
        pairs = [(ours[p], theirs[p]) for p in ours if p in theirs and method != reference]
        # A difference by rounding is a tie.
        wins = [0.5 if isclose(o, t, rel_tol=1e-9, abs_tol=1e-12) else float(o > t) for o, t in pairs]
        deviation = stdev(ours.values()) if len(ours) > 1 else None
        spread = (deviation, None if deviation is None else deviation / sqrt(len(ours)))
        images = sum(value is not None for _, value in values)
        counts = (len(pairs), len(ours), images, len(values) - images)
        samples = (tuple(ours.values()), tuple(o - t for o, t in pairs))
        average, win_rate = mean(ours.values()) if ours else None, mean(wins) if wins else None
        figures.append(Figure(scenario, method, metric, average, *spread, win_rate, *counts, *samples))
    return figures


def long_table(figures: Sequence[Figure], note: str = "") -> Table:
    """A row for every figure."""
    rows = list[tuple[Cell, ...]]()
    for f in figures:
        wins = None if f.win_rate is None else f"{f.win_rate:.1%} of {f.pairs}"
        rows.append((f.scenario, f.metric, f.method, f.mean, f.error, f.deviation, wins, f.prompts, f.missing))
    names = "scenario, metric, method, mean: .3f, std. error: .3f, deviation: .3f, win rate: share"
    return Table("", columns(f"{names}, prompts: d, missing: d"), tuple(rows), note)


def wide_table(figures: Sequence[Figure], note: str = "") -> Table:
    """A row for each method, a column for each metric: mean ± standard error, and the win rate after it.

    Where metrics differ in the number of prompts or of missing values, the row shows the least and the most.
    """
    metrics = list(dict.fromkeys(figure.metric for figure in figures))
    lines = defaultdict[tuple[str, str], dict[str, Figure]](dict)
    for figure in figures:
        lines[figure.scenario, figure.method][figure.metric] = figure
    rows = list[tuple[Cell, ...]]()
    for key, by_metric in lines.items():
        cells = dict[str, str]()
        for metric, f in by_metric.items():
            if f.mean is not None:
                error = "" if f.error is None else f" ± {f.error:.3f}"
                cells[metric] = f"{f.mean:.3f}{error}" + ("" if f.win_rate is None else f", {f.win_rate:.0%}")
        counts = ([f.prompts for f in by_metric.values()], [f.missing for f in by_metric.values()])
        spans = ("-".join(map(str, sorted({min(own), max(own)}))) for own in counts)
        rows.append((*key, *map(cells.get, metrics), *spans))
    numbers = (Column(name, "number") for name in (*metrics, "prompts", "missing"))
    return Table("", (*columns("scenario, method"), *numbers), tuple(rows), note)


def costs_of(spent: Iterable[tuple[str, Spend]]) -> Table:
    """Mean cost of a run by method, from pairs of a method and what a run of it spent; failed runs count too."""
    by_method = defaultdict[str, list[Spend]](list)
    for method, spend in spent:
        by_method[method].append(spend)
    names = "images: .2f, evaluations: .1f, critic_calls: .2f, tokens: .0f, money: .4f, seconds: .2f"
    rows = [
        (method, len(spends), *(mean(getattr(spend, column.name) for spend in spends) for column in columns(names)))
        for method, spends in by_method.items()
    ]
    note = (
        "Means over runs; evaluations without those of servers, which report none; money in US dollars, where a price"
        " is configured, and seconds of model time."
    )
    return Table("", columns(f"method, runs: d, {names.replace('_', ' ')}"), tuple(rows), note)


def reasons(measurements: Iterable[Measurement], most: int = 3) -> list[str]:
    """For each metric with missing values, how many, and the most common reasons with their numbers."""
    missing = defaultdict[str, Counter[str]](Counter)
    for m in measurements:
        if m.reason is not None:
            missing[m.metric][m.reason] += 1
    return [
        f"{metric}: {counts.total()} missing; " + "; ".join(f"{n} x {why}" for why, n in counts.most_common(most))
        for metric, counts in missing.items()
    ]
