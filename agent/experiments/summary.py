"""The tables of an experiment, computed from its rows."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from math import nan
from statistics import fmean
from typing import Any

from ..evaluation.statistics import (
    Interval,
    holm,
    mean_interval,
    paired_test,
    proportion_interval,
    ratio_interval,
    sign,
)
from ..evaluation.tables import Cell, Column, Style, Table
from .load import Variant
from .measures import (
    by_label,
    by_prompt,
    correct,
    differences,
    effects,
    finished,
    frame,
    newest,
    pairs,
    passed_of,
    until,
)
from .rows import ExperimentRow, ImageRow

COSTS = ("evaluations", "images", "critic_calls", "seconds")
"""What quality is drawn against."""
EFFECTS = ("fixed", "broken", "both", "unchanged")
_PREVIEWS = (
    "Images are those drawn to the end. A preview also costs a critic call, but it and its continuation share their "
    "evaluations, which are the honest cost."
)
_INTERVALS = (
    "Means over prompts, each the mean of its seeds, with 95% bootstrap intervals; where every run is alike, the "
    "exact interval. Seconds are of model time."
)
_PAIRED = (
    "Same prompts and seeds. Intervals by bootstrap over prompts; p by the sign-flip test on the share all correct, "
    "adjusted by Holm's method for the number of comparisons."
)
_SURVIVES = (
    "Gain of the chosen image over the first drawing, all correct: as the critic sees it, and as the judge does. "
    "What survives is their ratio; none is given where the critic's gain may be zero."
)
_TRAJECTORY = (
    "peak: the best image's share of checks; retention: what the chosen image keeps of it; efficiency: share of the "
    "images that were made up to the peak; kept: share of the checks passed before a refinement that pass after it; "
    "outside_changed: mean difference of pixels that it makes outside of what was wrong; lpips: its LPIPS to the "
    "source, where that was measured."
)
_ROUNDS = (
    "chosen: the image that the run would have chosen had it ended after that round; newest: the last one made, as "
    "without keep-best. Fixed and broken are shares of the images of the round, against their parents."
)
Line = dict[str, Cell]


def tables_of(rows: Sequence[ExperimentRow], baseline: str, variants: Sequence[Variant] = ()) -> dict[str, Table]:
    """Every table by the name of its file, without empty ones; each title says how many runs failed, if any."""

    def in_scenario(row: ExperimentRow, scenario: str) -> float:
        return correct(row.chosen) if row.scenario == scenario else nan

    scenarios = {row.scenario for row in rows if row.scenario}
    aspects = {aspect for row in rows for aspect in row.checks.values()}
    tables = {
        "summary": summary(rows),
        "against_baseline": against_baseline(rows, baseline),
        "on_equal_terms": on_equal_terms(rows, baseline, variants),
        "trajectories": trajectories(rows),
        "rounds": rounds(rows),
        "by_scenario": _parts("All correct, by scenario", rows, scenarios, in_scenario, proportion_interval),
        "by_kind_of_check": _parts("Checks passed, by kind of check", rows, aspects, passed_of, mean_interval),
    }
    return {name: table for name, table in tables.items() if table.rows and len(table.columns) > 1}


def table_of(title: str, lines: Iterable[Mapping[str, Cell]], styles: Mapping[str, Style], note: str = "") -> Table:
    """A table of lines with the same columns; a column whose style is not named holds text."""
    lines = list(lines)
    columns = tuple(Column(name, styles.get(name, "text")) for name in (lines[0] if lines else ()))
    return Table(title, columns, tuple(tuple(line.values()) for line in lines), note)


def _table(
    title: str, rows: Sequence[ExperimentRow], lines: Iterable[Line], styles: Mapping[str, Style], *notes: str
) -> Table:
    """A table of runs, whose title says how many of them failed and are therefore missing."""
    failed = len(rows) - len(finished(rows))
    title = f"{title}: {failed} of {len(rows)} runs are missing" if failed else title
    return table_of(title, lines, styles, " ".join(filter(None, notes)))


def summary(rows: Sequence[ExperimentRow]) -> Table:
    """Quality and cost of each variant."""
    costs, lines = _costs(rows), list[Line]()
    for label, group in by_label(rows).items():
        runs = frame(group)
        line: Line = {"variant": label, "runs": str(len(runs)), "failed": str(len(group) - len(runs))}
        line["all correct"] = proportion_interval(by_prompt(runs, "all_correct"))
        line["checks"] = mean_interval(by_prompt(runs, "checks"))
        lines.append(line | {words: mean_of(by_prompt(runs, name)) for words, name in costs.items()})
    styles = dict.fromkeys(("runs", "failed", *costs), "number")
    styles |= {"all correct": "share", "checks": "share", "seconds": "fine"}
    notes = (*_alike(rows), note_on_judge(rows), _INTERVALS, _PREVIEWS if "previews" in costs else "")
    return _table("Quality and cost", rows, lines, styles, *notes)


def _alike(rows: Sequence[ExperimentRow]) -> Iterable[str]:
    """A sentence for each set of variants whose policies did the same in all of their runs."""
    fields = {"id", "parent", "operator", "start_step", "stop_step", "evaluations", "action"}
    groups = defaultdict[tuple[str, ...], list[str]](list)
    for label, group in by_label(finished(rows)).items():
        steps = (repr((r.prompt, r.seed, r.best, *(i.model_dump(include=fields) for i in r.images))) for r in group)
        groups[tuple(sorted(steps))].append(label)
    for runs, labels in groups.items():
        if len(labels) > 1:
            yield f"{' and '.join(labels)} decided alike in all {len(runs)} runs: their figures cannot differ."


def against_baseline(rows: Sequence[ExperimentRow], baseline: str) -> Table:
    """Paired differences of every other variant from the baseline."""
    groups = by_label(rows)
    compared = {label: (group, groups.get(baseline, [])) for label, group in groups.items() if label != baseline}
    return differences_table(f"Against {baseline}", compared)


def on_equal_terms(rows: Sequence[ExperimentRow], baseline: str, variants: Sequence[Variant]) -> Table:
    """Paired differences of every variant from the one of the baseline's policy with the same values of its grid."""
    groups, chosen = by_label(rows), next((v.group for v in variants if v.label == baseline), None)
    theirs = [v for v in variants if v.group == chosen]
    compared = {
        ours.label: (groups.get(ours.label, []), groups.get(other.label, []))
        for ours, other in product(variants, theirs)
        if len(theirs) > 1 and ours.group != chosen and ours.parameters == other.parameters
    }
    names = dict.fromkeys(name.partition(".")[2] for v in theirs for name in v.parameters)
    return differences_table(f"Against {chosen} at the same {' and '.join(names)}", compared)


def differences_table(
    title: str, compared: Mapping[str, tuple[Sequence[ExperimentRow], Sequence[ExperimentRow]]]
) -> Table:
    """Paired differences, ours less theirs, by name."""
    both = list({id(row): row for sides in compared.values() for side in sides for row in side}.values())
    costs, lines = _costs(both), list[Line]()
    paired = {name: pairs(frame(ours), frame(theirs)) for name, (ours, theirs) in compared.items()}
    p_values = holm([paired_test(differences(runs, "all_correct")) for runs in paired.values()])
    for (name, runs), p in zip(paired.items(), p_values, strict=True):
        gaps, checks = differences(runs, "all_correct"), differences(runs, "checks")
        line: Line = {"variant": name, "all correct": mean_interval(gaps), "sign": sign(gaps), "p": p if gaps else None}
        outcomes = (sum(d > 0 for d in checks), checks.count(0), sum(d < 0 for d in checks))
        line |= {"checks": mean_interval(checks), "prompts won / tied / lost": " / ".join(map(str, outcomes))}
        lines.append(line | {words: mean_of(differences(runs, cost)) for words, cost in costs.items()})
    styles = dict.fromkeys(costs, "number") | {"all correct": "points", "p": "p", "checks": "points"}
    return _table(title, both, lines, styles, note_on_judge(both), _PAIRED)


def trajectories(rows: Sequence[ExperimentRow]) -> Table:
    """Peak, retention and efficiency, what refinements keep, and how much of the critic's gain the judge confirms."""
    lines, shares = list[Line](), ("peak", "retention", "efficiency", "kept", "outside_changed")
    shares += ("lpips",) if any(row.lpips for row in rows) else ()
    for label, group in by_label(rows).items():
        runs = frame(group)
        critic = by_prompt(runs, "critic_all_correct", "critic_first_all_correct")
        judge = by_prompt(runs, "all_correct", "first_all_correct")
        line: Line = {"variant": label, **{name: mean_interval(by_prompt(runs, name)) for name in shares}}
        line |= {"critic's gain": mean_interval(critic), "judge's gain": mean_interval(judge)}
        lines.append(line | {"survives": ratio_interval(judge, critic) if any(r.judge for r in group) else None})
    styles = dict.fromkeys((*shares, "survives"), "share") | {"critic's gain": "points", "judge's gain": "points"}
    title = "Trajectories, and what survives the change of judge"
    return _table(title, rows, lines, styles, _TRAJECTORY, _SURVIVES)


def rounds(rows: Sequence[ExperimentRow]) -> Table:
    """Quality after each round, and how the checks of its images changed."""
    lines = list[Line]()
    for label, group in by_label(rows).items():
        after, changed = by_round(group), effects(group)
        for round, (chosen, last) in enumerate(zip(after["chosen"], after["newest"], strict=True)):
            counts = changed.get(round, Counter[str]())
            made = counts.total()
            line: Line = {"variant": label, "round": str(round), "images with a parent": str(made)}
            line |= {"chosen, all correct": chosen, "newest, all correct": last}
            lines.append(line | {kind: counts[kind] / made if made else None for kind in EFFECTS})
    styles: dict[str, Style] = {"round": "number", "images with a parent": "number"}
    styles |= dict.fromkeys(("chosen, all correct", "newest, all correct", *EFFECTS), "share")
    return _table("Round by round", rows, lines, styles, _ROUNDS)


def by_round(rows: Iterable[ExperimentRow], last: int | None = None) -> dict[str, list[Interval | None]]:
    """All correct after each round up to ``last``: of the image that would have been chosen, and of the newest one.

    ``last`` is by default the last round of any of the runs.
    """
    rows = finished(rows)
    if last is None:
        last = max((image.round for row in rows for image in row.images), default=-1)

    def after(shown: Callable[[ExperimentRow, int], ImageRow], round: int) -> Interval | None:
        runs = frame(rows, {"all_correct": lambda row: correct(shown(row, round))})
        return proportion_interval(by_prompt(runs, "all_correct"))

    return {
        kind: [after(shown, round) for round in range(last + 1)]
        for kind, shown in (("chosen", until), ("newest", newest))
    }


def _parts(
    title: str,
    rows: Sequence[ExperimentRow],
    parts: Iterable[str],
    share: Callable[[ExperimentRow, Any], float],
    interval: Callable[[Sequence[float]], Interval | None],
) -> Table:
    """A column with the share of each part, which is nan for runs that have none."""
    names, lines = sorted(parts), list[Line]()
    for label, group in by_label(rows).items():
        runs = frame(group, {name: lambda row, name=name: share(row, name) for name in names})
        lines.append({"variant": label, **{n.replace("_", " "): interval(by_prompt(runs, n)) for n in names}})
    return _table(title, rows, lines, {n.replace("_", " "): "share" for n in names}, note_on_judge(rows))


def _costs(rows: Iterable[ExperimentRow]) -> dict[str, str]:
    """The measures of cost by their column; previews where there are any."""
    previews = any(image.stop_step is not None for row in rows for image in row.images)
    names = [*COSTS[:2], *(["previews"] if previews else []), *COSTS[2:]]
    return {name.replace("_", " "): name for name in names}


def mean_of(values: Sequence[float]) -> float | None:
    """The mean; None for no values."""
    return fmean(values) if values else None


def note_on_judge(rows: Iterable[ExperimentRow]) -> str:
    """Says so where there was no independent judge."""
    if all(row.judge for row in finished(rows)):
        return ""
    return "There was no independent judge: the critic that chose the images also measured them."
