"""However the process that started a batch ends, nothing of it goes on, and the next one finds what was done."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from detailscribe.agent.records.rows import read_rows
from detailscribe.agent.runs.folder import locked

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from .conftest import AGENTS, MARK, processes_of
from .quick import Notes

DRIVER = Path(__file__).with_name("driver.py")
COUNT = 12
PATIENCE = 240
"""Seconds; what Ray leaves to time-outs takes long where cores are few."""


@contextmanager
def driver(folder, pause, mark, address="local"):
    with (folder / "errors").open("w") as errors:
        started = subprocess.Popen(
            [sys.executable, str(DRIVER), str(folder), str(COUNT), str(pause), address],
            env=os.environ | {MARK: mark},
            stdout=errors,
            stderr=errors,
        )
        try:
            yield started
        finally:
            started.kill()
            started.wait()


def has_drawn(folder, count, process):
    """Wait until so many images are done."""
    notes = Notes(folder / "notes")
    while len(notes.read("end")) < count:
        assert process.poll() is None, (folder / "errors").read_text()
        time.sleep(0.05)


def all_end(pids):
    """Whether all of these processes end within that time."""
    deadline = time.monotonic() + PATIENCE
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return bool(pids)


def is_alone(mark, but=()):
    """Whether every process with the mark, but for those of some names, ends within that time."""
    deadline = time.monotonic() + PATIENCE
    while (left := processes_of(mark, but)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left == []


def test_after_the_driver_is_killed_nothing_goes_on_and_nothing_is_lost_or_done_twice(tmp_path):
    mark, next_mark = uuid4().hex, uuid4().hex
    with driver(tmp_path, 1.0, mark) as first:
        has_drawn(tmp_path, 4, first)
        assert len(processes_of(mark)) > 3, "the mark is seen"
        first.send_signal(signal.SIGKILL)
        first.wait()
        before = [row.prompt for row in read_rows(tmp_path / "out")]
    assert is_alone(mark, AGENTS)
    assert len(before) < COUNT
    drawn = [what for _, _, what in Notes(tmp_path / "notes").read("end")]
    with driver(tmp_path, 0.0, next_mark) as second:
        assert second.wait(PATIENCE) == 0, (tmp_path / "errors").read_text()
    rows = list(read_rows(tmp_path / "out"))
    assert Counter(row.prompt for row in rows) == Counter(f"thing number {n}" for n in range(COUNT))
    assert {row.status for row in rows} == {"done"}
    assert [row.prompt for row in rows[: len(before)]] == before
    again = [what for _, _, what in Notes(tmp_path / "notes").read("end")][len(drawn) :]
    assert not {*again} & {*before}, "what has a row is not drawn again"
    assert is_alone(next_mark), "nor does anything go on after its end"


def test_in_a_cluster_that_goes_on_replicas_end_with_the_driver_that_was_killed(ray, tmp_path):
    address = ray.get_runtime_context().gcs_address
    with driver(tmp_path, 1.0, uuid4().hex, address) as started:
        has_drawn(tmp_path, 2, started)
        replicas = {pid for _, pid, _ in Notes(tmp_path / "notes").read("begin")}
        started.send_signal(signal.SIGKILL)
    assert all_end(replicas)
    assert ray.cluster_resources()["CPU"] == 4, "the cluster is there"


def test_ctrl_c_leaves_no_process_and_puts_run_folders_in_order(tmp_path):
    mark = uuid4().hex
    with driver(tmp_path, 1.0, mark) as started:
        has_drawn(tmp_path, 1, started)
        started.send_signal(signal.SIGINT)
        started.wait(PATIENCE)
    assert "KeyboardInterrupt" in (tmp_path / "errors").read_text()
    assert is_alone(mark)
    rows = list(read_rows(tmp_path / "out"))
    assert {row.status for row in rows} <= {"done"}
    for folder in (tmp_path / "out" / "runs").iterdir():
        with locked(folder):  # nothing holds it any more
            assert folder.is_dir()
