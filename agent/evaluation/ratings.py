"""Compares methods by people's ratings, and raters, metrics and the critic with people."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from statistics import mean

from ...tools.errors import SettingsError
from ..records.notes import corrections, read_notes
from ..records.reader import read_run, runs_in
from .answers import Answers
from .figures import EVERY, figures_of, means_of, with_every
from .measure import Measurement
from .statistics import (
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

Cells = tuple[Cell, ...]
CriticAnswer = tuple[str, str, str]
"""Aspect of a check, people's answer (yes, no or split), and the critic's."""
ByItem = Mapping[str, float]
"""Value by item of the survey."""


def rating_tables(
    answers: Answers, key: Key, measurements: Iterable[Measurement] = (), baseline: str | None = None
) -> dict[str, Table]:
    """The tables ``methods``, ``agreement`` of raters, ``metrics`` and ``critic``, empty ones too; ``SettingsError`` if
    no method has the baseline's name, by default that of the first.

    ``measurements`` are of automatic metrics; those of images outside of the survey are ignored.
    """
    if baseline is not None and baseline not in key.methods:
        raise SettingsError(f"no method is called {baseline!r}; there are {', '.join(key.methods)}")
    means = answers.scores.groupby(["question", "item"])["value"].mean()
    rated = {name: means[name].to_dict() if name in means else {} for name in key.criteria}
    return {
        "methods": Table(
            "Ratings by method",
            columns("scenario, criterion, method, mean: .2f, gain: +.2f, win rate: .0%, prompts: d, ratings: d"),
            tuple(_method_rows(answers, key, rated, baseline or key.methods[0])),
            "Means over prompts from 1 to 5, raters averaged first, and the gain over the baseline on the prompts of"
            " both, with 95% bootstrap intervals, which a single prompt has none of; a tie counts half in the win"
            " rate.",
        ),
        "agreement": Table(
            "Agreement among raters",
            columns("question, level, alpha: .3f, raters: d, pictures: d"),
            tuple(_agreement_rows(answers, key)),
            "Krippendorff's alpha: 1 is perfect agreement, 0 what chance would give; 95% intervals by bootstrap over"
            " pictures, or checks, that two or more answered.",
        ),
        "metrics": Table(
            "Metrics against people",
            columns("metric, criterion, spearman: +.3f, kendall: +.3f, within: .0%, pairs: d, pictures: d"),
            tuple(_metric_rows(_values_by_metric(key, measurements), key, rated)),
            "Rank correlation with the mean rating of each picture, with a 95% interval by bootstrap over prompts, and"
            " tau-b; within: of the pairs of pictures of one prompt, rated apart by people, the share that the metric"
            " orders alike; its ties count half, and chance is 50%.",
        ),
        "critic": _critic_table(_critic_answers(answers, key)),
    }


def _method_rows(answers: Answers, key: Key, rated: Mapping[str, ByItem], baseline: str) -> Iterator[Cells]:
    """A picture that several methods made counts for each of them; one that a method made twice counts twice."""
    counts = Counter(zip(answers.scores["question"], answers.scores["item"], strict=True))
    order = {method: n for n, method in enumerate(key.methods)}
    sources = [(source, id, item.prompt) for id, item in key.items.items() for source in item.sources]
    sources.sort(key=lambda source: order.get(source[0].method, len(order)))
    place = {"method", "scenario", "run", "image"}
    measured = [
        Measurement(**source.model_dump(include=place), prompt=prompt, metric=criterion, value=by_item[id])
        for criterion, by_item in rated.items()
        for source, id, prompt in sources
        if id in by_item
    ]
    for f in sorted(figures_of(measured, baseline), key=lambda f: (f.scenario == EVERY, f.scenario)):
        items = {id for s, id, _ in sources if s.method == f.method and f.scenario in (EVERY, s.scenario)}
        ratings = sum(counts[f.metric, id] for id in items)
        intervals = mean_interval(f.means), mean_interval(f.gains)
        yield f.scenario, f.metric, f.method, *intervals, f.win_rate, f.prompts, ratings


def _agreement_rows(answers: Answers, key: Key) -> Iterator[Cells]:
    questions = [(name, answers.scores[answers.scores["question"] == name]) for name in key.criteria]
    clear = answers.checks[answers.checks["value"] != "unclear"]
    questions += [("checks", clear.assign(value=clear["value"] == "yes"))] if len(answers.checks) else []
    for name, frame in questions:
        level = "nominal" if name == "checks" else "ordinal"
        units = [list(map(float, unit)) for _, unit in frame.groupby(["item", "question"], sort=False)["value"]]
        repeated = [unit for unit in units if len(unit) > 1]
        yield name, level, alpha_interval(repeated, level), frame["rater"].nunique(), len(repeated)


def _values_by_metric(key: Key, measurements: Iterable[Measurement]) -> dict[str, ByItem]:
    """Values of the survey's pictures: the scores of the runs' critics, which are in the key, and the measurements."""
    values, items = defaultdict[str, list[tuple[str, float | None]]](list), dict[tuple[str, str, str], str]()
    for id, item in key.items.items():
        for source in item.sources:
            items[source.method, source.run, source.image] = id
            values["critic"].append((id, source.score))
            values["critic confidence"].append((id, source.confidence))
    for m in measurements:
        if (id := items.get((m.method, m.run, m.image))) is not None:
            values[m.metric].append((id, m.value))
    return {metric: means_of(of_items) for metric, of_items in values.items()}


def _metric_rows(values: Mapping[str, ByItem], key: Key, rated: Mapping[str, ByItem]) -> Iterator[Cells]:
    for (metric, scores), (criterion, ratings) in product(values.items(), rated.items()):
        items = [id for id in key.items if id in ratings and id in scores]
        if len(items) < 2:
            continue
        x, y, prompts = zip(*((scores[id], ratings[id], key.items[id].prompt) for id in items), strict=True)
        groups = defaultdict[str, list[tuple[float, float]]](list)
        for prompt, score, rating in zip(prompts, x, y, strict=True):
            groups[prompt].append((score, rating))
        # 1 for a pair that the metric orders as people do, 0 for the reverse, 0.5 for a tie of the metric.
        marks = [
            0.5 if x1 == x2 else float((x1 > x2) == (y1 > y2))
            for group in groups.values()
            for (x1, y1), (x2, y2) in combinations(group, 2)
            if y1 != y2
        ]
        correlations = grouped_interval(x, y, prompts, spearman), kendall(x, y)
        yield metric, criterion, *correlations, mean(marks) if marks else None, len(marks), len(items)


def majorities(answers: Answers) -> dict[tuple[str, int], str]:
    """The majority answer by item and number of the check: yes, no or split."""
    votes = defaultdict[tuple[str, int], Counter[str]](Counter)
    for answer in answers.checks.itertuples():
        votes[answer.item, int(answer.question)][answer.value] += 1
    margins = {check: counts["yes"] - counts["no"] for check, counts in votes.items()}
    return {check: "yes" if margin > 0 else "no" if margin < 0 else "split" for check, margin in margins.items()}


def _critic_answers(answers: Answers, key: Key) -> list[CriticAnswer]:
    found = list[CriticAnswer]()
    for (id, number), people in majorities(answers).items():
        item = key.items[id]
        # Runs that made the same picture mostly have the same critic, whose answer then counts once.
        distinct = dict.fromkeys(s.answers[number] for s in item.sources if number in s.answers)
        found += [(item.checks[number].aspect, people, critic) for critic in distinct]
    return found


def _critic_table(answers: Sequence[CriticAnswer]) -> Table:
    """The critic against people, by aspect of the check."""
    rows = list[Cells]()
    for aspect in with_every(sorted({aspect for aspect, _, _ in answers})) if answers else ():
        counts = Counter((people, critic) for of, people, critic in answers if aspect in (EVERY, of))
        confusion = [[counts[people, "pass"], counts[people, "fail"]] for people in ("yes", "no")]
        unknown = counts["yes", "unknown"] + counts["no", "unknown"]
        undecided = sum(n for (people, _), n in counts.items() if people == "split")
        measures = balanced_accuracy(confusion), cohen_kappa(confusion)
        rows.append((aspect, *measures, sum(map(sum, confusion)), unknown, undecided))
    return Table(
        "The critic against people, check by check",
        columns("aspect, balanced accuracy: .1%, kappa: .3f, answers: d, unknown: d, undecided: d"),
        tuple(rows),
        "Against the majority of raters, by Cohen's kappa; chance is 50% and 0. unknown: what the critic could not"
        " tell; undecided: where raters are split, or say that it is unclear.",
    )


def tables_of_notes(folders: Iterable[Path]) -> dict[str, Table]:
    """The notes on the runs in these folders: ``notes``, one row an image, and ``critic``, whose answers are compared
    with people's corrections."""
    answers, rows = list[CriticAnswer](), list[Cells]()
    for run in (read_run(place) for folder in folders for place in runs_in(folder)):
        for correction in corrections(run):
            people = {"pass": "yes", "fail": "no", "unknown": "split"}[correction.person]
            answers.append((correction.check.aspect, people, correction.critic))
        for image, note in read_notes(run.folder).items():
            mark = "" if note.mark in (None, "none") else note.mark
            rows.append((run.run, image, mark, len(note.verdicts), note.text or "", note.by))
    names = columns("run, image, mark, verdicts: d, note, by")
    return {"notes": Table("What people noted", names, tuple(rows)), "critic": _critic_table(answers)}
