"""Kills experiments at random times, goes on with each, and compares.

``python -m tests.experiments.killing FOLDER COUNT SEED``.

Each start is a process of its own, forked from this one. A time is one of the processor, so that on a busy machine too
every part of the work has its share of the kills. It prints how many were killed, how many of those were not at their
end, and how many images were drawn twice, which can only be those that were being drawn.
"""

import asyncio
import os
import random
import resource
import signal
import sys
import traceback
from pathlib import Path

import pandas  # noqa: F401  # before the processes are forked, once for all

from detailscribe.agent.experiments.rows import JUDGED, read_experiment_rows
from detailscribe.agent.experiments.run import run_experiment
from detailscribe.agent.experiments.write import ROWS, write_results

from ..agent.fakes import FakeDiffusion
from .small import Fakes, small

EXPERIMENT = {"policies": [{"policy": "best_of_n", "grid": {"n": [2, 3]}}, {"policy": "multi_round"}]}
AT_ONCE = 4
"""Runs in flight."""


class Billing(FakeDiffusion):
    """Appends a line to a file for each image that it has drawn."""

    async def draw(self, attempt, store, *, source=None, progress=None):
        made = await super().draw(attempt, store, source=source, progress=progress)
        await asyncio.to_thread(_note, f"{attempt.prompt} {attempt.seed}\n")
        return made


def _note(line: str) -> None:
    with Path(os.environ["BILL"]).open("a", encoding="utf-8") as bill:
        bill.write(line)


def begin(folder: Path) -> None:
    """Start the experiment, or go on with it."""
    os.environ["BILL"] = str(folder.with_suffix(".bill"))
    experiment, fakes = small(**EXPERIMENT), Fakes(diffusion=Billing(writes_latents=True))
    rows = run_experiment(experiment, folder, *fakes.models(experiment), concurrency=AT_ONCE)
    write_results(experiment, rows, folder)


def outcome(folder: Path) -> list[dict[str, object]]:
    """The rows without what is never the same twice."""
    rows = read_experiment_rows(folder / ROWS)
    return [row.model_dump(exclude={"spend": {"seconds"}, "images": {"__all__": {"seconds"}}}) for row in rows]


def drawn(folder: Path) -> int:
    """Images that were drawn, in all starts."""
    bill = folder.with_suffix(".bill")
    return bill.read_text(encoding="utf-8").count("\n") if bill.exists() else 0


def forked(folder: Path, seconds: float = 0.0) -> int:
    """Exit status of a start in a process of its own, which ends at once when it has worked for ``seconds``, if any."""
    child = os.fork()
    if not child:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF, which nobody handles, ends it as SIGKILL does
        status = 1
        try:
            begin(folder)
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(root: Path, count: int, seed: int) -> None:
    rng, whole = random.Random(seed), root / "whole"
    root.mkdir()
    assert forked(whole) == 0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cut, twice = 0, 0
    for number in range(count):
        folder = root / f"{number:03d}"
        kills = rng.randint(1, 3)
        for _ in range(kills):
            forked(folder, rng.uniform(0.01, (used.ru_utime + used.ru_stime) / kills))
        cut += not (folder / ROWS).exists()
        before = (folder / JUDGED).read_bytes() if (folder / JUDGED).exists() else b""
        assert forked(folder) == 0, f"{folder} does not go on"
        assert (folder / JUDGED).read_bytes().startswith(before[: before.rfind(b"\n") + 1]), "a row was lost"
        assert outcome(folder) == outcome(whole), f"{folder} ends otherwise"
        assert not [path for path in folder.rglob("*") if "partial" in path.name]
        twice += drawn(folder) - drawn(whole)
        print(number + 1, cut, twice, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
