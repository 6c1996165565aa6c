"""How far raters agree with each other."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from .agreement import Level
from .answers import Answers
from .figures import RaterFigure
from .intervals import alpha_interval
from .key import Key


def rater_figures(answers: Answers, key: Key) -> Iterable[RaterFigure]:
    for criterion in key.criteria:
        yield _rater_figure(
            criterion, "ordinal", [(a.item, int(a.value)) for a in answers.scores if a.question == criterion], answers
        )
    if answers.checks:
        told = [(f"{a.item} {a.question}", int(a.value == "yes")) for a in answers.checks if a.value != "unclear"]
        yield _rater_figure("checks", "nominal", told, answers)


def _rater_figure(question: str, level: Level, given: Sequence[tuple[str, int]], answers: Answers) -> RaterFigure:
    units: dict[str, list[float]] = defaultdict(list)
    for unit, value in given:
        units[unit].append(value)
    twice = [values for values in units.values() if len(values) > 1]
    names = answers.checks if question == "checks" else [a for a in answers.scores if a.question == question]
    return RaterFigure(
        question=question,
        level=level,
        alpha=alpha_interval(twice, level),
        raters=len({answer.rater for answer in names}),
        pictures=len(twice),
    )
