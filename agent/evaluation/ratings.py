"""What ratings say: of the methods, of the raters, of metrics, and of the critic."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from statistics import mean
from typing import Any

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

Line = tuple[Cell, ...]
Said = tuple[str, str, str]
"""Aspect of a check, what people answer (yes, no or split), and what the critic does."""
_PLACE = {"method", "scenario", "run", "image"}
ByItem = Mapping[str, float]
"""Value by item of the survey."""


@dataclass(frozen=True)
class Results:
    """Everything that the ratings say."""

    raters: dict[str, int]
    """Pictures rated, by rater."""
    pictures: int
    """Of the survey."""
    rated: int
    """With a rating."""
    tables: dict[str, Table]
    """``methods``, ``agreement`` of raters, ``metrics`` and ``critic``; empty ones too."""
    problems: tuple[str, ...]
    """What does not count, and why."""

    @property
    def data(self) -> dict[str, Any]:
        """As JSON."""
        about = {"raters": self.raters, "pictures": self.pictures, "rated": self.rated}
        return about | {n: table.records for n, table in self.tables.items()} | {"problems": self.problems}


def results(
    answers: Answers, key: Key, measurements: Iterable[Measurement] = (), baseline: str | None = None
) -> Results:
    """All figures; ``SettingsError`` if there is no method of the baseline's name, by default the first.

    ``measurements`` are of automatic metrics; those of other images than the survey's are ignored, and the critic's are
    in the key.
    """
    from pandas import concat

    if baseline is not None and baseline not in key.methods:
        raise SettingsError(f"no method is called {baseline!r}; there are {', '.join(key.methods)}")
    pictures: Any = concat([answers.scores, answers.checks]).drop_duplicates(["rater", "item"])
    means = answers.scores.groupby(["question", "item"])["value"].mean()
    rated = {name: means[name].to_dict() if name in means else {} for name in key.criteria}
    tables = {
        "methods": Table(
            "Ratings by method",
            columns("scenario, criterion, method, mean: .2f, gain: +.2f, win rate: .0%, prompts: d, ratings: d"),
            tuple(_methods(answers, key, rated, baseline or key.methods[0])),
            "Means over prompts from 1 to 5, raters averaged first, and the gain over the baseline on the prompts of"
            " both, with 95% bootstrap intervals, which a single prompt has none of; a tie counts half in the win"
            " rate.",
        ),
        "agreement": Table(
            "Agreement among raters",
            columns("question, level, alpha: .3f, raters: d, pictures: d"),
            tuple(_agreement(answers, key)),
            "Krippendorff's alpha: 1 is perfect agreement, 0 what chance would give; 95% intervals by bootstrap over"
            " pictures, or checks, that two or more answered.",
        ),
        "metrics": Table(
            "Metrics against people",
            columns("metric, criterion, spearman: +.3f, kendall: +.3f, within: .0%, pairs: d, pictures: d"),
            tuple(_metrics(_scores(key, measurements), key, rated)),
            "Rank correlation with the mean rating of each picture, with a 95% interval by bootstrap over prompts, and"
            " tau-b; within: of the pairs of pictures of one prompt, rated apart by people, the share that the metric"
            " orders alike; its ties count half, and chance is 50%.",
        ),
        "critic": _critic(_voted(answers, key)),
    }
    raters = pictures["rater"].value_counts(sort=False).to_dict()
    return Results(raters, len(key.items), int(pictures["item"].nunique()), tables, answers.problems)


def _methods(answers: Answers, key: Key, rated: Mapping[str, ByItem], baseline: str) -> Iterator[Line]:
    """A picture that several methods made counts for each of them; one that a method made twice counts twice."""
    counts = Counter(zip(answers.scores["question"], answers.scores["item"], strict=True))
    made = [(source, id, item.prompt) for id, item in key.items.items() for source in item.sources]
    order = {method: n for n, method in enumerate(key.methods)}
    made.sort(key=lambda one: order.get(one[0].method, len(order)))
    rates = [
        Measurement(**source.model_dump(include=_PLACE), prompt=prompt, metric=criterion, value=by_item[id])
        for criterion, by_item in rated.items()
        for source, id, prompt in made
        if id in by_item
    ]
    for one in sorted(figures_of(rates, baseline), key=lambda one: (one.scenario == EVERY, one.scenario)):
        items = {id for s, id, _ in made if s.method == one.method and one.scenario in (EVERY, s.scenario)}
        ratings = sum(counts[one.metric, id] for id in items)
        spread = mean_interval(one.means), mean_interval(one.gains)
        yield one.scenario, one.metric, one.method, *spread, one.win_rate, one.prompts, ratings


def _agreement(answers: Answers, key: Key) -> Iterator[Line]:
    asked = [(name, answers.scores[answers.scores["question"] == name]) for name in key.criteria]
    clear = answers.checks[answers.checks["value"] != "unclear"]
    asked += [("checks", clear.assign(value=clear["value"] == "yes"))] if len(answers.checks) else []
    for name, said in asked:
        level = "nominal" if name == "checks" else "ordinal"
        units = [list(map(float, unit)) for _, unit in said.groupby(["item", "question"], sort=False)["value"]]
        twice = [unit for unit in units if len(unit) > 1]
        yield name, level, alpha_interval(twice, level), said["rater"].nunique(), len(twice)


def _scores(key: Key, measurements: Iterable[Measurement]) -> dict[str, ByItem]:
    """Values by metric of the survey's pictures: what the runs' own critics said, and what was measured."""
    items = {(s.method, s.run, s.image): id for id, item in key.items.items() for s in item.sources}
    sources = [(id, source) for id, item in key.items.items() for source in item.sources]
    found: dict[str, list[tuple[str, float | None]]] = {
        "critic": [(id, s.score) for id, s in sources],
        "critic confidence": [(id, s.confidence) for id, s in sources],
    }
    for one in measurements:
        item = items.get((one.method, one.run, one.image))
        if item is not None:
            found.setdefault(one.metric, []).append((item, one.value))
    return {metric: means_of(values) for metric, values in found.items()}


def _metrics(scores: Mapping[str, ByItem], key: Key, rated: Mapping[str, ByItem]) -> Iterator[Line]:
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
        within = mean(marks) if marks else None
        ranks = grouped_interval(x, y, prompts, spearman), kendall(x, y)
        yield metric, criterion, *ranks, within, len(marks), len(items)


def majorities(answers: Answers) -> dict[tuple[str, int], str]:
    """What most raters say by item and number of the check: yes, no or split."""
    votes: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for answer in answers.checks.itertuples():
        votes[answer.item, int(answer.question)][answer.value] += 1
    more = {asked: n["yes"] - n["no"] for asked, n in votes.items()}
    return {asked: "yes" if by > 0 else "no" if by < 0 else "split" for asked, by in more.items()}


def _voted(answers: Answers, key: Key) -> list[Said]:
    """The critic of each source beside the majority of raters."""
    found = list[Said]()
    for (id, number), people in majorities(answers).items():
        item = key.items[id]
        # Runs that made the same picture have mostly the same critic, whose answer then counts once.
        said = dict.fromkeys(s.answers[number] for s in item.sources if number in s.answers)
        found += [(item.checks[number].aspect, people, critic) for critic in said]
    return found


def _critic(found: Sequence[Said]) -> Table:
    """The critic against people, by aspect of the check."""
    rows = list[Line]()
    for aspect in with_every(sorted({aspect for aspect, _, _ in found})) if found else ():
        counts = Counter(f"{people} {critic}" for of, people, critic in found if aspect in (EVERY, of))
        table = [[counts[f"{people} pass"], counts[f"{people} fail"]] for people in ("yes", "no")]
        unknown = counts["yes unknown"] + counts["no unknown"]
        undecided = sum(n for words, n in counts.items() if words.startswith("split"))
        rows.append((aspect, balanced_accuracy(table), cohen_kappa(table), sum(map(sum, table)), unknown, undecided))
    return Table(
        "The critic against people, check by check",
        columns("aspect, balanced accuracy: .1%, kappa: .3f, answers: d, unknown: d, undecided: d"),
        tuple(rows),
        "Against the majority of raters, by Cohen's kappa; chance is 50% and 0. unknown: what the critic could not"
        " tell; undecided: where raters are split, or say that it is unclear.",
    )


def noted(folders: Iterable[Path]) -> dict[str, Table]:
    """What people noted in the folders of runs: ``notes``, one row an image that has any, and ``critic``, whose answers
    are compared with the verdicts that they corrected."""
    found, rows = list[Said](), list[Line]()
    for place in (place for folder in folders for place in runs_in(folder)):
        run = read_run(place)
        for one in corrections(run):
            person = {"pass": "yes", "fail": "no", "unknown": "split"}[one.person]
            found.append((one.check.aspect, person, one.critic))
        for image, note in read_notes(place).items():
            marked = "" if note.mark in (None, "none") else note.mark
            rows.append((run.run, image, marked, len(note.verdicts), note.text or "", note.by))
    names = columns("run, image, mark, verdicts: d, note, by")
    return {"notes": Table("What people noted", names, tuple(rows)), "critic": _critic(found)}
