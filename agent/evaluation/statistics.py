"""Figures of a method by scenario: mean, deviation, standard error and win rate, with prompts as the unit."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev

from pydantic import Field

from ...state import Frozen
from .measure import Measurement

EVERY = "all"
"""The scenario that stands for all of them."""


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
    win_rate: float | None = Field(default=None, ge=0, le=1)
    """Share of prompts on which it is above the baseline, a tie counting half; None for the baseline itself."""
    pairs: int = 0
    """Prompts that both have a value for."""
    prompts: int
    """With a value."""
    images: int
    """With a value."""
    missing: int
    """Without one."""


def summarize(measurements: Sequence[Measurement], baseline: str | None = None) -> list[Figure]:
    """Figures by scenario, method and metric, each in the order of their first appearance; ``all`` comes last.

    Args:
        measurements: Of all methods.
        baseline: The method that the others are compared with; by default the first.
    """
    methods = list(dict.fromkeys(m.method for m in measurements))
    metrics = list(dict.fromkeys(m.metric for m in measurements))
    base = baseline if baseline is not None else next(iter(methods), None)
    named = list(dict.fromkeys(m.scenario for m in measurements if m.scenario))
    groups = [*(named if len(named) > 1 else ()), EVERY]
    cells = _cells(measurements, set(groups))
    return [
        _figure((scenario, method, metric), cells, None if method == base else base)
        for scenario in groups
        for metric in metrics
        for method in methods
        if (scenario, method, metric) in cells
    ]


Cell = tuple[str, str, str]
"""Scenario, method and metric."""


def _cells(measurements: Iterable[Measurement], groups: set[str]) -> dict[Cell, list[Measurement]]:
    cells: dict[Cell, list[Measurement]] = {}
    for one in measurements:
        for scenario in {one.scenario, EVERY} & groups:
            cells.setdefault((scenario, one.method, one.metric), []).append(one)
    return cells


def _figure(cell: Cell, cells: Mapping[Cell, Sequence[Measurement]], base: str | None) -> Figure:
    scenario, method, metric = cell
    found = cells[cell]
    values = _by_prompt(found)
    spread = stdev(values.values()) if len(values) > 1 else None
    theirs = {} if base is None else _by_prompt(cells.get((scenario, base, metric), ()))
    shared = values.keys() & theirs.keys()
    return Figure(
        scenario=scenario,
        method=method,
        metric=metric,
        mean=mean(values.values()) if values else None,
        deviation=spread,
        error=None if spread is None else spread / math.sqrt(len(values)),
        win_rate=mean(_won(values[prompt], theirs[prompt]) for prompt in shared) if shared else None,
        pairs=len(shared),
        prompts=len(values),
        images=sum(m.value is not None for m in found),
        missing=sum(m.value is None for m in found),
    )


def _by_prompt(found: Iterable[Measurement]) -> dict[str, float]:
    """The mean value of each prompt; prompts without any value are left out."""
    values: dict[str, list[float]] = {}
    for one in found:
        if one.value is not None:
            values.setdefault(one.prompt, []).append(one.value)
    return {prompt: mean(own) for prompt, own in values.items()}


def _won(own: float, other: float) -> float:
    return 0.5 if math.isclose(own, other, rel_tol=1e-9, abs_tol=1e-12) else float(own > other)
