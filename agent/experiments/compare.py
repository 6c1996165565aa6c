"""Two experiments, batches or runs against each other, prompt by prompt."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from ...tools.errors import SettingsError
from ...tools.files import Store
from ..evaluation.tables import Cell, Table, written
from ..policies import CODE
from ..records.manifest import MANIFEST, read_manifest
from ..records.reader import EVENTS, RESULT, read_run
from ..settings.loading import known_names
from .judge import JUDGED
from .measures import MEASURES, by_label, difference, difference_p, differences, estimate, finished, frame, pairs, score
from .rows import Row, read_rows, with_result
from .summary import NO_JUDGE, differences_table, table_of
from .write import ROWS

Side = dict[str, list[Row]]
"""Rows by variant; of a batch or runs, one variant by the folder's name."""
_NAMED_ELSEWHERE = {"run.out", "run.policy", "run.policy_args", "run.seed"}
_COUNTS = ("evaluations", "images", "previews", "critic_calls", "seconds", "tokens", "money")


def compare(a: Path, b: Path, only_a: str | None = None, only_b: str | None = None, prompts: int = 20) -> list[Table]:
    """What B does other than A: what they are made of, figures, differences with intervals and sign, and the prompts.

    Args:
        a: An experiment, a batch, a run, or a folder of runs.
        b: Another one, or the same.
        only_a: Of A, this variant alone; compared with ``only_b``, or with the one of its name.
        only_b: Of B, this variant alone.
        prompts: Prompts that are listed at most.

    Raises:
        SettingsError: a folder holds nothing to compare, a variant is unknown, or no prompt is shared.
    """
    compared = pair_variants(read_side(a), read_side(b), only_a, only_b)
    if all(pairs(frame(second), frame(first)).empty for first, second in compared.values()):
        raise SettingsError(f"{a} and {b} share no prompt that both brought to an end")
    tables = [_what_differs(a, b, compared)]
    tables += [_measures(label, *both) for label, both in compared.items()] if len(compared) == 1 else []
    tables.append(
        differences_table("B less A", {label: (second, first) for label, (first, second) in compared.items()})
    )
    return [*tables, _by_prompt(compared, prompts)]


def run_pairs(
    a: Path, b: Path, only_a: str | None = None, only_b: str | None = None, most: int = 20
) -> list[tuple[tuple[Path, str], tuple[Path, str]]]:
    """Run folders of A and B with the same prompt and seed, and the images that they chose, those that differ most
    first.

    Raises:
        SettingsError: as ``compare``; or no run folder is there.
    """
    found = list[tuple[float, tuple[tuple[Path, str], tuple[Path, str]]]]()
    for first, second in pair_variants(read_side(a), read_side(b), only_a, only_b).values():
        theirs = {(row.prompt, row.seed): row for row in finished(second)}
        for row in finished(first):
            other = theirs.get((row.prompt, row.seed))
            if other is not None and row.folder and other.folder:
                places = (a / row.folder, row.best), (b / other.folder, other.best)
                found.append((abs(score(row.chosen) - score(other.chosen)), places))
    if not found:
        raise SettingsError(f"{a} and {b} share no prompt of which both keep a run that came to its end")
    return [places for _, places in sorted(found, key=lambda pair: -pair[0])[: max(most, 1)]]


def read_side(folder: Path) -> Side:
    """Everything that ended in a folder; of the same variant, prompt and seed the last one.

    Raises:
        SettingsError: it is none of these folders, or nothing in it came to an end.
    """
    if (folder / ROWS).is_file():
        rows = read_rows(folder / ROWS)
    elif (folder / JUDGED).is_file():
        rows = read_rows(folder / JUDGED)
    else:
        ended = (found.parent for found in sorted(folder.glob(f"**/{EVENTS}")) if (found.parent / RESULT).is_file())
        rows = [_row_of_run(run, folder.resolve().name) for run in ended]
    if not finished(rows):
        raise SettingsError(f"{folder} holds no experiment, batch or run that came to its end")
    last = {(row.label, row.prompt, row.seed): row for row in rows}
    return by_label(last.values())


def pair_variants(
    a: Side, b: Side, only_a: str | None = None, only_b: str | None = None
) -> dict[str, tuple[list[Row], list[Row]]]:
    """Rows of A and of B, by variant: those of the same label; or the two that are named; or the only one of each."""
    a, b = _only(a, only_a, "A"), _only(b, only_b, "B")
    if len(a) == len(b) == 1:
        [(first, ours)], [(second, theirs)] = a.items(), b.items()
        return {first if first == second else f"{second} against {first}": _aligned(ours, theirs)}
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
    """Both as they are where they share a seed of a prompt; else with seeds counted from 0 within each prompt."""
    if {(row.prompt, row.seed) for row in first} & {(row.prompt, row.seed) for row in second}:
        return first, second
    return _counted(first), _counted(second)


def _counted(rows: Iterable[Row]) -> list[Row]:
    counts, found = defaultdict[str, int](int), list[Row]()
    for row in sorted(rows, key=lambda row: row.seed):
        found.append(row.model_copy(update={"seed": counts[row.prompt]}))
        counts[row.prompt] += 1
    return found


def _row_of_run(folder: Path, label: str) -> Row:
    run = read_run(folder)
    if run.result is None:
        raise SettingsError(f"{folder / RESULT} is missing")
    row = Row(job=run.run, label=label, prompt=run.prompt, seed=run.started.seed, folder=str(folder.resolve()))
    return with_result(row, run.result, {}, Store(folder))


def _what_differs(a: Path, b: Path, compared: Mapping[str, tuple[list[Row], list[Row]]]) -> Table:
    """What the first runs of each pair of variants were made of, as far as their manifests differ."""
    lines = list[dict[str, Cell]]()
    for label, (first, second) in compared.items():
        one, other = _made_of(a, finished(first)), _made_of(b, finished(second))
        found = [name for name in one | other if one.get(name) != other.get(name)] if one and other else []
        lines += [{"variant": label, "of": name, "A": one.get(name), "B": other.get(name)} for name in found]
    return table_of("What differs", lines, {}, "From the manifests of their first runs.")


def _made_of(folder: Path, rows: Sequence[Row]) -> dict[str, str]:
    """Policy, models, settings and packages of the first run that has a manifest; nothing where none has."""
    places = (folder / row.folder for row in rows if row.folder is not None)
    place = next((place for place in places if (place / MANIFEST).is_file()), None)
    if place is None:
        return {}
    manifest = read_manifest(place)
    policy, _, code = manifest.policy.partition(CODE)
    settings = {name: str(attrgetter(name)(manifest.settings)) for name in known_names()}
    settings = {name: value for name, value in settings.items() if name not in _NAMED_ELSEWHERE}
    own = {"policy": policy, "code of the policy": code}
    return own | manifest.models | settings | {f"package {name}": number for name, number in manifest.packages.items()}


def _measures(label: str, first: list[Row], second: list[Row]) -> Table:
    """Every measure of one pair of variants, over the runs that both finished."""
    lines, found = list[dict[str, Cell]](), pairs(frame(second), frame(first))
    for name in MEASURES:
        gap = difference(found, name)
        if gap is None or (name in ("previews", "tokens", "money") and not gap.value):
            continue
        style, gap_style = ("fine", "fine") if name in _COUNTS else ("share", "points")
        line: dict[str, Cell] = {"measure": name.replace("_", " ")}
        line |= {side: written(estimate(found, f"{name}{end}"), style) for side, end in (("A", "_other"), ("B", ""))}
        lines.append(line | {"B less A": written(gap, gap_style), "sign": gap.sign, "p": difference_p(found, name)})
    note = "" if all(row.is_judged for row in finished([*first, *second])) else NO_JUDGE
    return table_of(f"{label}: {len(found)} pairs of runs", lines, {"p": "p"}, note)


def _by_prompt(compared: dict[str, tuple[list[Row], list[Row]]], most: int) -> Table:
    """The prompts that differ most, by share of checks."""
    lines, won = list[tuple[float, dict[str, Cell]]](), Counter[str]()
    for label, (first, second) in compared.items():
        found = pairs(frame(second), frame(first))
        means = found.groupby("prompt", sort=False)[["checks_other", "checks"]].mean()
        for prompt, gap in differences(found, "checks").items():
            winner = "B" if gap > 0 else "A" if gap < 0 else "neither"
            won[winner] += 1
            shares = {"A, checks": means["checks_other"][prompt], "B, checks": means["checks"][prompt]}
            line = {"variant": label, "prompt": prompt, **shares, "won by": winner}
            lines += [(abs(gap), line)] if gap else []
    lines.sort(key=lambda line: -line[0])
    title = f"By prompt: B wins {won['B']}, A wins {won['A']}, {won['neither']} tied"
    note = f"The {most} that differ most." if len(lines) > most else ""
    return table_of(title, [line for _, line in lines[:most]], {"A, checks": "share", "B, checks": "share"}, note)
