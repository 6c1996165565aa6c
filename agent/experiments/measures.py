"""What a run is worth: figures of one row, under the judge where there is one, else under the critic."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Literal

from ...state import Answer
from .rows import ImageRow, Row

Eyes = Literal["judge", "critic"]
"""Whose answers count. judge: the independent judge's, or the critic's where there was none."""


def answers(image: ImageRow, eyes: Eyes = "judge") -> dict[str, Answer]:
    """Answer by check."""
    return image.judge if eyes == "judge" and image.judge is not None else image.critic


def score(image: ImageRow, eyes: Eyes = "judge") -> float:
    """Share of checks that pass, in [0, 1]."""
    said = answers(image, eyes).values()
    return sum(a == "pass" for a in said) / len(said) if said else 1.0


def correct(image: ImageRow, eyes: Eyes = "judge") -> float:
    """1 where every check passes, else 0."""
    return float(score(image, eyes) == 1)


def whole(row: Row) -> list[ImageRow]:
    """Its images without previews; all of them where there is nothing else."""
    return [image for image in row.images if image.stop_step is None] or list(row.images)


def first(row: Row) -> ImageRow:
    """Its first drawing."""
    return whole(row)[0]


def peak(row: Row) -> float:
    """Highest share of checks that any of its images passes."""
    return max(map(score, whole(row)))


def retention(row: Row) -> float:
    """What the chosen image keeps of the peak: its share of checks against the highest one."""
    return score(row.chosen) / peak(row) if peak(row) else 1.0


def efficiency(row: Row) -> float:
    """Share of its images that were made up to the first one at the peak, that one included."""
    scores = [score(image) for image in whole(row)]
    return (scores.index(max(scores)) + 1) / len(scores)


MEASURES: dict[str, Callable[[Row], float]] = {
    "all_correct": lambda row: correct(row.chosen),
    "checks": lambda row: score(row.chosen),
    "critic_all_correct": lambda row: correct(row.chosen, "critic"),
    "critic_checks": lambda row: score(row.chosen, "critic"),
    "first_all_correct": lambda row: correct(first(row)),
    "critic_first_all_correct": lambda row: correct(first(row), "critic"),
    "peak": peak,
    "retention": retention,
    "efficiency": efficiency,
    "evaluations": lambda row: row.spend.evaluations,
    "images": lambda row: sum(image.stop_step is None for image in row.images),
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
    groups: dict[str, list[float]] = defaultdict(list)
    for check, answer in answers(row.chosen).items():
        groups[row.checks[check]].append(float(answer == "pass"))
    return {aspect: sum(passed) / len(passed) for aspect, passed in groups.items()}


def until(row: Row, round: int) -> ImageRow:
    """The image that the run would have chosen had it ended after that round."""
    seen = [image for image in whole(row) if image.round <= round] or whole(row)[:1]
    return row.chosen if row.chosen in seen else max(seen, key=lambda image: image.rank)


def newest(row: Row, round: int) -> ImageRow:
    """The last image made up to that round: what a loop without keep-best would hand out."""
    return [image for image in whole(row) if image.round <= round or image is whole(row)[0]][-1]


def effect(image: ImageRow, parent: ImageRow) -> Literal["fixed", "broken", "both", "unchanged"]:
    """What became of the checks against the parent."""
    now, before = answers(image), answers(parent)
    fixed = any(now[c] == "pass" != before.get(c) for c in now)
    broken = any(before.get(c) == "pass" != now[c] for c in now)
    return "both" if fixed and broken else "fixed" if fixed else "broken" if broken else "unchanged"


def effects(rows: Iterable[Row]) -> dict[int, Counter[str]]:
    """By round, how many images fixed, broke, did both or changed nothing against their parents; previews left out."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for row in rows:
        known = {image.id: image for image in whole(row)}
        for image in known.values():
            if image.parent in known:
                counts[image.round][effect(image, known[image.parent])] += 1
    return dict(sorted(counts.items()))
