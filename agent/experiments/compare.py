"""Two experiments, batches or runs against each other, prompt by prompt."""

from collections import Counter
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from ...tools.errors import SettingsError
from ...tools.files import Store
from ..evaluation.statistics import mean_interval, paired_test, sign
from ..evaluation.tables import Cell, Table, written
from ..policies import CODE
from ..records.manifest import MANIFEST, read_manifest
from ..records.reader import RESULT, read_run, runs_in
from ..settings.loading import known_names
from .measures import MEASURES, Frame, by_label, by_prompt, differences, finished, frame, gains, pairs
from .rows import JUDGED, ROWS, ExperimentRow, read_experiment_rows, with_result
from .summary import differences_table, note_on_judge, table_of

Rows = list[ExperimentRow]
Side = dict[str, Rows]
"""Rows by variant; a batch or runs are one variant, with the folder's name."""
RunImagePair = tuple[tuple[Path, str], tuple[Path, str]]
"""Run folder and image id, of A and of B."""
_NAMED_ELSEWHERE = {"run.out", "run.policy", "run.policy_args", "run.seed"}
_COUNTS = ("evaluations", "images", "previews", "critic_calls", "seconds", "tokens", "money")


def compare(a: Path, b: Path, only_a: str | None = None, only_b: str | None = None, prompts: int = 20) -> list[Table]:
    """How B differs from A: their settings, every measure, differences with intervals, and the prompts.

    Each is an experiment, a batch, a run, or a folder of runs; ``only_a`` and ``only_b`` choose one variant of it, and
    at most ``prompts`` prompts are listed. ``SettingsError`` if there is nothing to compare, a variant is unknown, or
    no prompt is shared.
    """
    compared = pair_variants(read_side(a), read_side(b), only_a, only_b)
    paired = {label: pairs(frame(ours), frame(theirs)) for label, (theirs, ours) in compared.items()}
    if all(runs.empty for runs in paired.values()):
        raise SettingsError(f"{a} and {b} share no prompt that both finished")
    tables = [_what_differs(a, b, compared)]
    if len(compared) == 1:
        [(label, (theirs, ours))] = compared.items()
        tables.append(_measures(label, paired[label], note_on_judge([*theirs, *ours])))
    tables.append(differences_table("B less A", {label: (ours, theirs) for label, (theirs, ours) in compared.items()}))
    return [*tables, _by_prompt(paired, prompts)]


def run_pairs(
    a: Path, b: Path, only_a: str | None = None, only_b: str | None = None, most: int = 20
) -> list[RunImagePair]:
    """Runs of A and B with the same prompt and seed, with the images that they chose, those that differ most first.

    ``SettingsError`` as ``compare``, or if no run folder is there.
    """
    found = [
        (abs(gain), ((a / row.folder, row.best), (b / other.folder, other.best)))
        for first, second in pair_variants(read_side(a), read_side(b), only_a, only_b).values()
        for gain, row, other in gains(first, second)
        if row.folder and other.folder
    ]
    if not found:
        raise SettingsError(f"{a} and {b} share no prompt of which both keep a finished run")
    return [pair for _, pair in sorted(found, key=lambda entry: -entry[0])[: max(most, 1)]]


def read_side(folder: Path) -> Side:
    """The last row of each variant, prompt and seed in a folder; ``SettingsError`` if no run there is finished."""
    file = next((folder / name for name in (ROWS, JUDGED) if (folder / name).is_file()), None)
    rows = read_experiment_rows(file) if file else Rows()
    for place in () if file else runs_in(folder):
        if (place / RESULT).is_file() and (run := read_run(place)).result is not None:
            about: dict[str, Any] = {"label": folder.resolve().name, "folder": str(place.resolve())}
            row = ExperimentRow(job=run.run, prompt=run.prompt, seed=run.started.seed, **about)
            rows.append(with_result(row, run.result, {}, Store(place)))
    if not finished(rows):
        raise SettingsError(f"{folder} holds no finished experiment, batch or run")
    last = {(row.label, row.prompt, row.seed): row for row in rows}
    return by_label(last.values())


def pair_variants(
    a: Side, b: Side, only_a: str | None = None, only_b: str | None = None
) -> dict[str, tuple[Rows, Rows]]:
    """Rows of A and of B by variant: variants of the same label, the two that are named, or the only one of each."""
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


def _aligned(first: Rows, second: Rows) -> tuple[Rows, Rows]:
    """Both as they are if they share a seed of a prompt; else with the seeds of each prompt numbered from 0."""

    def numbered(rows: Rows) -> Rows:
        so_far, by_seed = Counter[str](), Rows()
        for row in sorted(rows, key=lambda row: row.seed):
            by_seed.append(row.model_copy(update={"seed": so_far[row.prompt]}))
            so_far[row.prompt] += 1
        return by_seed

    share = {(row.prompt, row.seed) for row in first} & {(row.prompt, row.seed) for row in second}
    return (first, second) if share else (numbered(first), numbered(second))


def _what_differs(a: Path, b: Path, compared: Mapping[str, tuple[Rows, Rows]]) -> Table:
    """Where the manifests of the first runs of each pair of variants differ."""
    lines = list[dict[str, Cell]]()
    for label, (first, second) in compared.items():
        in_a, in_b = _facts(a, finished(first)), _facts(b, finished(second))
        names = [name for name in in_a | in_b if in_a.get(name) != in_b.get(name)] if in_a and in_b else []
        lines += [{"variant": label, "of": name, "A": in_a.get(name), "B": in_b.get(name)} for name in names]
    return table_of("What differs", lines, {}, "From the manifests of their first runs.")


def _facts(folder: Path, rows: Rows) -> dict[str, str]:
    """Policy, models, settings and packages of the first run that has a manifest; empty where none has."""
    runs = (folder / row.folder for row in rows if row.folder is not None)
    if (run := next((run for run in runs if (run / MANIFEST).is_file()), None)) is None:
        return {}
    manifest = read_manifest(run)
    policy, _, code = manifest.policy.partition(CODE)
    names = [name for name in known_names() if name not in _NAMED_ELSEWHERE]
    settings = {name: str(attrgetter(name)(manifest.settings)) for name in names}
    packages = {f"package {name}": version for name, version in manifest.packages.items()}
    return {"policy": policy, "code of the policy": code} | manifest.models | settings | packages


def _measures(label: str, paired: Frame, note: str) -> Table:
    """Every measure of one pair of variants, over the runs that both finished."""
    lines = list[dict[str, Cell]]()
    for name in MEASURES:
        values = differences(paired, name)
        gap = mean_interval(values)
        if gap is None or (name in ("previews", "tokens", "money") and not gap.value):
            continue
        style, gap_style = ("fine", "fine") if name in _COUNTS else ("share", "points")
        a, b = (mean_interval(by_prompt(paired, column)) for column in (f"{name}_other", name))
        line: dict[str, Cell] = {"measure": name.replace("_", " "), "A": written(a, style), "B": written(b, style)}
        lines.append(line | {"B less A": written(gap, gap_style), "sign": sign(values), "p": paired_test(values)})
    return table_of(f"{label}: {len(paired)} pairs of runs", lines, {"p": "p"}, note)


def _by_prompt(paired: Mapping[str, Frame], most: int) -> Table:
    """The prompts that differ most, by share of checks."""
    lines, won = list[tuple[float, dict[str, Cell]]](), Counter[str]()
    for label, runs in paired.items():
        for prompt, mean in runs.groupby("prompt", sort=False)[["checks_other", "checks"]].mean().iterrows():
            gap = round(mean["checks"] - mean["checks_other"], 12)
            winner = "B" if gap > 0 else "A" if gap < 0 else "neither"
            won[winner] += 1
            shares = {"A, checks": mean["checks_other"], "B, checks": mean["checks"]}
            lines += [(-abs(gap), {"variant": label, "prompt": prompt, **shares, "won by": winner})] if gap else []
    lines.sort(key=lambda line: line[0])
    title = f"By prompt: B wins {won['B']}, A wins {won['A']}, {won['neither']} tied"
    note = f"The {most} that differ most." if len(lines) > most else ""
    return table_of(title, [line for _, line in lines[:most]], {"A, checks": "share", "B, checks": "share"}, note)
