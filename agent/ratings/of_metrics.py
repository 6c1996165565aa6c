"""How far metrics order pictures as people do."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import mean

from .agreement import kendall, spearman
from .figures import MetricFigure
from .intervals import rank_interval
from .key import Key
from .of_methods import Means
from .scores import Scores


def metric_figures(scores: Scores, key: Key, means: Means) -> Iterable[MetricFigure]:
    for metric, values in scores.items():
        for criterion in key.criteria:
            rated = means.get(criterion, {})
            items = [id for id in key.items if id in rated and id in values]
            if len(items) < 2:
                continue
            x, y = [values[id] for id in items], [rated[id] for id in items]
            prompts = [key.items[id].prompt for id in items]
            within, pairs = _ordered_alike(x, y, prompts)
            yield MetricFigure(
                metric=metric,
                criterion=criterion,
                spearman=rank_interval(x, y, prompts, spearman),
                kendall=kendall(x, y),
                within=within,
                pairs=pairs,
                pictures=len(items),
            )


def _ordered_alike(x: Sequence[float], y: Sequence[float], prompts: Sequence[str]) -> tuple[float | None, int]:
    """The share of pairs within a prompt, apart in ``y``, that ``x`` orders alike, and their number."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, prompt in enumerate(prompts):
        groups[prompt].append(place)
    marks: list[float] = []
    for places in groups.values():
        for n, i in enumerate(places):
            for j in places[:n]:
                if y[i] != y[j]:
                    above = (x[i] > x[j]) - (x[i] < x[j])
                    marks.append((1 + (above if y[i] > y[j] else -above)) / 2)
    return (mean(marks) if marks else None), len(marks)
