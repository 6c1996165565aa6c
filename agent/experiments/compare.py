"""Two experiments, batches or runs against each other, prompt by prompt."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from operator import attrgetter
from pathlib import Path
from typing import Any

from ...tools.errors import SettingsError
from ...tools.files import Store
from ..evaluation.statistics import mean_interval, paired_test
from ..evaluation.tables import Cell, Table, written
from ..policies import CODE
from ..records.manifest import MANIFEST, read_manifest
from ..records.reader import RESULT, read_run, runs_in
from ..settings.loading import known_names
from .measures import MEASURES, Frame, by_label, by_prompt, differences, finished, frame, pairs, score
from .rows import JUDGED, ROWS, Row, read_rows, with_result
from .summary import NO_JUDGE, differences_table, table_of

Side = dict[str, list[Row]]
"""Rows by variant; of a batch or runs, one variant by the folder's name."""
_NAMED_ELSEWHERE = {"run.out", "run.policy", "run.policy_args", "run.seed"}
_COUNTS = ("evaluations", "images", "previews", "critic_calls", "seconds", "tokens", "money")


def compare(a: Path, b: Path, only_a: str | None = None, only_b: str | None = None, prompts: int = 20) -> list[Table]:
    """What B does other than A: what they are made of, figures, differences with intervals and sign, and the prompts.

    Each is an experiment, a batch, a run, or a folder of runs; ``only_a`` and ``only_b`` choose one variant of it, and
    at most so many ``prompts`` are listed. ``SettingsError`` if there is nothing to compare, a variant is unknown, or
    no prompt is shared.
    """
    compared = pair_variants(read_side(a), read_side(b), only_a, only_b)
    paired = {label: pairs(frame(second), frame(first)) for label, (first, second) in compared.items()}
    if all(found.empty for found in paired.values()):
        raise SettingsError(f"{a} and {b} share no prompt that both brought to an end")
    tables = [_what_differs(a, b, compared)]
    if len(compared) == 1:
        [(label, (first, second))], [found] = compared.items(), paired.values()
        tables.append(
            _measures(label, found, "" if all(r.is_judged for r in finished([*first, *second])) else NO_JUDGE)
        )
    tables.append(differences_table("B less A", {label: (ours, theirs) for label, (theirs, ours) in compared.items()}))
    return [*tables, _by_prompt(paired, prompts)]


def run_pairs(
    a: Path, b: Path, only_a: str | None = None, only_b: str | None = None, most: int = 20
) -> list[tuple[tuple[Path, str], tuple[Path, str]]]:
    """Run folders of A and B with the same prompt and seed, and the images that they chose, those that differ most
    first.

    ``SettingsError`` as ``compare``, or if no run folder is there.
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
    """Everything that ended in a folder, the last of each variant, prompt and seed; ``SettingsError`` if nothing."""
    file = next((folder / name for name in (ROWS, JUDGED) if (folder / name).is_file()), None)
    rows = read_rows(file) if file else list[Row]()
    for place in () if file else runs_in(folder):
        if (place / RESULT).is_file() and (run := read_run(place)).result is not None:
            about: dict[str, Any] = {
                "label": folder.resolve().name,
                "prompt": run.prompt,
                "folder": str(place.resolve()),
            }
            rows.append(with_result(Row(job=run.run, seed=run.started.seed, **about), run.result, {}, Store(place)))
    if not finished(rows):
        raise SettingsError(f"{folder} holds no experiment, batch or run that came to its end")
    last = {(row.label, row.prompt, row.seed): row for row in rows}
    return by_label(last.values())


def pair_variants(
    a: Side, b: Side, only_a: str | None = None, only_b: str | None = None
) -> dict[str, tuple[list[Row], list[Row]]]:
    """Rows of A and of B, by variant: those of the same label; or the two that are named; or the only one of each."""
    for side, label, name in ((a, only_a, "A"), (b, only_b, "B")):
        if label is not None and label not in side:
            raise SettingsError(f"{name} has no variant {label!r}; it has {'; '.join(side)}")
    a = a if only_a is None else {only_a: a[only_a]}
    b = b if only_b is None else {only_b: b[only_b]}
    if len(a) == len(b) == 1:
        [(first, ours)], [(second, theirs)] = a.items(), b.items()
        return {first if first == second else f"{second} against {first}": _aligned(ours, theirs)}
    shared = [label for label in a if label in b]
    if not shared:
        raise SettingsError(
            f"no variant is in both: A has {'; '.join(a)}, B has {'; '.join(b)}; choose with --a and --b"
        )
    return {label: _aligned(a[label], b[label]) for label in shared}


def _aligned(first: list[Row], second: list[Row]) -> tuple[list[Row], list[Row]]:
    """Both as they are where they share a seed of a prompt; else with seeds counted from 0 within each prompt."""

    def counted(rows: Iterable[Row]) -> list[Row]:
        seeds = defaultdict[str, "count[int]"](count)
        return [row.model_copy(update={"seed": next(seeds[row.prompt])}) for row in sorted(rows, key=lambda r: r.seed)]

    share = {(row.prompt, row.seed) for row in first} & {(row.prompt, row.seed) for row in second}
    return (first, second) if share else (counted(first), counted(second))


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
    settings = {
        name: str(attrgetter(name)(manifest.settings)) for name in known_names() if name not in _NAMED_ELSEWHERE
    }
    own = {"policy": policy, "code of the policy": code}
    return own | manifest.models | settings | {f"package {name}": number for name, number in manifest.packages.items()}


def _measures(label: str, found: Frame, note: str) -> Table:
    """Every measure of one pair of variants, over the runs that both finished."""
    lines = list[dict[str, Cell]]()
    for name in MEASURES:
        values = differences(found, name)
        gap = mean_interval(values)
        if gap is None or (name in ("previews", "tokens", "money") and not gap.value):
            continue
        style, gap_style = ("fine", "fine") if name in _COUNTS else ("share", "points")
        a, b = (mean_interval(by_prompt(found, column)) for column in (f"{name}_other", name))
        line: dict[str, Cell] = {"measure": name.replace("_", " "), "A": written(a, style), "B": written(b, style)}
        lines.append(line | {"B less A": written(gap, gap_style), "sign": gap.sign, "p": paired_test(values)})
    return table_of(f"{label}: {len(found)} pairs of runs", lines, {"p": "p"}, note)


def _by_prompt(paired: Mapping[str, Frame], most: int) -> Table:
    """The prompts that differ most, by share of checks."""
    lines, won = list[tuple[float, dict[str, Cell]]](), Counter[str]()
    for label, found in paired.items():
        for prompt, mean in found.groupby("prompt", sort=False)[["checks_other", "checks"]].mean().iterrows():
            gap = round(mean["checks"] - mean["checks_other"], 12)
            winner = "B" if gap > 0 else "A" if gap < 0 else "neither"
            won[winner] += 1
            shares = {"A, checks": mean["checks_other"], "B, checks": mean["checks"]}
            lines += [(-abs(gap), {"variant": label, "prompt": prompt, **shares, "won by": winner})] if gap else []
    lines.sort(key=lambda line: line[0])
    title = f"By prompt: B wins {won['B']}, A wins {won['A']}, {won['neither']} tied"
    note = f"The {most} that differ most." if len(lines) > most else ""
    return table_of(title, [line for _, line in lines[:most]], {"A, checks": "share", "B, checks": "share"}, note)
