"""Kills runs of its own at chosen moments, goes on with each, and compares: ``python killing.py FOLDER STRIDE``.

Each run is a process of its own, forked from this one, which has imported everything and started no thread.
A moment is a write to a file, a checkpoint, or a file's move to its place: before it, in its middle, or after it.
"""

import json
import os
import pathlib
import sys
import traceback
from pathlib import Path

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from detailscribe.agent import read_events, read_run, resume, run
from detailscribe.agent.graph.answers import ANSWERS
from detailscribe.agent.records.events import Critiqued, Decided, ImageMade
from detailscribe.state import Budget, RunResult

sys.path.insert(0, os.path.dirname(__file__))
from fakes import PROMPT, FakeDiffusion, ScriptedCritic, roles

SCRIPT = {"00-00": "red holding", "00-01": "cat umbrella alone", "01-00": "red", "02-00": "red holding"}
KILLED = 9


class Moments:
    """Counts moments, and ends the process at one of them as a kill does."""

    def __init__(self, kill_at):
        self.count, self.kill_at = 0, kill_at

    def pass_one(self, last_words=lambda: None):
        self.count += 1
        if self.count == self.kill_at:
            last_words()
            os._exit(KILLED)


class Written:
    """A file whose writes are moments; one can be cut in the middle."""

    def __init__(self, file, moments):
        self._file, self._moments = file, moments

    def write(self, data):
        self._moments.pass_one(lambda: (self._file.write(data[: len(data) // 2]), self._file.flush()))
        written = self._file.write(data)
        self._file.flush()
        self._moments.pass_one()
        return written

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


def watch(moments):
    """Make every write of this process a moment."""
    opened, replace = pathlib.Path.open, os.replace
    put, put_writes = AsyncSqliteSaver.aput, AsyncSqliteSaver.aput_writes

    def open_watched(path, mode="r", *args, **kwargs):
        file = opened(path, mode, *args, **kwargs)
        return Written(file, moments) if set(mode) & set("wax") else file

    def replace_watched(*args):
        moments.pass_one()
        replace(*args)
        moments.pass_one()

    def watched(method):
        async def call(*args, **kwargs):
            moments.pass_one()
            done = await method(*args, **kwargs)
            moments.pass_one()
            return done

        return call

    pathlib.Path.open, os.replace = open_watched, replace_watched
    AsyncSqliteSaver.aput, AsyncSqliteSaver.aput_writes = watched(put), watched(put_writes)


class Billing(ScriptedCritic):
    """Notes what it is asked."""

    def __init__(self):
        super().__init__(SCRIPT)
        self.asked = []

    async def critique(self, image, concepts, store):
        self.asked.append(image.id)
        return await super().critique(image, concepts, store)


def forked(work):
    """Exit status of ``work`` in a process of its own."""
    child = os.fork()
    if not child:
        begin_and_exit(work)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def begin_and_exit(work):
    """Do the work of a forked process, which is to go no further."""
    status = 1
    try:
        work()
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)


def begin(folder, bill=None):
    diffusion, critic = FakeDiffusion(writes_latents=True), Billing()
    chosen = roles(SCRIPT, diffusion=diffusion, critic=critic)
    if (folder / "manifest.json").exists():
        resume(folder, **chosen)
    else:
        run(PROMPT, out=folder, seed=7, budget=Budget(rounds=2), **chosen)
    if bill:
        bill.write_text(json.dumps({"drawn": [r.id for r in diffusion.requests], "asked": critic.asked}))


def killed_at(moment, folder):
    """Begin or go on with the run in ``folder``, and die at a moment; whether that moment came."""

    def work():
        watch(Moments(moment))
        begin(folder)

    status = forked(work)
    assert status in (0, KILLED), f"at moment {moment} the run ended with {status}"
    return status == KILLED


def recorded(folder):
    """Images that are whole in the folder, and those of which an answer was kept whole."""
    drawn = {path.stem for path in folder.glob("images/*.png")}
    path = folder / ANSWERS
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    answers = [json.loads(line)["answer"] for line in lines]
    return drawn, {answer["image"] for answer in answers if "verdicts" in answer}


def plain(result):
    return result.model_copy(update={"run": "any"})


def check(folder, whole, moments):
    """Go on with a run that was killed, and compare it with one that was not."""
    drawn, answered = recorded(folder)
    bill = folder.with_suffix(".json")
    assert forked(lambda: begin(folder, bill)) == 0, f"killed at {moments}, it does not go on"
    paid = json.loads(bill.read_text())
    assert drawn.isdisjoint(paid["drawn"]), f"killed at {moments}, it drew again: {drawn & {*paid['drawn']}}"
    assert answered.isdisjoint(paid["asked"]), f"killed at {moments}, it asked again: {answered & {*paid['asked']}}"
    result = RunResult.model_validate_json((folder / "result.json").read_bytes())
    assert plain(result) == plain(whole), f"killed at {moments}, it came to another end"
    events = read_events(folder / "events.jsonl")
    assert [e.record for e in events if isinstance(e, ImageMade)] == list(result.images), moments
    assert [e.critique for e in events if isinstance(e, Critiqued)] == list(result.critiques), moments
    assert {e.image: e.decision for e in events if isinstance(e, Decided)} == {d.image: d for d in result.decisions}
    assert read_run(folder).status == "finished"
    assert not [path for path in folder.rglob("*") if "partial" in path.name or path.name == ".lock"], moments


def main(root, stride):
    assert forked(lambda: begin(root / "whole")) == 0
    whole = RunResult.model_validate_json((root / "whole" / "result.json").read_bytes())
    moment, again = 1, 1
    while killed_at(moment, root / f"{moment}"):
        killed_at(again, root / f"{moment}")  # a second time, on the way to the end
        check(root / f"{moment}", whole, (moment, again))
        moment, again = moment + stride, again * 7 % 61
    print(moment)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
