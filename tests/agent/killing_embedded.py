"""Kills runs, batches or experiments of the embedded models at random times, goes on with each, and compares.

``python killing_embedded.py FOLDER COUNT SEED runs|batches|experiments...``. Each is a process of its own. A time is
one of the processor, so that on a busy machine too every part of the work has its share of the kills. It prints how
many were killed, how many of those were not at their end, the images that were found whole then, and how many calls of
models had ended and were made again, since the kill came before their record: of this kill, and of all.
"""

import contextlib
import hashlib
import io
import os
import random
import resource
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import diffusers  # noqa: F401  # before the processes are forked, once for all
import transformers  # noqa: F401

from detailscribe.agent import read_events, read_run, resume, run
from detailscribe.agent.cli import app
from detailscribe.agent.experiments.rows import JUDGED, read_experiment_rows
from detailscribe.agent.records.events import Critiqued, Decided, ImageMade
from detailscribe.agent.records.rows import RESULTS, read_rows
from detailscribe.agent.runs.reproduce import difference
from detailscribe.state import Budget, RunResult
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.world import EmbeddedCritic, EmbeddedDecomposer
from detailscribe.tools.world.critic import EmbeddedJudge

sys.path.insert(0, os.path.dirname(__file__))
from killing import begin_and_exit, calls_in, check_calls, forked, note_calls, recorded

PROMPTS = (
    "a fox riding a red bicycle, next to a bear holding a blue balloon",
    "a cat and a dog lifting a yellow house at night",
    "a rabbit inside a purple basket, to the left of a tree",
    "a cat holding an umbrella",
)
TOLERANCE = 2
"""Of 255, by which a picture may differ."""
EXPERIMENT = f"""
question = "What does a kill change?"
prompts.texts = {list(PROMPTS[1:3])}
budget = {{ images = 2, rounds = 1 }}
settings.run.steps = 6
policies = [{{ policy = "adaptive" }}, {{ policy = "best_of_n", grid = {{ n = [1, 2] }} }}]
"""


def pictures_in(folder):
    """Hash by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("images/*.png")}


def check_run(folder, whole, killed):
    """A run that went on after a kill, beside one that was not killed and the pictures that the kill had left."""
    result, before = (RunResult.model_validate_json((f / "result.json").read_bytes()) for f in (folder, whole))
    assert killed.keys() <= pictures_in(folder).keys(), "an image was lost"
    assert result.decisions == before.decisions, "other decisions were made"
    assert (result.best.id, result.stop) == (before.best.id, before.stop)
    assert difference(whole / before.best.path, folder / result.best.path).largest <= TOLERANCE
    events = read_events(folder / "events.jsonl")
    for kind in (ImageMade, Critiqued, Decided):
        reported = [event.image for event in events if isinstance(event, kind)]
        assert sorted(reported) == [image.id for image in result.images], (kind, reported)
    assert read_run(folder).status == "finished"


def check_runs(folder, whole, killed):
    """As ``check_run``, for every run of a batch or an experiment."""
    assert {path.name for path in folder.glob("runs/*")} == {path.name for path in whole.glob("runs/*")}
    for path in folder.glob("runs/*"):
        check_run(path, whole / "runs" / path.name, killed.get(path.name, {}))


def command(*given):
    with contextlib.redirect_stdout(io.StringIO()):
        assert not app([*map(str, given)], standalone_mode=False)


def rows_in(folder):
    return [row.model_dump() for row in read_rows(folder)]


class Runs:
    """One run; it goes on with ``resume``."""

    def begin(self, folder):
        if (folder / "manifest.json").exists():
            resume(folder)
        else:
            run(PROMPTS[0], out=folder, seed=3, steps=8, budget=Budget(images=6))

    def at_its_end(self, folder):
        return (folder / "result.json").exists()

    def state(self, folder):
        return pictures_in(folder)

    def check(self, folder, whole, killed):
        check_run(folder, whole, killed)


class Batches:
    """One batch; it goes on with the same command."""

    def begin(self, folder):
        prompts = folder.parent / "prompts.txt"
        prompts.write_text("\n".join(PROMPTS), encoding="utf-8")
        command("batch", prompts, "--out", folder, "--steps", 6, "--images", 2, "--concurrency", 3)

    def at_its_end(self, folder):
        return len(list(read_rows(folder))) == len(PROMPTS)

    def state(self, folder):
        return rows_in(folder), {path.name: pictures_in(path) for path in folder.glob("runs/*")}

    def check(self, folder, whole, killed):
        rows, pictures = killed
        assert rows_in(folder)[: len(rows)] == rows, f"a row of {RESULTS} was lost, or its run was run again"
        assert self._outcomes(folder) == self._outcomes(whole)
        check_runs(folder, whole, pictures)

    def _outcomes(self, folder):
        rows = sorted(read_rows(folder), key=lambda row: row.id)
        return [(row.id, row.status, row.best, row.passed, row.checks, row.stop) for row in rows]


class Experiments:
    """One experiment; it goes on with the same command."""

    def begin(self, folder):
        file = folder.parent / "experiment.toml"
        file.write_text(EXPERIMENT, encoding="utf-8")
        command("experiment", file, "--out", folder, "--concurrency", 3)

    def at_its_end(self, folder):
        return (folder / "summary.md").exists()

    def state(self, folder):
        judged = [row.model_dump() for row in read_experiment_rows(folder / JUDGED)]
        return rows_in(folder), judged, {path.name: pictures_in(path) for path in folder.glob("runs/*")}

    def check(self, folder, whole, killed):
        rows, judged, pictures = killed
        assert rows_in(folder)[: len(rows)] == rows, f"a row of {RESULTS} was lost, or its run was run again"
        assert self.state(folder)[1][: len(judged)] == judged, f"a row of {JUDGED} was lost, or judged again"
        assert self._outcomes(folder) == self._outcomes(whole)
        check_runs(folder, whole, pictures)

    def _outcomes(self, folder):
        rows = sorted(read_experiment_rows(folder / JUDGED), key=lambda row: row.job)
        return [
            (row.job, row.error, row.best, row.stop, [(i.id, i.parent, i.rule, i.critic, i.judge) for i in row.images])
            for row in rows
        ]


ROLES = (
    (EmbeddedDecomposer, "decompose"),
    (LocalDiffusion, "draw"),
    (EmbeddedCritic, "critique"),
    (EmbeddedJudge, "critique"),
)


def begin(kind, folder):
    """Begin or go on, with all calls of models noted beside the folder."""
    note_calls(folder.with_suffix(".calls"), ROLES)
    kind.begin(folder)


def killed_after(seconds, kind, folder):
    """Begin in a process of its own that ends at once, whatever it does, when it has worked so long."""
    child = os.fork()
    if not child:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF, which nobody handles, ends it as SIGKILL does
        begin_and_exit(lambda: begin(kind, folder))
    os.waitpid(child, 0)


def worked():
    """Seconds that all processes before this one had of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(kind, root, count, seed):
    rng = random.Random(seed)
    root.mkdir(parents=True)
    before = worked()
    assert forked(lambda: begin(kind, root / "whole")) == 0
    length, cut, repeated = worked() - before, 0, 0
    starts = [call[1:] for call in calls_in(root / "whole.calls") if call[0] == "start"]
    assert len(starts) == len({*map(tuple, starts)}), "a call was made twice without a kill"
    for number in range(count):
        folder = root / f"{number:03d}"
        killed_after(rng.uniform(0, length), kind, folder)
        cut += not kind.at_its_end(folder)
        state, kept, images = kind.state(folder), recorded(folder), len(list(folder.rglob("images/*.png")))
        killed = len(calls_in(folder.with_suffix(".calls")))
        assert forked(partial(begin, kind, folder)) == 0, f"{folder} does not go on"
        again = check_calls(calls_in(folder.with_suffix(".calls")), killed, kept)
        repeated += again
        kind.check(folder, root / "whole", state)
        assert not [path for path in folder.rglob("*") if "partial" in path.name]
        shutil.rmtree(folder)
        print(root.name, number + 1, cut, images, again, repeated, flush=True)


if __name__ == "__main__":
    folder, count, seed, *names = sys.argv[1:]
    for name in names:
        kind = {"runs": Runs(), "batches": Batches(), "experiments": Experiments()}[name]
        main(kind, Path(folder) / name, int(count), int(seed))
