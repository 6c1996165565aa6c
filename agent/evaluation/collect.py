"""The images of recorded runs that an evaluation is about, by method and scenario, or under evaluators' names."""

import json
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from ...state import OWN, Critique, ImageRecord, Spend
from ...tools.data import PromptRecord, questions_in
from ...tools.errors import SettingsError, typed
from ...tools.files import Store, read_lines, write_whole
from ...tools.language.rewriting import is_whole
from ...tools.metrics import Sample
from ..records.reader import EVENTS, RecordedRun, is_run, read_run
from ..records.rows import RESULTS, Row
from ..runs.folder import slug

Pick = Literal["best", "first", "last", "all", "highest"]
"""best: that of the run; first: drawn first, which is what the bare model gives; last: made last; all: every image;
highest: for each metric in turn the one that it puts first, of those that take part in the choice, as in the paper."""
By = Literal["folder", "policy"]
"""What a method is: folder: one argument; policy: one policy, wherever its runs lie."""
Layout = Literal["geneval2", "unigenbench", "folder"]
"""geneval2: a folder and, beside it, ``NAME.json`` from prompt to picture, which its ``--image_filepath_data`` takes;
unigenbench: ``INDEX_NUMBER.png`` in a folder, which its ``--data_path`` takes; folder: ``ID.png``."""
MANIFEST = "manifest.jsonl"
WANTED = 4
"""Pictures of a prompt that UniGenBench's evaluator reads."""


@dataclass(frozen=True)
class Shot:
    """An image that is measured."""

    method: str
    """What it is compared under."""
    scenario: str
    """Empty where nothing is known of it."""
    subclass: str
    """Empty where nothing is known of it."""
    run: str
    """Id of its run."""
    seed: int
    """Of its run."""
    sample: Sample
    critique: Critique | None
    """What the run's own critic answered."""
    before: tuple[ImageRecord, Critique] | None = None
    """What it was refined from, and what the critic answered of that."""
    rivals: bool = False
    """Whether a metric counts, of the images of its run, the one alone that it puts first."""
    id: str = ""
    """Of the prompt in its batch; empty where the run belongs to none."""

    @property
    def checklist(self) -> str:
        """What guided its loop: ``own``, the benchmark's questions, ``decomposed``, or ``none``."""
        concepts = self.sample.concepts
        is_own = concepts is not None and any(check.id.startswith(OWN) for check in concepts.checks)
        return "none" if concepts is None else "own" if is_own else "decomposed"


@dataclass(frozen=True)
class Skipped:
    """A run that gives no image."""

    method: str
    scenario: str
    place: str
    """Its folder, or its id where there is none."""
    reason: str


@dataclass(frozen=True)
class Collected:
    """What there is to measure."""

    shots: tuple[Shot, ...]
    skipped: tuple[Skipped, ...]
    """Runs without an image; they count as missing, not as bad."""
    spent: tuple[tuple[str, Spend], ...] = ()
    """Method and spend of each run that could be read."""

    @property
    def checklists(self) -> dict[str, str]:
        """By method, that of its images, or several."""
        found = defaultdict[str, set[str]](set)
        for shot in self.shots:
            found[shot.method].add(shot.checklist)
        return {method: " and ".join(sorted(kinds)) for method, kinds in found.items()}


def listed(names: str) -> list[str]:
    """The distinct names of a comma-separated list."""
    return list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def picks_named(names: str) -> list[Pick]:
    """The picks of a comma-separated list; ``SettingsError`` for an unknown one, or none at all."""
    known: dict[str, Pick] = {pick: pick for pick in get_args(Pick)}
    if not listed(names) or not known.keys() >= set(listed(names)):
        raise SettingsError(f"--images {names!r}: these are known: {', '.join(known)}")
    return [known[name] for name in listed(names)]


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
        arguments: Folders: of a run, of a batch or of other runs, or of several batches, each of which is a method.
            ``NAME=FOLDER`` names the method of all that is in it; without a name, a folder is called by its own, and a
            run by its policy.
        by: What a method is.
        picks: Which images of each run; each further one is a method of its own, such as ``NAME (first)``.
        prompts: What is known of each prompt, scenario and questions, for runs whose batch does not say it.
    """
    shots, skipped, spent = list[Shot](), list[Skipped](), list[tuple[str, Spend]]()
    for given, folder in chain.from_iterable(map(_methods, arguments)):
        inside = folder.rglob(EVENTS) if os.path.isdir(folder) else ()
        places = [folder] if is_run(folder) else sorted(path.parent for path in inside)
        if not places:
            what = "run in" if os.path.isdir(folder) else "folder"
            raise SettingsError(f"there is no {what} {folder}: name a run folder, or one that holds runs")
        rows, fixed = _batch_rows(folder), given if by == "folder" else None
        for row in rows.values():
            if row.run is None:
                skipped.append(Skipped(fixed or _class(row.policy), _tag(row, "scenario"), row.id, row.message or ""))
        for place in places:
            row = rows.get(place.resolve())
            scenario = _tag(row, "scenario")
            try:
                run = read_run(place)
            except SettingsError as error:
                skipped.append(Skipped(fixed or _class(row.policy if row else ""), scenario, str(place), str(error)))
                continue
            method = fixed or _class(run.started.policy)
            record = (prompts or {}).get(run.prompt)
            scenario = scenario or (record and record.scenario) or ""
            questions = questions_in((row and row.tags) or {}) or questions_in(record.extra if record else {})
            spent.append((method, run.spend))
            concepts = None if is_whole(run.concepts) else run.concepts
            for pick in picks:
                own = method if pick == picks[0] else f"{method} ({pick})"
                images = _picked(run, pick)
                for image in images:
                    sample, critique = (
                        Sample(image, run.prompt, Store(place), concepts, questions),
                        run.critiques.get(image.id),
                    )
                    about = (own, scenario, _tag(row, "subclass"), run.run, run.started.seed)
                    source = image.parent if image.operator is not None else None
                    looked = run.critiques.get(source or "")
                    before = None if source is None or looked is None else (run.images[source], looked)
                    tags: dict[str, Any] = {"rivals": pick == "highest", "id": row.id if row else ""}
                    shots.append(Shot(*about, sample, critique, before, **tags))
                if not images:
                    reason = run.error.message if run.error else f"it is {run.status} and has no such image"
                    skipped.append(Skipped(own, scenario, str(place), reason))
    return Collected(tuple(shots), tuple(skipped), tuple(spent))


def _methods(argument: str) -> list[tuple[str | None, Path]]:
    """Methods and folders of an argument; no method for a single run that is not named."""
    name, equals, rest = argument.partition("=")
    if equals and name and not os.path.exists(argument):
        return [(name, Path(rest))]
    folder = Path(argument)
    if is_run(folder):
        return [(None, folder)]
    inside = [] if (folder / RESULTS).is_file() else sorted(path.parent for path in folder.glob(f"*/{RESULTS}"))
    return [(Path(os.path.abspath(one)).name, one) for one in inside or [folder]]


def _class(policy: str) -> str:
    """``Adaptive`` of ``Adaptive(images=2)``."""
    return re.split(r"[(<\s]", policy.strip(), maxsplit=1)[0] or "runs"


def _picked(run: RecordedRun, pick: Pick) -> list[ImageRecord]:
    """The images of a run that a pick means and that exist, without previews and second opinions."""
    whole = [image for image in run.images.values() if image.is_whole]
    best = [] if run.best is None else [run.best]
    out = {id for id, decision in run.decisions.items() if not decision.candidate}
    rivals = [image for image in whole if image.id not in out] or whole
    found = {"all": whole, "best": best, "first": whole[:1], "last": whole[-1:], "highest": rivals}[pick]
    return [image for image in found if run.path(image.id).is_file()]


def _tag(row: Row | None, name: str) -> str:
    """What a batch says of a run; empty where it says nothing."""
    return "" if row is None else str(row.tags.get(name) or "")


def _batch_rows(folder: Path) -> dict[Path | str, Row]:
    """The rows of every batch in a folder, or that a run folder belongs to: by run folder, or by id without one.

    Of several rows of one run the last counts; lines that cannot be read are skipped, since a batch may be writing.
    """
    found: dict[Path | str, Row] = {}
    beside = [parent / RESULTS for parent in folder.resolve().parents[:2]]
    for path in (*beside, *sorted(folder.rglob(RESULTS))):
        for line in read_lines(path):
            try:
                row = Row.model_validate_json(line)
                place = None if row.run is None else (path.parent / row.run).resolve()
            except ValueError:
                continue
            if place is not None or path not in beside:
                found[place or f"{path.parent} {row.id}"] = row
    return found


def write_layout(collected: Collected, layout: Layout, out: Path) -> list[str]:
    """Copy the pictures, a folder for each method, and write the manifest; return what a reader has to know.

    ``SettingsError`` if the folder holds something, or cannot be written.
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
            folder, name = folders[shot.method], re.sub(r"[^\w.-]+", "_", shot.id or shot.run)
            number = counts[folder, name]
            counts[folder, name] += 1
            file = out / folder / f"{name}{f'_{number}' if layout == 'unigenbench' or number else ''}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shot.sample.store.path(shot.sample.image.path), file)
            paths[folder].setdefault(shot.sample.prompt, str(file.resolve()))
            about = {"file": file.relative_to(out).as_posix(), "id": shot.id or shot.run, "prompt": shot.sample.prompt}
            about |= {"method": shot.method, "run": shot.run, "image": shot.sample.image.id, "seed": shot.seed}
            lines.append(json.dumps(about | {"checklist": checklists[shot.method]}, ensure_ascii=False))
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
