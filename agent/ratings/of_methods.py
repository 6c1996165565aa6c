"""Means by method, and how they compare with one of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from statistics import mean

from ..experiments.statistics import mean_interval
from .answers import Answers
from .figures import EVERY, MethodFigure
from .key import Key

Means = dict[str, dict[str, float]]
"""Mean rating over raters by item, by criterion."""


def mean_ratings(answers: Answers) -> Means:
    values: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for answer in answers.scores:
        values[answer.question][answer.item].append(int(answer.value))
    return {name: {item: mean(given) for item, given in by_item.items()} for name, by_item in values.items()}


def method_figures(answers: Answers, key: Key, means: Means, baseline: str) -> Iterable[MethodFigure]:
    counts = Counter((answer.question, answer.item) for answer in answers.scores)
    scenarios = sorted({s.scenario for item in key.items.values() for s in item.sources} - {""})
    for scenario in (*(scenarios if len(scenarios) > 1 else ()), EVERY):
        for criterion in key.criteria:
            found = _by_prompt(key, means.get(criterion, {}), scenario)
            for method in key.methods:
                prompts = found.get(method, {})
                overall = mean_interval(list(prompts.values()))
                if overall is None:
                    continue
                shared = [(prompts[p], found.get(baseline, {})[p]) for p in prompts if p in found.get(baseline, {})]
                other = method != baseline and bool(shared)
                yield MethodFigure(
                    scenario=scenario,
                    method=method,
                    criterion=criterion,
                    mean=overall,
                    gain=mean_interval([ours - theirs for ours, theirs in shared]) if other else None,
                    win_rate=mean((1 + (o > t) - (o < t)) / 2 for o, t in shared) if other else None,
                    prompts=len(prompts),
                    ratings=sum(counts[criterion, id] for id in _items(key, method, scenario)),
                )


def _items(key: Key, method: str, scenario: str) -> set[str]:
    return {
        id
        for id, item in key.items.items()
        for source in item.sources
        if source.method == method and scenario in (EVERY, source.scenario)
    }


def _by_prompt(key: Key, means: Mapping[str, float], scenario: str) -> dict[str, dict[str, float]]:
    """Mean by prompt, by method; a picture that two runs of a method made counts twice."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for id, item in key.items.items():
        for source in item.sources:
            if id in means and scenario in (EVERY, source.scenario):
                values[source.method][item.prompt].append(means[id])
    return {method: {prompt: mean(given) for prompt, given in found.items()} for method, found in values.items()}
