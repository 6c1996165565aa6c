"""Figures of methods by scenario, with prompts as the unit, what the methods spent, and both as tables."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from math import isclose, sqrt
from statistics import mean, stdev
from typing import Any, NamedTuple

from ...state import Spend
from .measure import Measurement
from .tables import Column, Table, columns

EVERY = "all"
"""The scenario, or the aspect of checks, that stands for all of them."""


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
    """The groups that get rows of their own, which a single one does not, and then ``all``."""
    named = [group for group in dict.fromkeys(groups) if group]
    return [*(named if len(named) > 1 else ()), EVERY]


def means_of(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """Mean by name of the values that are not None."""
    found: dict[str, list[float]] = defaultdict(list)
    for name, value in values:
        if value is not None:
            found[name].append(value)
    return {name: mean(own) for name, own in found.items()}


def figures_of(measurements: Sequence[Measurement], baseline: str | None = None) -> list[Figure]:
    """Figures by scenario, metric and method, each in the order of their first appearance; ``all`` comes last.

    Methods are compared with the ``baseline``, by default the first one.
    """
    groups = with_every(one.scenario for one in measurements)
    metrics = dict.fromkeys(one.metric for one in measurements)
    methods = dict.fromkeys(one.method for one in measurements)
    cells: dict[tuple[str, str, str], list[tuple[str, float | None]]] = defaultdict(list)
    for one in measurements:
        for group in {one.scenario, EVERY}.intersection(groups):
            cells[group, one.metric, one.method].append((one.prompt, one.value))
    base = baseline if baseline is not None else next(iter(methods), "")
    figures: list[Figure] = []
    for group, metric, method in filter(cells.__contains__, product(groups, metrics, methods)):
        found = cells[group, metric, method]
        ours, theirs = means_of(found), means_of(cells.get((group, metric, base), ()))
        pairs = [(ours[p], theirs[p]) for p in ours if p in theirs and method != base]
        # What differs by rounding alone is a tie.
        wins = [0.5 if isclose(o, t, rel_tol=1e-9, abs_tol=1e-12) else float(o > t) for o, t in pairs]
        spread = stdev(ours.values()) if len(ours) > 1 else None
        images = sum(value is not None for _, value in found)
        figures.append(
            Figure(
                *(group, method, metric, mean(ours.values()) if ours else None),
                *(spread, None if spread is None else spread / sqrt(len(ours))),
                *(mean(wins) if wins else None, len(pairs), len(ours), images, len(found) - images),
                *(tuple(ours.values()), tuple(o - t for o, t in pairs)),
            )
        )
    return figures


def long_table(figures: Sequence[Figure], note: str = "") -> Table:
    """Every figure in a row of its own."""
    rows = [
        (
            *(f.scenario, f.metric, f.method, f.mean, f.error, f.deviation),
            *(None if f.win_rate is None else f"{f.win_rate:.1%} of {f.pairs}", f.prompts, f.missing),
        )
        for f in figures
    ]
    names = "scenario, metric, method, mean: .3f, std. error: .3f, deviation: .3f, win rate: share"
    return Table("", columns(f"{names}, prompts: d, missing: d"), tuple(rows), note)


def wide_table(figures: Sequence[Figure], note: str = "") -> Table:
    """A row for each method, a column for each metric: mean ± standard error, and the win rate after it.

    Where metrics differ in the number of prompts or of missing values, the row shows the least and the most.
    """
    metrics = list(dict.fromkeys(figure.metric for figure in figures))
    lines: dict[tuple[str, str], dict[str, Figure]] = defaultdict(dict)
    for figure in figures:
        lines[figure.scenario, figure.method][figure.metric] = figure
    rows: list[tuple[str | None, ...]] = []
    for about, own in lines.items():
        shown = dict[str, str]()
        for metric, f in own.items():
            spread, wins = "" if f.error is None else f" ± {f.error:.3f}", f.win_rate
            if f.mean is not None:
                shown[metric] = f"{f.mean:.3f}{spread}" + ("" if wins is None else f", {wins:.0%}")
        spans = ([f.prompts for f in own.values()], [f.missing for f in own.values()])
        rows.append((*about, *map(shown.get, metrics), *("-".join(map(str, sorted({min(s), max(s)}))) for s in spans)))
    numbers = (Column(name, "number") for name in (*metrics, "prompts", "missing"))
    return Table("", (*columns("scenario, method"), *numbers), tuple(rows), note)


def costs_of(spent: Iterable[tuple[str, Spend]]) -> Table:
    """What each method spent on a prompt, from pairs of a run's method and its spend; failed runs spend too."""
    by_method: dict[str, list[Spend]] = defaultdict(list)
    for method, spend in spent:
        by_method[method].append(spend)
    names = "images: .2f, evaluations: .1f, critic_calls: .2f, tokens: .0f, money: .4f, seconds: .2f"
    rows = [
        (method, len(spends), *(mean(getattr(one, column.name) for one in spends) for column in columns(names)))
        for method, spends in by_method.items()
    ]
    note = (
        "Means over runs; evaluations without those of servers, which report none; money in US dollars, where a price"
        " is configured, and seconds of model time."
    )
    return Table("", columns(f"method, runs: d, {names.replace('_', ' ')}"), tuple(rows), note)


def reasons(measurements: Iterable[Measurement], most: int = 3) -> list[str]:
    """Why values are missing: for each metric how many, and the commonest reasons with their numbers."""
    lost: dict[str, Counter[str]] = defaultdict(Counter)
    for one in measurements:
        if one.reason is not None:
            lost[one.metric][one.reason] += 1
    return [
        f"{metric}: {counts.total()} missing; " + "; ".join(f"{n} x {why}" for why, n in counts.most_common(most))
        for metric, counts in lost.items()
    ]
