"""What is told of ratings: one record a line of a table."""

from ...state import Frozen
from ..experiments.statistics import Interval
from .agreement import Level

EVERY = "all"
"""The scenario, or the aspect, that stands for all of them."""


class MethodFigure(Frozen):
    """What people think of one method."""

    scenario: str
    """``all`` for all of them together."""
    method: str
    criterion: str
    mean: Interval
    """Over prompts, 1 to 5; pictures of one prompt are averaged first, and raters before them."""
    gain: Interval | None
    """Over the baseline, on the prompts that both were rated on; None for the baseline itself, or without any."""
    win_rate: float | None
    """Share of these prompts on which it is rated above the baseline, a tie counting half."""
    prompts: int
    ratings: int


class RaterFigure(Frozen):
    """How far raters agree."""

    question: str
    """Criterion, or ``checks``."""
    level: Level
    alpha: Interval | None
    """Krippendorff's; the interval by bootstrap over pictures. None where nothing was rated twice, or all alike."""
    raters: int
    pictures: int
    """Rated by two or more; for checks, questions answered by two or more."""


class MetricFigure(Frozen):
    """How far a metric orders pictures as people do."""

    metric: str
    criterion: str
    spearman: Interval | None
    """Rank correlation over pictures; the interval by bootstrap over prompts. None where either side is constant."""
    kendall: float | None
    """Tau-b over pictures."""
    within: float | None
    """Of pairs of pictures of one prompt that people rate apart, the share that the metric orders alike; its ties count
    half. 0.5 is chance."""
    pairs: int
    pictures: int


class CriticFigure(Frozen):
    """How far the critic answers checks as people do."""

    aspect: str
    """``all`` for all of them together."""
    balanced_accuracy: float | None
    """Mean of the shares of people's yes and no that the critic answers alike; 0.5 is chance."""
    kappa: float | None
    """Cohen's, between the critic and the majority of raters."""
    answers: int
    """That people and the critic both gave."""
    unknown: int
    """That people gave and the critic could not."""
    undecided: int
    """On which raters are split, or say that it is unclear."""
