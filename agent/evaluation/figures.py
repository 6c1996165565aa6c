"""Figures of methods by scenario, with prompts as the unit, what the methods spent, and both as tables."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from math import isclose, sqrt
from statistics import mean, stdev

from pydantic import Field

from ...state import Frozen, Spend
from .measure import Measurement
from .tables import Column, Table, columns

EVERY = "all"
"""The scenario, or the aspect of checks, that stands for all of them."""


class Figure(Frozen):
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
    win_rate: float | None = Field(ge=0, le=1)
    """Share of prompts on which it is above the baseline, a tie counting half; None for the baseline itself."""
    pairs: int
    """Prompts that both have a value for."""
    prompts: int
    """With a value."""
    images: int
    """With a value."""
    missing: int
    """Without one."""
    means: tuple[float, ...] = Field(exclude=True, repr=False)
    """Of each prompt with a value."""
    gains: tuple[float, ...] = Field(exclude=True, repr=False)
    """Over the baseline, of each prompt that both have a value for; empty for the baseline itself."""


class Cost(Frozen):
    """What a method spent on a prompt, in the mean over its runs; failed runs spend too."""

    method: str
    runs: int
    images: float
    evaluations: float
    """Forward passes of the denoiser; a guided step counts two."""
    critic_calls: float
    """Calls of the critic, one an image."""
    tokens: float
    """Of language and vision models, input and output."""
    money: float
    """In US dollars, where a price is configured."""
    seconds: float
    """Of model time, summed over calls, on whatever machine it was."""


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


def figures_of(values: Iterable[tuple[str, str, str, str, float | None]], baseline: str | None = None) -> list[Figure]:
    """Figures by scenario, metric and method, each in the order of their first appearance; ``all`` comes last.

    Args:
        values: Scenario, metric, method, prompt and value, one an image; None where it is missing.
        baseline: The method that the others are compared with; by default the first.
    """
    rows = list(values)
    groups = with_every(scenario for scenario, _, _, _, _ in rows)
    metrics = dict.fromkeys(metric for _, metric, _, _, _ in rows)
    methods = dict.fromkeys(method for _, _, method, _, _ in rows)
    cells: dict[tuple[str, str, str], list[tuple[str, float | None]]] = defaultdict(list)
    for scenario, metric, method, prompt, value in rows:
        for group in {scenario, EVERY}.intersection(groups):
            cells[group, metric, method].append((prompt, value))
    base = baseline if baseline is not None else next(iter(methods), "")
    figures: list[Figure] = []
    for group, metric, method in filter(cells.__contains__, product(groups, metrics, methods)):
        found = cells[group, metric, method]
        ours, theirs = means_of(found), means_of(cells.get((group, metric, base), ()))
        pairs = [(ours[p], theirs[p]) for p in ours if p in theirs and method != base]
        # What differs by rounding alone is a tie.
        wins = [0.5 if isclose(o, t, rel_tol=1e-9, abs_tol=1e-12) else float(o > t) for o, t in pairs]
        spread = stdev(ours.values()) if len(ours) > 1 else None
        missing = sum(value is None for _, value in found)
        figures.append(
            Figure(
                scenario=group,
                method=method,
                metric=metric,
                mean=mean(ours.values()) if ours else None,
                deviation=spread,
                error=None if spread is None else spread / sqrt(len(ours)),
                win_rate=mean(wins) if wins else None,
                pairs=len(pairs),
                prompts=len(ours),
                images=len(found) - missing,
                missing=missing,
                means=tuple(ours.values()),
                gains=tuple(o - t for o, t in pairs),
            )
        )
    return figures


def summarize(measurements: Iterable[Measurement], baseline: str | None = None) -> list[Figure]:
    """``figures_of`` measurements."""
    return figures_of(((m.scenario, m.metric, m.method, m.prompt, m.value) for m in measurements), baseline)


def costs_of(spent: Iterable[tuple[str, Spend]]) -> list[Cost]:
    """Means by method, in the order of their first appearance, of pairs of a run's method and its spend."""
    by_method: dict[str, list[Spend]] = defaultdict(list)
    for method, spend in spent:
        by_method[method].append(spend)
    names = ("images", "evaluations", "critic_calls", "tokens", "money", "seconds")
    return [
        Cost(method=method, runs=len(spends), **{name: mean(getattr(one, name) for one in spends) for name in names})
        for method, spends in by_method.items()
    ]


def long_table(figures: Sequence[Figure]) -> Table:
    """Every figure in a row of its own."""
    rows = [
        (
            *(f.scenario, f.metric, f.method, f.mean, f.error, f.deviation),
            *(None if f.win_rate is None else f"{f.win_rate:.1%} of {f.pairs}", f.prompts, f.missing),
        )
        for f in figures
    ]
    names = "scenario, metric, method, mean: .3f, std. error: .3f, deviation: .3f, win rate: share"
    return Table("", columns(f"{names}, prompts: d, missing: d"), tuple(rows))


def wide_table(figures: Sequence[Figure]) -> Table:
    """A row for each method, a column for each metric: mean ± standard error, and the win rate after it.

    Where metrics differ in the number of prompts or of missing values, the row shows the least and the most.
    """
    metrics = list(dict.fromkeys(figure.metric for figure in figures))
    lines: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    counts: dict[tuple[str, str], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for figure in figures:
        about = figure.scenario, figure.method
        if figure.mean is not None:
            spread = "" if figure.error is None else f" ± {figure.error:.3f}"
            wins = "" if figure.win_rate is None else f", {figure.win_rate:.0%}"
            lines[about][figure.metric] = f"{figure.mean:.3f}{spread}{wins}"
        counts[about][0].append(figure.prompts)
        counts[about][1].append(figure.missing)
    rows: list[tuple[str | None, ...]] = []
    for about, both in counts.items():
        spans = ("-".join(map(str, sorted({min(found), max(found)}))) for found in both)
        rows.append((*about, *map(lines[about].get, metrics), *spans))
    numbers = (Column(name, "number") for name in (*metrics, "prompts", "missing"))
    return Table("", (*columns("scenario, method"), *numbers), tuple(rows))


def cost_table(costs: Sequence[Cost]) -> Table:
    """A row for each method, with what it spent on a prompt."""
    names = "method, runs: d, images: .2f, evaluations: .1f, critic calls: .2f, tokens: .0f, dollars: .4f"
    return Table("", columns(f"{names}, model seconds: .2f"), tuple(tuple(dict(cost).values()) for cost in costs))


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
