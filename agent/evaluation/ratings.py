"""What ratings say: of the methods, of the raters, of metrics, and of the critic."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from statistics import mean

from ...state import Frozen
from ...tools.errors import SettingsError
from .answers import Answers, RaterAnswer
from .figures import EVERY, figures_of, means_of, with_every
from .measure import Measurement
from .statistics import (
    Interval,
    Scale,
    alpha_interval,
    balanced_accuracy,
    cohen_kappa,
    grouped_interval,
    kendall,
    mean_interval,
    spearman,
)
from .survey import Key
from .tables import Cell, Table, columns

ByItem = Mapping[str, float]
"""Value by item of the survey."""


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
    level: Scale
    alpha: Interval | None
    """Krippendorff's; the interval by bootstrap over pictures. None if nothing was rated twice, or all alike."""
    raters: int
    pictures: int
    """Rated by two or more; for checks, questions answered by two or more."""


class MetricFigure(Frozen):
    """How far a metric orders pictures as people do."""

    metric: str
    criterion: str
    spearman: Interval | None
    """Rank correlation over pictures; the interval by bootstrap over prompts. None if either side is constant."""
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


def results(
    answers: Answers, key: Key, measurements: Iterable[Measurement] = (), baseline: str | None = None
) -> Results:
    """All figures.

    Args:
        answers: Of all raters.
        key: Of their survey.
        measurements: Of automatic metrics; other images than the survey's are ignored. The critic's are in the key.
        baseline: The method that others are compared with; by default the first.

    Raises:
        SettingsError: there is no such method.
    """
    if baseline is not None and baseline not in key.methods:
        raise SettingsError(f"no method is called {baseline!r}; there are {', '.join(key.methods)}")
    pictures: dict[str, set[str]] = defaultdict(set)
    for answer in (*answers.scores, *answers.checks):
        pictures[answer.rater].add(answer.item)
    rated = {
        criterion: means_of((a.item, float(a.value)) for a in answers.scores if a.question == criterion)
        for criterion in key.criteria
    }
    agreement = [
        _agreement(name, "ordinal", [a for a in answers.scores if a.question == name]) for name in key.criteria
    ]
    if answers.checks:
        agreement.append(_agreement("checks", "nominal", answers.checks))
    return Results(
        raters={rater: len(items) for rater, items in pictures.items()},
        pictures=len(key.items),
        rated=len(set[str]().union(*pictures.values())),
        methods=tuple(_methods(answers, key, rated, baseline or key.methods[0])),
        agreement=tuple(agreement),
        metrics=tuple(_metrics(_scores(key, measurements), key, rated)),
        critic=tuple(_critic(answers, key)) if answers.checks else (),
        problems=answers.problems,
    )


def _methods(answers: Answers, key: Key, rated: Mapping[str, ByItem], baseline: str) -> Iterator[MethodFigure]:
    """A picture that several methods made counts for each of them; one that a method made twice counts twice."""
    counts = Counter((answer.question, answer.item) for answer in answers.scores)
    made = [(source, id, item.prompt) for id, item in key.items.items() for source in item.sources]
    order = {method: n for n, method in enumerate(key.methods)}
    made.sort(key=lambda one: order.get(one[0].method, len(order)))
    values = [
        (source.scenario, criterion, source.method, prompt, by_item[id])
        for criterion, by_item in rated.items()
        for source, id, prompt in made
        if id in by_item
    ]
    for one in sorted(figures_of(values, baseline), key=lambda one: (one.scenario == EVERY, one.scenario)):
        items = {id for s, id, _ in made if s.method == one.method and one.scenario in (EVERY, s.scenario)}
        overall = mean_interval(one.means)
        if overall is not None:
            yield MethodFigure(
                scenario=one.scenario,
                method=one.method,
                criterion=one.metric,
                mean=overall,
                gain=mean_interval(one.gains),
                win_rate=one.win_rate,
                prompts=one.prompts,
                ratings=sum(counts[one.metric, id] for id in items),
            )


def _agreement(question: str, level: Scale, answers: Sequence[RaterAnswer]) -> RaterFigure:
    units: dict[tuple[str, str], list[float]] = defaultdict(list)
    for answer in answers:
        if answer.value != "unclear":
            value = answer.value if isinstance(answer.value, int) else answer.value == "yes"
            units[answer.item, answer.question].append(float(value))
    twice = [values for values in units.values() if len(values) > 1]
    raters = len({answer.rater for answer in answers})
    return RaterFigure(
        question=question, level=level, alpha=alpha_interval(twice, level), raters=raters, pictures=len(twice)
    )


def _scores(key: Key, measurements: Iterable[Measurement]) -> dict[str, ByItem]:
    """Values by metric of the survey's pictures: what the runs' own critics said, and what was measured."""
    items = {(s.method, s.run, s.image): id for id, item in key.items.items() for s in item.sources}
    sources = [(id, source) for id, item in key.items.items() for source in item.sources]
    found: dict[str, list[tuple[str, float]]] = {
        "critic": [(id, s.score) for id, s in sources if s.score is not None],
        "critic confidence": [(id, s.confidence) for id, s in sources if s.confidence is not None],
    }
    for one in measurements:
        item = items.get((one.method, one.run, one.image))
        if item is not None and one.value is not None:
            found.setdefault(one.metric, []).append((item, one.value))
    return {metric: means_of(values) for metric, values in found.items()}


def _metrics(scores: Mapping[str, ByItem], key: Key, rated: Mapping[str, ByItem]) -> Iterator[MetricFigure]:
    for (metric, values), (criterion, by_item) in product(scores.items(), rated.items()):
        items = [id for id in key.items if id in by_item and id in values]
        if len(items) < 2:
            continue
        x, y = [values[id] for id in items], [by_item[id] for id in items]
        prompts = [key.items[id].prompt for id in items]
        groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for prompt, value, rating in zip(prompts, x, y, strict=True):
            groups[prompt].append((value, rating))
        # 1 where a pair of one prompt is in the same order, 0 in the other, a half where the metric cannot tell.
        marks = [
            0.5 if x1 == x2 else float((x1 > x2) == (y1 > y2))
            for group in groups.values()
            for (x1, y1), (x2, y2) in combinations(group, 2)
            if y1 != y2
        ]
        yield MetricFigure(
            metric=metric,
            criterion=criterion,
            spearman=grouped_interval(x, y, prompts, spearman),
            kendall=kendall(x, y),
            within=mean(marks) if marks else None,
            pairs=len(marks),
            pictures=len(items),
        )


def _critic(answers: Answers, key: Key) -> Iterator[CriticFigure]:
    """The critic of each source against the majority of raters, by aspect of the check."""
    votes: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for answer in answers.checks:
        votes[answer.item, int(answer.question)][str(answer.value)] += 1
    found: list[tuple[str, str, str]] = []
    for (id, number), counts in votes.items():
        people = "yes" if counts["yes"] > counts["no"] else "no" if counts["no"] > counts["yes"] else "split"
        item = key.items[id]
        # Runs that made the same picture have mostly the same critic, whose answer then counts once.
        said = dict.fromkeys(s.answers[number] for s in item.sources if number in s.answers)
        found += [(item.checks[number].aspect, people, critic) for critic in said]
    for aspect in with_every(sorted({aspect for aspect, _, _ in found})):
        counts = Counter(f"{people} {critic}" for of, people, critic in found if aspect in (EVERY, of))
        table = [[counts[f"{people} pass"], counts[f"{people} fail"]] for people in ("yes", "no")]
        yield CriticFigure(
            aspect=aspect,
            balanced_accuracy=balanced_accuracy(table),
            kappa=cohen_kappa(table),
            answers=sum(map(sum, table)),
            unknown=counts["yes unknown"] + counts["no unknown"],
            undecided=sum(n for words, n in counts.items() if words.startswith("split")),
        )


def tables(found: Results) -> list[Table]:
    """One table for each of methods, raters, metrics and critic that has rows."""

    def spread(interval: Interval | None, prompts: int) -> Cell:
        return interval.value if interval is not None and prompts == 1 else interval

    def share(value: float | None, pairs: int) -> Cell:
        return None if value is None else f"{value:.0%} of {pairs}"

    methods = [
        (
            *(f.scenario, f.criterion, f.method, spread(f.mean, f.prompts), spread(f.gain, f.prompts)),
            *(f.win_rate, f.prompts, f.ratings),
        )
        for f in found.methods
    ]
    metrics = [
        (f.metric, f.criterion, f.spearman, f.kendall, share(f.within, f.pairs), f.pictures) for f in found.metrics
    ]
    critic = [(f.aspect, f.balanced_accuracy, f.kappa, f.answers, f.unknown, f.undecided) for f in found.critic]
    every = [
        Table(
            "Ratings by method",
            columns("scenario, criterion, method, mean: .2f, gain: +.2f, win rate: .0%, prompts: d, ratings: d"),
            tuple(methods),
            "Means over prompts from 1 to 5, and the gain over the baseline on the prompts of both, with 95% bootstrap"
            " intervals, which a single prompt has none of; a tie counts half in the win rate.",
        ),
        Table(
            "Agreement among raters",
            columns("question, level, Krippendorff's alpha: .3f, raters: d, answered by two: d"),
            tuple((f.question, f.level, f.alpha, f.raters, f.pictures) for f in found.agreement),
            "1 is perfect agreement, 0 what chance would give; 95% intervals by bootstrap over what two or more"
            " answered.",
        ),
        Table(
            "Metrics against people",
            columns("metric, criterion, Spearman: +.3f, Kendall: +.3f, same order within a prompt: .0%, pictures: d"),
            tuple(metrics),
            "Rank correlation with the mean rating of each picture, with a 95% interval by bootstrap over prompts; and"
            " the share of pairs of one prompt, rated apart by people, that the metric orders alike, where chance is"
            " 50%.",
        ),
        Table(
            "The critic against people, check by check",
            columns(
                "aspect, balanced accuracy: .1%, Cohen's kappa: .3f, answers: d, critic unknown: d, people undecided: d"
            ),
            tuple(critic),
            "Against the majority of raters; chance is 50% and 0.",
        ),
    ]
    return [table for table in every if table.rows]
