"""Kills runs or batches of the embedded models at random times, goes on with each, and compares.

``python killing_embedded.py FOLDER COUNT SEED runs|batches...``. Each is a process of its own. A time is one of the
processor, so that on a busy machine too every part of the work has its share of the kills. It prints how many were
killed, how many of those were not at their end, and the images of each that was found whole then.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import resource
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import diffusers  # noqa: F401  # before the processes are forked, once for all
import transformers  # noqa: F401

from detailscribe.agent import read_events, read_run, resume, run
from detailscribe.agent.batch.jobs import RESULTS, read_rows
from detailscribe.agent.cli import app
from detailscribe.agent.graph.answers import ANSWERS
from detailscribe.agent.records.events import Critiqued, Decided, ImageMade
from detailscribe.agent.runs.reproduce import difference
from detailscribe.state import Budget, RunResult

sys.path.insert(0, os.path.dirname(__file__))
from killing import begin_and_exit, forked

PROMPTS = (
    "a fox riding a red bicycle, next to a bear holding a blue balloon",
    "a cat and a dog lifting a yellow house at night",
    "a rabbit inside a purple basket, to the left of a tree",
    "a cat holding an umbrella",
)
TOLERANCE = 2
"""Of 255, by which a picture may differ."""


@dataclass(frozen=True)
class Left:
    """What a run folder holds."""

    pictures: dict[str, str]
    """Hash by name."""
    answers: list[str]
    """Their keys, of whole lines."""


def left_in(folder):
    pictures = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("images/*.png")}
    answers = folder / ANSWERS
    lines = answers.read_bytes().split(b"\n")[:-1] if answers.exists() else []
    return Left(pictures, [json.loads(line)["key"] for line in lines])


def check_run(folder, whole, killed):
    """A run that went on after a kill, beside one that was not killed and what the kill had left."""
    now = left_in(folder)
    assert killed.pictures.items() <= now.pictures.items(), "an image was drawn again"
    assert now.answers[: len(killed.answers)] == killed.answers, "an answer was lost"
    assert len({*now.answers}) == len(now.answers), "an answer was asked for again"
    result, before = (RunResult.model_validate_json((f / "result.json").read_bytes()) for f in (folder, whole))
    assert result.decisions == before.decisions, "other decisions were made"
    assert (result.best.id, result.stop) == (before.best.id, before.stop)
    assert difference(whole / before.best.path, folder / result.best.path).largest <= TOLERANCE
    events = read_events(folder / "events.jsonl")
    for kind in (ImageMade, Critiqued, Decided):
        told = [event.image for event in events if isinstance(event, kind)]
        assert sorted(told) == [image.id for image in result.images], (kind, told)
    assert read_run(folder).status == "finished"


class Runs:
    """One run; it goes on with ``resume``."""

    def begin(self, folder):
        if (folder / "manifest.json").exists():
            resume(folder)
        else:
            run(PROMPTS[0], out=folder, seed=3, steps=12, budget=Budget(images=6))

    def at_its_end(self, folder):
        return (folder / "result.json").exists()

    def left(self, folder):
        return left_in(folder)

    def check(self, folder, whole, killed):
        check_run(folder, whole, killed)


class Batches:
    """One batch; it goes on with the same command."""

    def begin(self, folder):
        prompts = folder.parent / "prompts.txt"
        prompts.write_text("\n".join(PROMPTS), encoding="utf-8")
        given = ["--out", str(folder), "--steps", "12", "--images", "3", "--concurrency", "3"]
        with contextlib.redirect_stdout(io.StringIO()):
            assert not app(["batch", str(prompts), *given], standalone_mode=False)

    def at_its_end(self, folder):
        return len(list(read_rows(folder))) == len(PROMPTS)

    def left(self, folder):
        runs = {path.name: left_in(path) for path in folder.glob("runs/*")}
        return [row.model_dump() for row in read_rows(folder)], runs

    def check(self, folder, whole, killed):
        rows, runs = killed
        now = [row.model_dump() for row in read_rows(folder)]
        assert now[: len(rows)] == rows, f"a row of {RESULTS} was lost, or its run was run again"
        assert self._outcomes(folder) == self._outcomes(whole)
        assert {path.name for path in folder.glob("runs/*")} == {path.name for path in whole.glob("runs/*")}
        for path in folder.glob("runs/*"):
            check_run(path, whole / "runs" / path.name, runs.get(path.name, Left({}, [])))

    def _outcomes(self, folder):
        rows = sorted(read_rows(folder), key=lambda row: row.id)
        return [(row.id, row.status, row.best, row.passed, row.checks, row.stop) for row in rows]


def killed_after(seconds, kind, folder):
    """Begin in a process of its own that ends at once, whatever it does, when it has worked so long."""
    child = os.fork()
    if not child:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF, which nobody handles, ends it as SIGKILL does
        begin_and_exit(lambda: kind.begin(folder))
    os.waitpid(child, 0)


def worked():
    """Seconds that all processes before this one had of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(kind, root, count, seed):
    rng = random.Random(seed)
    root.mkdir()
    before = worked()
    assert forked(lambda: kind.begin(root / "whole")) == 0
    length, cut = worked() - before, 0
    for number in range(count):
        folder = root / f"{number:03d}"
        killed_after(rng.uniform(0, length), kind, folder)
        cut += not kind.at_its_end(folder)
        left, images = kind.left(folder), len(list(folder.rglob("images/*.png")))
        assert forked(partial(kind.begin, folder)) == 0, f"{folder} does not go on"
        kind.check(folder, root / "whole", left)
        assert not [path for path in folder.rglob("*") if "partial" in path.name]
        print(root.name, number + 1, cut, images, flush=True)


if __name__ == "__main__":
    folder, count, seed, *names = sys.argv[1:]
    for name in names:
        main({"runs": Runs(), "batches": Batches()}[name], Path(folder) / name, int(count), int(seed))
