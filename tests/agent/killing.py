"""Kills runs of its own at chosen moments, goes on with each, and compares: ``python killing.py FOLDER STRIDE``.

Each run is a process of its own, forked from this one, which has imported everything and started no thread.
A moment is a write to a file, a checkpoint, the record of a task, or a file's move to its place: before it, in its
middle, or after it. It prints the moments that there were, and how many calls of roles were made again of which the
kill cut off the record.
"""

import os
import pathlib
import sys
import traceback
from contextlib import closing
from pathlib import Path

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from detailscribe.agent import read_events, read_run, resume, run
from detailscribe.agent.graph.checkpoints import CACHE, TaskCache
from detailscribe.agent.records.events import Critiqued, Decided, ImageMade
from detailscribe.state import Budget, RunResult
from detailscribe.tools.files import content_hash

sys.path.insert(0, os.path.dirname(__file__))
from fakes import PROMPT, FakeDecomposer, FakeDiffusion, ScriptedCritic, roles

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
    put, put_writes, keep = AsyncSqliteSaver.aput, AsyncSqliteSaver.aput_writes, TaskCache.set

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

    def keep_watched(cache, mapping):
        moments.pass_one()
        keep(cache, mapping)
        moments.pass_one()

    pathlib.Path.open, os.replace, TaskCache.set = open_watched, replace_watched, keep_watched
    AsyncSqliteSaver.aput, AsyncSqliteSaver.aput_writes = watched(put), watched(put_writes)


def note_calls(path, roles):
    """Have every call of a role note its start, and its end with a hash of what came of it, in a file.

    ``roles`` are pairs of a class and its method.
    """
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def noting(role, name):
        method = getattr(role, name)

        async def call(*args, **kwargs):
            key = f"{role.__name__}.{name} {content_of(*args[1:], **kwargs)}"
            os.write(file, f"start {key}\n".encode())
            made = await method(*args, **kwargs)
            os.write(file, f"end {key} {hash_of(made)}\n".encode())
            return made

        return call

    for role, name in roles:
        setattr(role, name, noting(role, name))


def content_of(first, second=None, *_, source=None, **__):
    """A hash of what a call depends on: the prompt, or the attempt and its source, or the image and its prompt."""
    if isinstance(first, str):
        return content_hash(first)
    if hasattr(first, "keep_steps"):
        parts = first.model_dump(mode="json", exclude={"id", "round", "parent", "source"})
        return content_hash(parts, source and (source.digest or source.id))
    return content_hash(first.id, first.seed, first.prompt, first.digest or first.path, second.prompt)


def hash_of(value):
    return content_hash(value.model_dump(mode="json"))


def calls_in(path):
    """The lines of a file of ``note_calls``, each a list of words."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def recorded(folder):
    """Hashes of all that the cache holds."""
    if not (folder / CACHE).exists():
        return set()
    with closing(TaskCache(folder / CACHE)) as cache:
        rows = cache._conn.execute("SELECT encoding, val FROM cache").fetchall()
        made = [cache.serde.loads_typed(row) for row in rows]
    return {hash_of(value[0] if isinstance(value, (tuple, list)) else value) for value in made}


def check_calls(calls, killed, kept):
    """Nothing that was recorded was asked or drawn again.

    Args:
        calls: All calls of a run, as ``calls_in`` gives them.
        killed: How many lines there were when it was killed.
        kept: Hashes of what was recorded then.

    Returns:
        How many calls had come to their end before the kill and were made again.
    """
    ended = {tuple(call[1:3]): call[3] for call in calls[:killed] if call[0] == "end"}
    again = [tuple(call[1:]) for call in calls[killed:] if call[0] == "start"]
    assert not (twice := {call for call in again if ended.get(call) in kept}), f"recorded and made again: {twice}"
    assert len(again) == len({*again}), "one call was made twice after the kill"
    return sum(call in ended for call in again)


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


def begin(folder):
    note_calls(
        folder.with_suffix(".calls"),
        [(FakeDecomposer, "decompose"), (FakeDiffusion, "draw"), (ScriptedCritic, "critique")],
    )
    chosen = roles(SCRIPT, diffusion=FakeDiffusion(writes_latents=True))
    if (folder / "manifest.json").exists():
        resume(folder, **chosen)
    else:
        run(PROMPT, out=folder, seed=7, budget=Budget(rounds=2), **chosen)


def killed_at(moment, folder):
    """Begin or go on with the run in ``folder``, and die at a moment; whether that moment came."""

    def work():
        watch(Moments(moment))
        begin(folder)

    status = forked(work)
    assert status in (0, KILLED), f"at moment {moment} the run ended with {status}"
    return status == KILLED


def plain(result):
    return result.model_copy(update={"run": "any"})


def check(folder, whole, moments):
    """Go on with a run that was killed, and compare it with one that was not; how many finished calls it repeats."""
    calls, kept = folder.with_suffix(".calls"), recorded(folder)
    killed = len(calls_in(calls))
    assert forked(lambda: begin(folder)) == 0, f"killed at {moments}, it does not go on"
    repeated = check_calls(calls_in(calls), killed, kept)
    result = RunResult.model_validate_json((folder / "result.json").read_bytes())
    assert plain(result) == plain(whole), f"killed at {moments}, it came to another end"
    events = read_events(folder / "events.jsonl")
    made = [e.record for e in events if isinstance(e, ImageMade)]
    assert sorted(made, key=lambda image: image.id) == list(result.images), moments
    assert [e.critique for e in events if isinstance(e, Critiqued)] == list(result.critiques), moments
    assert {e.image: e.decision for e in events if isinstance(e, Decided)} == {d.image: d for d in result.decisions}
    assert read_run(folder).status == "finished"
    assert not [path for path in folder.rglob("*") if "partial" in path.name or path.name == ".lock"], moments
    return repeated


def main(root, stride):
    assert forked(lambda: begin(root / "whole")) == 0
    whole = RunResult.model_validate_json((root / "whole" / "result.json").read_bytes())
    moment, again, repeated = 1, 1, 0
    while killed_at(moment, root / f"{moment}"):
        killed_at(again, root / f"{moment}")  # a second time, on the way to the end
        repeated += check(root / f"{moment}", whole, (moment, again))
        moment, again = moment + stride, again * 7 % 61
    print(moment, repeated)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
