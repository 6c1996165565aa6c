"""Kills runs of the embedded models at random times, goes on with each, and compares.

``python killing_embedded.py FOLDER COUNT [SEED]``. Each run is a process of its own, and what kills it is SIGKILL.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import diffusers  # noqa: F401  # before the runs are forked, once for all
import transformers  # noqa: F401

from detailscribe.agent import read_events, read_run, resume, run
from detailscribe.agent.answers import ANSWERS
from detailscribe.agent.events import Critiqued, Decided, ImageMade
from detailscribe.agent.reproducing import difference
from detailscribe.state import Budget, RunResult

sys.path.insert(0, os.path.dirname(__file__))
from killing import begin_and_exit, forked

PROMPT = "a fox riding a red bicycle, next to a bear holding a blue balloon"
TOLERANCE = 2
"""Of 255, by which a picture may differ."""


def begin(folder):
    if (folder / "manifest.json").exists():
        resume(folder)
    else:
        run(PROMPT, out=folder, seed=3, steps=12, budget=Budget(images=6))


def killed_after(seconds, folder):
    """Whether the run was still going on then."""
    child = os.fork()
    if not child:
        begin_and_exit(lambda: begin(folder))
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return not (folder / "result.json").exists()


def pictures(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("images/*.png")}


def keys(folder):
    path = folder / ANSWERS
    return [json.loads(line)["key"] for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def check(folder, whole):
    drawn, answered = pictures(folder), keys(folder)
    assert forked(lambda: begin(folder)) == 0
    assert drawn.items() <= pictures(folder).items(), "an image was drawn again"
    now = keys(folder)
    assert now[: len(answered)] == answered, "an answer was lost"
    assert len({*now}) == len(now), "an answer was asked for again"
    result = RunResult.model_validate_json((folder / "result.json").read_bytes())
    before = RunResult.model_validate_json((whole / "result.json").read_bytes())
    assert result.decisions == before.decisions, "other decisions were made"
    assert (result.best.id, result.stop) == (before.best.id, before.stop)
    assert difference(whole / before.best.path, folder / result.best.path).largest <= TOLERANCE
    events = read_events(folder / "events.jsonl")
    for kind in (ImageMade, Critiqued, Decided):
        told = [event.image for event in events if isinstance(event, kind)]
        assert sorted(told) == [image.id for image in result.images], (kind, told)
    assert read_run(folder).status == "finished"
    assert not [path for path in folder.rglob("*") if "partial" in path.name]


def main(root, count, seed):
    rng = random.Random(seed)
    started = time.monotonic()
    assert forked(lambda: begin(root / "whole")) == 0
    length = time.monotonic() - started
    cut = 0
    for number in range(count):
        folder = root / f"{number:03d}"
        cut += killed_after(rng.uniform(0, length), folder)
        check(folder, root / "whole")
        print(number + 1, cut, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
