"""Rows grouped for statistics: one value a prompt, the mean over its seeds, since runs of one prompt are alike."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from statistics import mean

from .rows import Row
from .statistics import Interval, mean_interval, paired_test, proportion_interval, ratio_interval

Measure = Callable[[Row], float]
ByPrompt = dict[str, float]
"""Value by prompt."""


def finished(rows: Iterable[Row]) -> list[Row]:
    """Those that came to their end."""
    return [row for row in rows if row.error is None]


def by_label(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by variant, in the order of their first one."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.label].append(row)
    return dict(groups)


def by_prompt(rows: Iterable[Row], measure: Measure) -> ByPrompt:
    """The measure's mean over the seeds of each prompt."""
    groups: dict[str, list[float]] = defaultdict(list)
    for row in finished(rows):
        groups[row.prompt].append(measure(row))
    return {prompt: mean(values) for prompt, values in groups.items()}


def estimate(rows: Iterable[Row], measure: Measure) -> Interval | None:
    """Mean over prompts with its interval; None without a finished run."""
    return mean_interval(list(by_prompt(rows, measure).values()))


def proportion(rows: Iterable[Row], measure: Measure) -> Interval | None:
    """``estimate`` of a measure that is 0 or 1."""
    return proportion_interval(list(by_prompt(rows, measure).values()))


def matched(ours: Iterable[Row], theirs: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The runs that both finished with the same prompt and seed, in the same order."""
    mine = {(row.prompt, row.seed): row for row in finished(ours)}
    other = {(row.prompt, row.seed): row for row in finished(theirs)}
    shared = [job for job in mine if job in other]
    return [mine[job] for job in shared], [other[job] for job in shared]


def differences(ours: Iterable[Row], theirs: Iterable[Row], measure: Measure) -> ByPrompt:
    """Ours less theirs by prompt, over the runs that both finished."""
    mine, other = (by_prompt(rows, measure) for rows in matched(ours, theirs))
    return {prompt: value - other[prompt] for prompt, value in mine.items()}


def difference(ours: Iterable[Row], theirs: Iterable[Row], measure: Measure) -> Interval | None:
    """Mean of the paired differences with its interval; None where no run is shared."""
    return mean_interval(list(differences(ours, theirs, measure).values()))


def difference_p(ours: Iterable[Row], theirs: Iterable[Row], measure: Measure) -> float:
    """Two-sided p of the paired differences."""
    return paired_test(list(differences(ours, theirs, measure).values()))


def surviving(rows: Iterable[Row], gains: Mapping[str, tuple[Measure, Measure]]) -> Interval | None:
    """Share of the critic's gain that the judge sees too: ratio of the mean gains, each from one measure to another.

    None where the critic may well see no gain.
    """
    rows = finished(rows)
    seen = {eyes: by_prompt(rows, lambda row, m=both: m[1](row) - m[0](row)) for eyes, both in gains.items()}
    return ratio_interval(list(seen["judge"].values()), list(seen["critic"].values()))
