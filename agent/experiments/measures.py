"""Measures of a run, and estimates over runs with prompts as the unit.

A measure reads one row: the independent judge's answers, or the critic's where there was no judge. An estimate reads a
frame with one line per run, and averages the seeds of a prompt first, because they are not independent.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import nan
from typing import Any, Literal

from ...state import Answer, Aspect
from .rows import ExperimentRow, ImageRow

Observer = Literal["judge", "critic"]
"""Whose answers count. judge: the independent judge's, or the critic's where there was none."""
Measure = Callable[[ExperimentRow], float]
Gain = tuple[float, ExperimentRow, ExperimentRow]
Frame = Any
"""A ``pandas.DataFrame`` or ``Series``, which type checkers know little about."""


def answers(image: ImageRow, observer: Observer = "judge") -> dict[str, Answer]:
    """Answer by check."""
    return image.judge if observer == "judge" and image.judge is not None else image.critic


def score(image: ImageRow, observer: Observer = "judge") -> float:
    """Share of checks that pass, in [0, 1]."""
    given = answers(image, observer).values()
    return sum(a == "pass" for a in given) / len(given) if given else 1.0


def correct(image: ImageRow, observer: Observer = "judge") -> float:
    """1 where every check passes, else 0."""
    return float(score(image, observer) == 1)


def whole(row: ExperimentRow) -> list[ImageRow]:
    """Its images without previews and second opinions; all of them where there is nothing else."""
    return [image for image in row.images if image.is_whole] or list(row.images)


def retention(row: ExperimentRow) -> float:
    """Share of checks of the chosen image, divided by the highest of any image."""
    return score(row.chosen) / peak if (peak := max(map(score, whole(row)))) else 1.0


def efficiency(row: ExperimentRow) -> float:
    """Share of its images that were made up to and including the first one at the peak."""
    scores = [score(image) for image in whole(row)]
    return (scores.index(max(scores)) + 1) / len(scores)


def kept(row: ExperimentRow) -> float:
    """Of the checks that passed before a refinement, the share that pass after it; nan without any."""
    by_id = {image.id: answers(image) for image in whole(row)}
    refined = [(by_id[i.parent], by_id[i.id]) for i in whole(row) if i.operator is not None and i.parent in by_id]
    return _mean([new[check] == "pass" for old, new in refined for check, answer in old.items() if answer == "pass"])


def changed(row: ExperimentRow, name: Literal["outside_changed", "lpips"]) -> float:
    """Mean of what refinements change, outside of what was wrong or by LPIPS; nan where none was measured."""
    return _mean([value for image in whole(row) if (value := getattr(image, name)) is not None])


def passed_of(row: ExperimentRow, aspect: Aspect) -> float:
    """Share of the checks of an aspect that the chosen image passes; nan without any."""
    chosen = answers(row.chosen).items()
    return _mean([answer == "pass" for check, answer in chosen if row.checks[check] == aspect])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else nan


MEASURES: dict[str, Measure] = {
    "all_correct": lambda row: correct(row.chosen),
    "checks": lambda row: score(row.chosen),
    "critic_all_correct": lambda row: correct(row.chosen, "critic"),
    "critic_checks": lambda row: score(row.chosen, "critic"),
    "first_all_correct": lambda row: correct(whole(row)[0]),
    "critic_first_all_correct": lambda row: correct(whole(row)[0], "critic"),
    "peak": lambda row: max(map(score, whole(row))),
    "retention": retention,
    "efficiency": efficiency,
    "kept": kept,
    "outside_changed": lambda row: changed(row, "outside_changed"),
    "lpips": lambda row: changed(row, "lpips"),
    "evaluations": lambda row: row.spend.evaluations,
    "images": lambda row: sum(image.is_whole for image in row.images),
    "previews": lambda row: sum(image.stop_step is not None for image in row.images),
    "critic_calls": lambda row: row.spend.critic_calls,
    "seconds": lambda row: row.spend.seconds,
    "tokens": lambda row: row.spend.tokens,
    "money": lambda row: row.spend.money,
}
"""By name. ``images`` counts finished drawings: a preview is counted apart, because it and its continuation are one
drawing (``Spend.images`` counts both). Peak, retention and efficiency are named after Generation Navigator (arXiv
2605.17969), and defined here for a loop that may choose an earlier image than the last."""


def until(row: ExperimentRow, round: int) -> ImageRow:
    """The image that the run would have chosen had it ended after that round."""
    images = [image for image in whole(row) if image.round <= round] or whole(row)[:1]
    return row.chosen if row.chosen in images else max(images, key=lambda image: image.rank)


def newest(row: ExperimentRow, round: int) -> ImageRow:
    """The last image made up to that round: what a loop without keep-best would return."""
    images = whole(row)
    return [image for image in images if image.round <= round or image is images[0]][-1]


def effect(image: ImageRow, parent: ImageRow) -> Literal["fixed", "broken", "both", "unchanged"]:
    """How the checks changed relative to the parent."""
    now, before = answers(image), answers(parent)
    fixed = any(now[c] == "pass" != before.get(c) for c in now)
    broken = any(before.get(c) == "pass" != now[c] for c in now)
    return "both" if fixed and broken else "fixed" if fixed else "broken" if broken else "unchanged"


def effects(rows: Iterable[ExperimentRow]) -> dict[int, Counter[str]]:
    """How many images had each ``effect``, by round; previews are left out."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for row in finished(rows):
        by_id = {image.id: image for image in whole(row)}
        for image in by_id.values():
            if image.parent in by_id:
                counts[image.round][effect(image, by_id[image.parent])] += 1
    return dict(sorted(counts.items()))


def finished(rows: Iterable[ExperimentRow]) -> list[ExperimentRow]:
    """Those of runs that did not fail."""
    return [row for row in rows if row.error is None]


def by_label(rows: Iterable[ExperimentRow]) -> dict[str, list[ExperimentRow]]:
    """Rows by variant, in the order of their first one."""
    groups: dict[str, list[ExperimentRow]] = defaultdict(list)
    for row in rows:
        groups[row.label].append(row)
    return dict(groups)


def frame(rows: Iterable[ExperimentRow], measures: Mapping[str, Measure] = MEASURES) -> Frame:
    """One line for each finished run: label, prompt, scenario, seed, and a column for each measure."""
    from pandas import DataFrame

    about = ("label", "prompt", "scenario", "seed")
    lines = [[*(getattr(row, n) for n in about), *(m(row) for m in measures.values())] for row in finished(rows)]
    return DataFrame(lines, columns=[*about, *measures]).astype(dict.fromkeys(measures, float))


def by_prompt(runs: Frame, measure: str, less: str | None = None) -> list[float]:
    """The mean of each prompt for which the measure is defined, less that of the measure ``less`` if it is given."""
    means = runs.groupby("prompt", sort=False)[[measure] if less is None else [measure, less]].mean()
    values = means[measure] if less is None else (means[measure] - means[less]).round(12)
    return values.dropna().tolist()


def pairs(ours: Frame, theirs: Frame) -> Frame:
    """The runs of the same prompt and seed, one line a pair; the columns of ``theirs`` end in ``_other``."""
    return ours.merge(theirs, on=["prompt", "seed"], suffixes=("", "_other"))


def gains(ours: Iterable[ExperimentRow], theirs: Iterable[ExperimentRow]) -> list[Gain]:
    """The finished runs of the same prompt and seed, with what ours gains over theirs in the share of checks."""
    others = {(row.prompt, row.seed): row for row in finished(theirs)}
    both = ((row, others[key]) for row in finished(ours) if (key := (row.prompt, row.seed)) in others)
    return [(score(row.chosen) - score(other.chosen), row, other) for row, other in both]


def differences(paired: Frame, measure: str) -> list[float]:
    """Ours less theirs, of each prompt for which both are defined."""
    return by_prompt(paired, measure, f"{measure}_other")
