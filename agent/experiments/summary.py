"""The answers of an experiment: its rows as tables."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from .measures import MEASURES, by_aspect, correct, effects, newest, score, until
from .rows import Row
from .samples import Measure, by_label, by_prompt, difference, difference_p, estimate, finished, proportion, surviving
from .statistics import Interval, holm, mean_interval
from .tables import Cell, Column, Style, Table
from .variants import Variant

COSTS = ("evaluations", "images", "critic_calls", "seconds")
"""What quality is drawn against."""
NO_JUDGE = "No independent judge looked: these are the words of the critic that chose the images."
_PREVIEWS = (
    "Images are those drawn to the end. A preview is a picture too, and costs a look, but it and what goes on with it "
    "share their evaluations, which are the honest cost."
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
    "images that were made up to the peak."
)
_ROUNDS = (
    "chosen: the image that the run would have chosen had it ended after that round; newest: the last one made, as "
    "without keep-best. Fixed and broken are shares of the images of the round, against their parents."
)


def summary(rows: Sequence[Row]) -> Table:
    """Quality and cost of each variant."""
    names: list[tuple[str, Style]] = [("all_correct", "share"), ("checks", "share")]
    costs: list[tuple[str, Style]] = [(name, "number" if name != "seconds" else "fine") for name in _costs(rows)]
    columns = [Column("variant"), Column("runs", "number"), Column("failed", "number")]
    columns += [Column(name.replace("_", " "), style) for name, style in (*names, *costs)]
    lines: list[tuple[Cell, ...]] = []
    for label, group in by_label(rows).items():
        done = finished(group)
        figures: list[Cell] = [proportion(group, MEASURES["all_correct"]), estimate(group, MEASURES["checks"])]
        figures += [_value(estimate(group, MEASURES[name])) for name, _ in costs]
        lines.append((label, str(len(done)), str(len(group) - len(done)), *figures))
    note = (_eyes(rows), _INTERVALS, _PREVIEWS if "previews" in _costs(rows) else "")
    return Table("Quality and cost", tuple(columns), tuple(lines), " ".join(filter(None, note)))


def against_baseline(rows: Sequence[Row], baseline: str) -> Table:
    """Paired differences of every other variant from the baseline."""
    groups = by_label(rows)
    others = [label for label in groups if label != baseline]
    return differences_table(
        f"Against {baseline}", {label: (groups[label], groups.get(baseline, [])) for label in others}
    )


def differences_table(title: str, pairs: Mapping[str, tuple[Sequence[Row], Sequence[Row]]]) -> Table:
    """Paired differences, ours less theirs, by name."""
    both = [row for pair in pairs.values() for side in pair for row in side]
    costs = _costs(both)
    p_values = holm([difference_p(*pair, MEASURES["all_correct"]) for pair in pairs.values()])
    lines: list[tuple[Cell, ...]] = []
    for (name, (ours, theirs)), p in zip(pairs.items(), p_values, strict=True):
        gain = difference(ours, theirs, MEASURES["all_correct"])
        cells: list[Cell] = [gain, gain.sign if gain else None, p if gain else None]
        cells.append(difference(ours, theirs, MEASURES["checks"]))
        wins = Counter(_outcome(v) for v in _paired(ours, theirs).values())
        cells.append(f"{wins['win']} / {wins['tie']} / {wins['loss']}")
        cells += [_value(difference(ours, theirs, MEASURES[cost])) for cost in costs]
        lines.append((name, *cells))
    columns = (
        Column("variant"),
        Column("all correct", "points"),
        Column("sign"),
        Column("p", "p"),
        Column("checks", "points"),
        Column("prompts won / tied / lost"),
        *(Column(name.replace("_", " "), "number") for name in costs),
    )
    return Table(title, columns, tuple(lines), " ".join(filter(None, (_eyes(both), _PAIRED))))


def trajectories(rows: Sequence[Row]) -> Table:
    """Peak, retention and efficiency, and what survives the change of judge."""
    gains: dict[str, tuple[Measure, Measure]] = {
        "judge": (MEASURES["first_all_correct"], MEASURES["all_correct"]),
        "critic": (MEASURES["critic_first_all_correct"], MEASURES["critic_all_correct"]),
    }
    lines: list[tuple[Cell, ...]] = []
    for label, group in by_label(rows).items():
        shares: list[Cell] = [estimate(group, MEASURES[name]) for name in ("peak", "retention", "efficiency")]
        seen: list[Cell] = [
            estimate(group, lambda row, g=gains[eyes]: g[1](row) - g[0](row)) for eyes in ("critic", "judge")
        ]
        survived = surviving(group, gains) if any(row.is_judged for row in group) else None
        lines.append((label, *shares, *seen, survived))
    columns = (
        *(Column("variant"), Column("peak", "share"), Column("retention", "share"), Column("efficiency", "share")),
        *(Column("critic's gain", "points"), Column("judge's gain", "points"), Column("survives", "share")),
    )
    return Table(
        "Trajectories, and what survives the change of judge",
        columns,
        tuple(lines),
        f"{_TRAJECTORY} {_SURVIVES}",
    )


def rounds(rows: Sequence[Row]) -> Table:
    """What each round brought."""
    lines: list[tuple[Cell, ...]] = []
    for label, group in by_label(rows).items():
        done, changed = finished(group), effects(finished(group))
        for round in range(max((image.round for row in done for image in row.images), default=-1) + 1):
            counts = changed.get(round, Counter[str]())
            made = sum(counts.values())
            kinds: list[Cell] = [counts[kind] / made if made else None for kind in EFFECTS]
            curves: list[Cell] = [proportion(done, curve(round)) for curve in (chosen_after, newest_after)]
            lines.append((label, str(round), str(made), *curves, *kinds))
    columns = (
        *(Column("variant"), Column("round", "number"), Column("images with a parent", "number")),
        *(Column("chosen, all correct", "share"), Column("newest, all correct", "share")),
        *(Column(kind, "share") for kind in EFFECTS),
    )
    return Table("Round by round", columns, tuple(lines), _ROUNDS)


EFFECTS = ("fixed", "broken", "both", "unchanged")


def chosen_after(round: int) -> Measure:
    """All correct, of the image that would have been chosen after that round."""
    return lambda row: correct(until(row, round))


def newest_after(round: int) -> Measure:
    """All correct, of the last image made up to that round."""
    return lambda row: correct(newest(row, round))


def by_scenario(rows: Sequence[Row]) -> Table:
    """Share all correct of each variant, by scenario."""
    found = sorted({row.scenario for row in rows if row.scenario})
    return _grouped(
        "All correct, by scenario",
        rows,
        found,
        lambda group, name: proportion([row for row in group if row.scenario == name], MEASURES["all_correct"]),
    )


def by_kind_of_check(rows: Sequence[Row]) -> Table:
    """Share of checks passed of each variant, by aspect."""
    found = sorted({aspect for row in rows for aspect in row.checks.values()})

    def share(group: Sequence[Row], aspect: str) -> Interval | None:
        asked = [row for row in finished(group) if aspect in row.checks.values()]
        return mean_interval(list(by_prompt(asked, lambda row: by_aspect(row)[aspect]).values()))

    return _grouped("Checks passed, by kind of check", rows, found, share)


def on_equal_terms(rows: Sequence[Row], baseline: str, variants: Sequence[Variant]) -> Table:
    """Paired differences of every variant from that of the baseline's policy with the same value of every grid."""
    groups, chosen = by_label(rows), [v for v in variants if v.label == baseline]
    theirs = [v for v in variants if chosen and v.group == chosen[0].group]
    pairs = {
        ours.label: (groups.get(ours.label, []), groups.get(other.label, []))
        for ours in variants
        for other in theirs
        if ours not in theirs and ours.parameters == other.parameters and other.parameters
    }
    title = f"Against {chosen[0].group} at the same {_grids(theirs)}" if pairs else ""
    return differences_table(title, pairs if len(theirs) > 1 else {})


def tables_of(rows: Sequence[Row], baseline: str, variants: Sequence[Variant] = ()) -> dict[str, Table]:
    """Every table by the name of its file; those that would be empty are left out."""
    found = {
        "summary": summary(rows),
        "against_baseline": against_baseline(rows, baseline),
        "on_equal_terms": on_equal_terms(rows, baseline, variants),
        "trajectories": trajectories(rows),
        "rounds": rounds(rows),
        "by_scenario": by_scenario(rows),
        "by_kind_of_check": by_kind_of_check(rows),
    }
    return {name: table for name, table in found.items() if table.rows and len(table.columns) > 1}


def _grouped(
    title: str, rows: Sequence[Row], names: Sequence[str], cell: Callable[[Sequence[Row], str], Interval | None]
) -> Table:
    lines = [(label, *(cell(group, name) for name in names)) for label, group in by_label(rows).items()]
    columns = (Column("variant"), *(Column(name.replace("_", " "), "share") for name in names))
    return Table(title, columns, tuple(lines), _eyes(rows))


def _paired(ours: Iterable[Row], theirs: Iterable[Row]) -> dict[str, float]:
    from .samples import differences

    return differences(ours, theirs, lambda row: score(row.chosen))


def _outcome(difference: float) -> str:
    return "win" if difference > 0 else "loss" if difference < 0 else "tie"


def _costs(rows: Iterable[Row]) -> list[str]:
    """What is told of the cost; previews where there are any."""
    previews = any(image.stop_step is not None for row in rows for image in row.images)
    return [*COSTS[:2], *(["previews"] if previews else []), *COSTS[2:]]


def _grids(variants: Sequence[Variant]) -> str:
    """The names of what their grids vary."""
    return " and ".join(dict.fromkeys(name.partition(".")[2] for v in variants for name in v.parameters))


def _eyes(rows: Iterable[Row]) -> str:
    return "" if all(row.is_judged for row in finished(rows)) else NO_JUDGE


def _value(found: Interval | None) -> float | None:
    return None if found is None else found.value
