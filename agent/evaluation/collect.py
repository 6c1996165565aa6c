"""Collects the images of recorded runs by method and scenario, and copies them for the evaluators of benchmarks."""

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, cast, get_args

from ...state import OWN, Critique, ImageRecord, Spend
from ...tools.data import PromptRecord, questions_in
from ...tools.errors import SettingsError, typed
from ...tools.files import Store, read_lines, write_whole
from ...tools.language.rewriting import is_whole
from ...tools.metrics import Sample
from ..records.reader import RecordedRun, is_run, read_run, runs_in
from ..records.rows import RESULTS, Row
from ..runs.folder import slug

Pick = Literal["best", "first", "last", "all", "highest"]
"""best: that of the run; first: the first drawing, which is what the bare model gives; last: made last; all: every one;
highest: for each metric in turn its highest one of the candidates for the best image, as in the paper."""
By = Literal["folder", "policy"]
"""What makes a method: folder: one argument; policy: one policy, in any folder."""
Layout = Literal["geneval2", "unigenbench", "folder"]
"""geneval2: a folder and, beside it, ``NAME.json`` from prompt to picture, which its ``--image_filepath_data`` takes;
unigenbench: ``INDEX_NUMBER.png`` in a folder, which its ``--data_path`` takes; folder: ``ID.png``."""
MANIFEST = "manifest.jsonl"
WANTED = 4
"""Images of each prompt that UniGenBench's evaluator reads."""


@dataclass(frozen=True)
class Shot:
    """An image that is measured."""

    method: str
    """Name of the group that it is compared in."""
    scenario: str
    """Empty where unknown."""
    subclass: str
    """Empty where unknown."""
    run: str
    """Id of its run."""
    seed: int
    """Of its run."""
    sample: Sample
    critique: Critique | None
    """By the run's own critic; None where there is none."""
    before: tuple[ImageRecord, Critique] | None = None
    """The image that it was refined from, and its critique; None where it was not refined."""
    rivals: bool = False
    """Whether each metric counts only its highest image of the run."""
    id: str = ""
    """Of the prompt in its batch; empty without a batch."""

    @property
    def checklist(self) -> str:
        """What its critic was asked: ``own`` for the benchmark's questions, ``decomposed``, or ``none``."""
        if self.sample.concepts is None:
            return "none"
        return "own" if any(check.id.startswith(OWN) for check in self.sample.concepts.checks) else "decomposed"


@dataclass(frozen=True)
class Skipped:
    """A run without an image."""

    method: str
    scenario: str
    place: str
    """Its folder, or its id where it has none."""
    reason: str


@dataclass(frozen=True)
class Collected:
    """The images and runs of an evaluation."""

    shots: tuple[Shot, ...]
    skipped: tuple[Skipped, ...]
    """Runs without an image; they count as missing, not as bad."""
    spent: tuple[tuple[str, Spend], ...] = ()
    """Method and spend of each run that could be read."""

    @property
    def checklists(self) -> dict[str, str]:
        """By method, the checklists of its images."""
        kinds = defaultdict[str, set[str]](set)
        for shot in self.shots:
            kinds[shot.method].add(shot.checklist)
        return {method: " and ".join(sorted(own)) for method, own in kinds.items()}


def listed(names: str) -> list[str]:
    """The distinct names of a comma-separated list."""
    return list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def picks_named(names: str) -> list[Pick]:
    """The picks of a comma-separated list; ``SettingsError`` for an unknown one, or none at all."""
    picks, known = listed(names), get_args(Pick)
    if not picks or not set(picks) <= set(known):
        raise SettingsError(f"--images {names!r}: these are known: {', '.join(known)}")
    return cast(list[Pick], picks)


@typed
def collect(
    arguments: Sequence[str],
    *,
    by: By = "folder",
    picks: Sequence[Pick] = ("best",),
    prompts: Mapping[str, PromptRecord] | None = None,
) -> Collected:
    """The images of runs; ``SettingsError`` if an argument is no folder, or there is no run in it.

    Args:
        arguments: Folders of a run, of a batch or of other runs, or of several batches, each of which is a method.
            ``NAME=FOLDER`` names the method of all runs in it; without a name, a folder is called by its own, and a run
            by its policy.
        by: What makes a method.
        picks: Which images of each run; each further one is a method of its own, such as ``NAME (first)``.
        prompts: Records with scenario and questions by prompt, for runs whose batch does not have them.
    """
    shots, skipped, spent = list[Shot](), list[Skipped](), list[tuple[str, Spend]]()
    for name, folder in chain.from_iterable(map(_methods, arguments)):
        exists = os.path.isdir(folder)
        places = [folder] if is_run(folder) else runs_in(folder) if exists else []
        if not places:
            what = "run in" if exists else "folder"
            raise SettingsError(f"there is no {what} {folder}: name a run folder, or one that holds runs")
        rows, fixed = _batch_rows(folder), name if by == "folder" else None
        for row in rows.values():
            if row.run is None:
                method = fixed or _policy_class(row.policy)
                skipped.append(Skipped(method, _tag(row, "scenario"), row.id, row.message or ""))
        for place in places:
            row = rows.get(place.resolve())
            scenario = _tag(row, "scenario")
            try:
                run = read_run(place)
            except SettingsError as error:
                method = fixed or _policy_class(row.policy if row else "")
                skipped.append(Skipped(method, scenario, str(place), str(error)))
                continue
            method = fixed or _policy_class(run.started.policy)
            record = (prompts or {}).get(run.prompt)
            scenario = scenario or (record and record.scenario) or ""
            questions = questions_in((row and row.tags) or {}) or questions_in(record.extra if record else {})
            concepts = None if is_whole(run.concepts) else run.concepts
            spent.append((method, run.spend))
            for pick in picks:
                own = method if pick == picks[0] else f"{method} ({pick})"
                images = _picked(run, pick)
                for image in images:
                    critiques, parent = run.critiques, image.parent if image.operator is not None else None
                    before = (run.images[parent], critiques[parent]) if parent and parent in critiques else None
                    sample = Sample(image, run.prompt, Store(place), concepts, questions)
                    about = (own, scenario, _tag(row, "subclass"), run.run, run.started.seed, sample)
                    rivals, id = pick == "highest", row.id if row else ""
                    shots.append(Shot(*about, critiques.get(image.id), before, rivals=rivals, id=id))
                if not images:
                    reason = run.error.message if run.error else f"it is {run.status} and has no such image"
                    skipped.append(Skipped(own, scenario, str(place), reason))
    return Collected(tuple(shots), tuple(skipped), tuple(spent))


def _methods(argument: str) -> list[tuple[str | None, Path]]:
    """Methods and folders of an argument; no method for a single run without a name."""
    name, equals, rest = argument.partition("=")
    if equals and name and not os.path.exists(argument):
        return [(name, Path(rest))]
    folder = Path(argument)
    if is_run(folder):
        return [(None, folder)]
    inside = [] if (folder / RESULTS).is_file() else sorted(path.parent for path in folder.glob(f"*/{RESULTS}"))
    return [(Path(os.path.abspath(place)).name, place) for place in inside or [folder]]


def _policy_class(policy: str) -> str:
    """``Adaptive`` of ``Adaptive(images=2)``."""
    return re.split(r"[(<\s]", policy.strip(), maxsplit=1)[0] or "runs"


def _picked(run: RecordedRun, pick: Pick) -> list[ImageRecord]:
    """The picked images of a run that exist, without previews and second opinions."""
    whole = [image for image in run.images.values() if image.is_whole]
    best = [] if run.best is None else [run.best]
    excluded = {id for id, decision in run.decisions.items() if not decision.candidate}
    candidates = [image for image in whole if image.id not in excluded] or whole
    picked = {"all": whole, "best": best, "first": whole[:1], "last": whole[-1:], "highest": candidates}[pick]
    return [image for image in picked if run.path(image.id).is_file()]


def _tag(row: Row | None, name: str) -> str:
    """A tag that the batch gives a run; empty where it gives none."""
    return "" if row is None else str(row.tags.get(name) or "")


def _batch_rows(folder: Path) -> dict[Path | str, Row]:
    """The rows of every batch in a folder, and of the batch that a run folder belongs to: by run folder, or by id.

    The last row of a run counts; lines that cannot be read are skipped, since a batch may be writing.
    """
    rows = dict[Path | str, Row]()
    beside = [parent / RESULTS for parent in folder.resolve().parents[:2]]
    for path in (*beside, *sorted(folder.rglob(RESULTS))):
        for line in read_lines(path):
            try:
                row = Row.model_validate_json(line)
                place = None if row.run is None else (path.parent / row.run).resolve()
            except ValueError:
                continue
            if place is not None or path not in beside:
                rows[place or f"{path.parent} {row.id}"] = row
    return rows


def write_layout(collected: Collected, layout: Layout, out: Path) -> list[str]:
    """Copy the images, a folder for each method, and write the manifest; return warnings.

    ``SettingsError`` if the folder is not empty, or cannot be written.
    """
    if out.exists() and any(out.iterdir()):
        raise SettingsError(f"{out} is not empty: name another --out")
    counts, lines, folders = Counter[tuple[str, str]](), list[str](), dict[str, str]()
    paths, checklists = defaultdict[str, dict[str, str]](dict), collected.checklists
    try:
        for shot in collected.shots:
            if shot.method not in folders:
                name = slug(shot.method) or "method"
                folders[shot.method] = f"{name}-{len(folders)}" if name in folders.values() else name
            folder, id, image, prompt = folders[shot.method], shot.id or shot.run, shot.sample.image, shot.sample.prompt
            name = re.sub(r"[^\w.-]+", "_", id)
            number = counts[folder, name]
            counts[folder, name] += 1
            file = out / folder / f"{name}{f'_{number}' if layout == 'unigenbench' or number else ''}.png"
            write_whole(file, shot.sample.store.read(image.path))
            paths[folder].setdefault(prompt, str(file.resolve()))
            about = {"file": file.relative_to(out).as_posix(), "id": id, "prompt": prompt, "method": shot.method}
            about |= {"run": shot.run, "image": image.id, "seed": shot.seed, "checklist": checklists[shot.method]}
            lines.append(json.dumps(about, ensure_ascii=False))
        if layout == "geneval2":
            for folder, by_prompt in paths.items():
                write_whole(out / f"{folder}.json", json.dumps(by_prompt, ensure_ascii=False, indent=1).encode())
        write_whole(out / MANIFEST, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise SettingsError(f"cannot write {out}: {error}") from error
    short = sorted({folder for (folder, _), count in counts.items() if count < WANTED})
    if layout != "unigenbench" or not short:
        return []
    return [f"of {', '.join(short)}: prompts have fewer than the {WANTED} pictures that its evaluator reads"]
