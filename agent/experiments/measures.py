"""Measures of a run, and estimates over runs with prompts as the unit.

Measures read one row, in the eyes of the independent judge where there is one and of the critic elsewhere. Estimates
read a frame of runs, one line a run: the seeds of a prompt are averaged first, since they are alike.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from math import nan
from typing import Any, Literal

from ...state import Answer
from .rows import ImageRow, Row

Eyes = Literal["judge", "critic"]
"""Whose answers count. judge: the independent judge's, or the critic's where there was none."""
Measure = Callable[[Row], float]
Frame = Any
"""A ``pandas.DataFrame`` or ``Series``; type checkers know too little of them to help."""


def answers(image: ImageRow, eyes: Eyes = "judge") -> dict[str, Answer]:
    """Answer by check."""
    return image.judge if eyes == "judge" and image.judge is not None else image.critic


def score(image: ImageRow, eyes: Eyes = "judge") -> float:
    """Share of checks that pass, in [0, 1]."""
    given = answers(image, eyes).values()
    return sum(a == "pass" for a in given) / len(given) if given else 1.0


def correct(image: ImageRow, eyes: Eyes = "judge") -> float:
    """1 where every check passes, else 0."""
    return float(score(image, eyes) == 1)


def whole(row: Row) -> list[ImageRow]:
    """Its images without previews and second opinions; all of them where there is nothing else."""
    return [image for image in row.images if image.is_whole] or list(row.images)


def retention(row: Row) -> float:
    """What the chosen image keeps of the peak: its share of checks divided by the highest one."""
    return score(row.chosen) / peak if (peak := max(map(score, whole(row)))) else 1.0


def efficiency(row: Row) -> float:
    """Share of its images that were made up to the first one at the peak, that one included."""
    scores = [score(image) for image in whole(row)]
    return (scores.index(max(scores)) + 1) / len(scores)


def kept(row: Row) -> float:
    """Of the checks that passed on what was refined, the share that passes on the refinements too; nan without any."""
    known = {image.id: answers(image) for image in whole(row)}
    before = [(known[i.parent], known[i.id]) for i in whole(row) if i.operator is not None and i.parent in known]
    passed = [new[check] == "pass" for old, new in before for check, answer in old.items() if answer == "pass"]
    return sum(passed) / len(passed) if passed else nan


def changed(row: Row, name: Literal["outside_changed", "lpips"]) -> float:
    """How much refinements change, in the mean, outside of what was wrong or by LPIPS; nan where it is not known."""
    found = [value for image in whole(row) if (value := getattr(image, name)) is not None]
    return sum(found) / len(found) if found else nan


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
"""By name. Images are those that were drawn to the end; a preview is counted apart, since it and what goes on with it
are one drawing, while ``Spend.images`` counts every picture that was made and looked at. Peak, retention and
efficiency are named after Generation Navigator (arXiv 2605.17969), and defined here for a loop that may choose an
earlier image than the last."""


def by_aspect(row: Row) -> dict[str, float]:
    """Share of the checks of each aspect that the chosen image passes."""
    passed: dict[str, list[bool]] = defaultdict(list)
    for check, answer in answers(row.chosen).items():
        passed[row.checks[check]].append(answer == "pass")
    return {aspect: sum(found) / len(found) for aspect, found in passed.items()}


def until(row: Row, round: int) -> ImageRow:
    """The image that the run would have chosen had it ended after that round."""
    seen = [image for image in whole(row) if image.round <= round] or whole(row)[:1]
    return row.chosen if row.chosen in seen else max(seen, key=lambda image: image.rank)


def newest(row: Row, round: int) -> ImageRow:
    """The last image made up to that round: what a loop without keep-best would return."""
    images = whole(row)
    return [image for image in images if image.round <= round or image is images[0]][-1]


def effect(image: ImageRow, parent: ImageRow) -> Literal["fixed", "broken", "both", "unchanged"]:
    """What became of the checks against the parent."""
    now, before = answers(image), answers(parent)
    fixed = any(now[c] == "pass" != before.get(c) for c in now)
    broken = any(before.get(c) == "pass" != now[c] for c in now)
    return "both" if fixed and broken else "fixed" if fixed else "broken" if broken else "unchanged"


def effects(rows: Iterable[Row]) -> dict[int, Counter[str]]:
    """By round, how many images fixed, broke, did both or changed nothing against their parents; previews left out."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for row in finished(rows):
        known = {image.id: image for image in whole(row)}
        for image in known.values():
            if image.parent in known:
                counts[image.round][effect(image, known[image.parent])] += 1
    return dict(sorted(counts.items()))


def finished(rows: Iterable[Row]) -> list[Row]:
    """Those that came to their end."""
    return [row for row in rows if row.error is None]


def by_label(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by variant, in the order of their first one."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.label].append(row)
    return dict(groups)


def frame(rows: Iterable[Row], measures: Mapping[str, Measure] = MEASURES) -> Frame:
    """One line for each finished run: label, prompt, scenario, seed, and a column for each measure."""
    from pandas import DataFrame

    about = ("label", "prompt", "scenario", "seed")
    lines: list[dict[str, Any]] = [
        {name: getattr(row, name) for name in about} | {name: measure(row) for name, measure in measures.items()}
        for row in finished(rows)
    ]
    return DataFrame(lines, columns=[*about, *measures]).astype(dict.fromkeys(measures, float))


def by_prompt(runs: Frame, measure: str) -> list[float]:
    """Means of the prompts for which the measure is defined."""
    return runs.groupby("prompt", sort=False)[measure].mean().dropna().tolist()


def pairs(ours: Frame, theirs: Frame) -> Frame:
    """The runs of the same prompt and seed, one line a pair; the columns of ``theirs`` end in ``_other``."""
    return ours.merge(theirs, on=["prompt", "seed"], suffixes=("", "_other"))


def differences(paired: Frame, measure: str) -> list[float]:
    """Ours less theirs, of each prompt for which both are defined."""
    means = paired.groupby("prompt", sort=False)[[measure, f"{measure}_other"]].mean()
    return (means[measure] - means[f"{measure}_other"]).round(12).dropna().tolist()


def gains(runs: Frame, eyes: Eyes) -> list[float]:
    """All correct of the chosen image less that of the first drawing, of each prompt."""
    prefix = "critic_" if eyes == "critic" else ""
    means = runs.groupby("prompt", sort=False).mean(numeric_only=True)
    return (means[f"{prefix}all_correct"] - means[f"{prefix}first_all_correct"]).round(12).tolist()
