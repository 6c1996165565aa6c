"""What the ratings say: of the methods, of the raters, of metrics, and of the critic."""

from collections import defaultdict

from ...state import Frozen
from ...tools.errors import SettingsError
from .answers import Answers
from .figures import CriticFigure, MethodFigure, MetricFigure, RaterFigure
from .key import Key
from .of_critic import critic_figures
from .of_methods import mean_ratings, method_figures
from .of_metrics import metric_figures
from .of_raters import rater_figures
from .scores import Scores, critic_scores


class Results(Frozen):
    """Everything that the ratings say."""

    raters: dict[str, int]
    """Pictures rated, by rater."""
    pictures: int
    """Of the survey."""
    rated: int
    """With a rating."""
    methods: tuple[MethodFigure, ...]
    agreement: tuple[RaterFigure, ...]
    metrics: tuple[MetricFigure, ...]
    critic: tuple[CriticFigure, ...]
    """Empty where raters answered no checks."""
    problems: tuple[str, ...]
    """What does not count, and why."""


def results(answers: Answers, key: Key, metrics: Scores | None = None, baseline: str | None = None) -> Results:
    """All figures.

    Args:
        answers: Of all raters.
        key: Of their survey.
        metrics: Values of automatic metrics; the critic's are in the key.
        baseline: The method that others are compared with; by default the first.

    Raises:
        SettingsError: there is no such method.
    """
    if baseline is not None and baseline not in key.methods:
        raise SettingsError(f"no method is called {baseline!r}; there are {', '.join(key.methods)}")
    means = mean_ratings(answers)
    pictures: dict[str, set[str]] = defaultdict(set)
    for answer in (*answers.scores, *answers.checks):
        pictures[answer.rater].add(answer.item)
    return Results(
        raters={rater: len(pictures[rater]) for rater in answers.raters},
        pictures=len(key.items),
        rated=len(set[str]().union(*pictures.values())),
        methods=tuple(method_figures(answers, key, means, baseline or key.methods[0])),
        agreement=tuple(rater_figures(answers, key)),
        metrics=tuple(metric_figures(critic_scores(key) | (metrics or {}), key, means)),
        critic=tuple(critic_figures(answers, key)),
        problems=answers.problems,
    )
