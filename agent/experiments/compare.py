"""Two experiments, batches or runs against each other, prompt by prompt."""

from collections.abc import Sequence
from pathlib import Path

from ...tools.errors import SettingsError
from .measures import MEASURES, score
from .rows import Row
from .samples import by_prompt, difference, differences, estimate, matched
from .sides import Side, paired_by_prompt, read_side, share_a_run
from .statistics import paired_test
from .summary import NO_JUDGE, differences_table
from .tables import Cell, Column, Style, Table

Pairs = dict[str, tuple[list[Row], list[Row]]]
"""Rows of the first side and of the second, by variant."""
OTHER_SEEDS = "No seed is shared: the runs of a prompt are paired in the order of their seeds."
_COUNTS = ("evaluations", "images", "previews", "critic_calls", "seconds", "tokens", "money")


def compare(a: Path, b: Path, only_a: str | None = None, only_b: str | None = None, prompts: int = 20) -> list[Table]:
    """What B does other than A: figures, differences with intervals and sign, and the prompts that differ.

    Args:
        a: An experiment, a batch, a run, or a folder of runs.
        b: Another one, or the same.
        only_a: Of A, this variant alone; compared with ``only_b``, or with the one of its name.
        only_b: Of B, this variant alone.
        prompts: Prompts that are listed at most.

    Raises:
        SettingsError: a folder holds nothing to compare, a variant is unknown, or no prompt is shared.
    """
    pairs = pairs_of(read_side(a), read_side(b), only_a, only_b)
    if not any(matched(second, first)[0] for first, second in pairs.values()):
        raise SettingsError(f"{a} and {b} share no prompt that both brought to an end")
    tables = [_measures(label, *pair) for label, pair in pairs.items()] if len(pairs) == 1 else []
    tables.append(differences_table("B less A", {label: (second, first) for label, (first, second) in pairs.items()}))
    return [*tables, _by_prompt(pairs, prompts)]


def pairs_of(a: Side, b: Side, only_a: str | None = None, only_b: str | None = None) -> Pairs:
    """Variants of the same label; or the two that are named; or the only one of each side."""
    a, b = _only(a, only_a, "A"), _only(b, only_b, "B")
    if len(a) == len(b) == 1:
        [(first_label, first)], [(second_label, second)] = a.items(), b.items()
        label = first_label if first_label == second_label else f"{second_label} against {first_label}"
        return {label: _aligned(first, second)}
    shared = [label for label in a if label in b]
    if not shared:
        raise SettingsError(
            f"no variant is in both: A has {'; '.join(a)}, B has {'; '.join(b)}; choose with --a and --b"
        )
    return {label: _aligned(a[label], b[label]) for label in shared}


def _only(side: Side, label: str | None, name: str) -> Side:
    if label is None:
        return side
    if label not in side:
        raise SettingsError(f"{name} has no variant {label!r}; it has {'; '.join(side)}")
    return {label: side[label]}


def _aligned(first: list[Row], second: list[Row]) -> tuple[list[Row], list[Row]]:
    if share_a_run(first, second):
        return first, second
    return paired_by_prompt(first), paired_by_prompt(second)


def _measures(label: str, first: list[Row], second: list[Row]) -> Table:
    """Every measure of one pair, over the runs that both finished."""
    ours, theirs = matched(second, first)
    lines: list[tuple[Cell, ...]] = []
    for name, measure in MEASURES.items():
        gap = difference(ours, theirs, measure)
        if gap is None or (name in ("previews", "tokens", "money") and not gap.value):
            continue
        p = paired_test(list(differences(ours, theirs, measure).values()))
        style, gap_style = ("fine", "fine") if name in _COUNTS else ("share", "points")
        values = [estimate(theirs, measure), estimate(ours, measure)]
        lines.append((name.replace("_", " "), *(_text(v, style) for v in values), _text(gap, gap_style), gap.sign, p))
    columns = (Column("measure"), Column("A"), Column("B"), Column("B less A"), Column("sign"), Column("p", "p"))
    return Table(f"{label}: {len(ours)} pairs of runs", columns, tuple(lines), _note(first, second))


def _text(found: object, style: Style) -> Cell:
    from .statistics import Interval
    from .tables import written

    return written(found, style) if isinstance(found, Interval) else None


def _by_prompt(pairs: Pairs, most: int) -> Table:
    """The prompts that differ most, by share of checks."""
    lines: list[tuple[float, tuple[Cell, ...]]] = []
    ties = 0
    for label, (first, second) in pairs.items():
        ours, theirs = matched(second, first)
        mine, other = (by_prompt(rows, lambda row: score(row.chosen)) for rows in (ours, theirs))
        for prompt, value in mine.items():
            gap = value - other[prompt]
            ties += gap == 0
            winner = "B" if gap > 0 else "A"
            lines += [(abs(gap), (label, prompt, other[prompt], value, winner))] if gap else []
    lines.sort(key=lambda line: -line[0])
    columns = Column("variant"), Column("prompt"), Column("A, checks", "share"), Column("B, checks", "share")
    won = {side: sum(line[-1] == side for _, line in lines) for side in "AB"}
    return Table(
        f"By prompt: B wins {won['B']}, A wins {won['A']}, {ties} tied",
        (*columns, Column("won by")),
        tuple(line for _, line in lines[:most]),
        f"The {most} that differ most." if len(lines) > most else "",
    )


def _note(first: Sequence[Row], second: Sequence[Row]) -> str:
    return "" if all(row.is_judged for row in (*first, *second) if row.error is None) else NO_JUDGE
