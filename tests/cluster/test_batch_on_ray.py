"""A batch on a cluster: the rows and run folders of the local batch, whatever crashes meanwhile."""

import os
import signal
import threading
import time
from collections import Counter

import pytest

from detailscribe.agent import Cluster, read_run, run_batch
from detailscribe.agent.batch import cluster
from detailscribe.agent.records.rows import read_rows
from detailscribe.agent.runs.reproduce import difference
from detailscribe.tools.errors import ModelError, SettingsError

from .quick import Notes, quick_roles

PROMPTS = [f"thing number {n}" for n in range(12)]
TOLERANCE = 2
"""Of 255, by which a picture may differ."""


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path / "notes")


def batch(folder, prompts, notes, pause=0.0, concurrency=2, **where):
    where = {"replicas": 2, "cpus_per_replica": 1, "roles": quick_roles(notes.folder, pause)} | where
    done = run_batch(prompts, out=folder, policy="single", concurrency=concurrency, cluster=Cluster(**where))
    return {row.prompt: row for row in done.rows()}


def are_gone(pids):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not any(os.path.exists(f"/proc/{pid}") for pid in pids):
            return True
        time.sleep(0.1)
    return False


def test_every_prompt_has_one_row_and_no_more_are_in_flight_than_were_allowed(ray, tmp_path, notes):
    news = []
    rows = batch(tmp_path / "out", [*PROMPTS, "it breaks"], notes, pause=0.1, news=news.append)
    assert sorted(rows) == sorted([*PROMPTS, "it breaks"])
    assert Counter(row.status for row in rows.values()) == {"done": 12, "failed": 1}
    assert (rows["it breaks"].error, rows["it breaks"].message) == ("RuntimeError", "the model broke")
    assert all(read_run(tmp_path / "out" / row.run).status == "finished" for row in rows.values() if row.error is None)
    drawn = notes.read("begin")
    assert Counter(what for _, _, what in drawn) == Counter([*PROMPTS, "it breaks"])
    pids = {pid for _, pid, _ in drawn}
    assert len(pids) == 2, "both replicas worked"
    for pid in pids:
        began = [(when, 1) for when, at, _ in drawn if at == pid]
        ended = [(when, -1) for when, at, _ in notes.read("end") if at == pid]
        in_flight = 0
        for _, change in sorted(began + ended):
            in_flight += change
            assert in_flight <= 2 + 1, "the one that breaks notes no end"
    assert are_gone(pids), "replicas end with the batch in a cluster that goes on"


def test_another_start_runs_nothing_again_and_starts_no_cluster(tmp_path, notes, ray):
    batch(tmp_path / "out", PROMPTS[:3], notes)
    again = batch(tmp_path / "out", PROMPTS[:3], notes, address="nowhere:1")
    assert len(again) == 3
    assert len(notes.read("begin")) == 3


def test_a_killed_replica_comes_again_and_nothing_is_lost(ray, tmp_path, notes):
    """What it was at may be drawn again, everything else is drawn once."""
    killed, in_flight = [], []

    def kill_one():
        while not notes.read("end"):
            time.sleep(0.02)
        killed.append(notes.read("begin")[-1][1])
        os.kill(killed[0], signal.SIGKILL)
        in_flight.extend([what for _, pid, what in notes.read("begin") if pid == killed[0]][-2:])

    news, killer = [], threading.Thread(target=kill_one)
    killer.start()
    rows = batch(tmp_path / "out", PROMPTS, notes, pause=0.3, news=news.append)
    killer.join()
    assert sorted(rows) == sorted(PROMPTS)
    assert {row.status for row in rows.values()} == {"done"}
    assert len(list(read_rows(tmp_path / "out"))) == len(PROMPTS)
    assert [line for line in news if "was lost" in line]
    ended = Counter(what for _, _, what in notes.read("end"))
    assert set(ended) == set(PROMPTS)
    assert {what for what, times in ended.items() if times > 1} <= set(in_flight)


def test_a_prompt_that_crashes_every_replica_is_a_failed_row_and_the_others_are_done(ray, tmp_path, notes):
    rows = batch(tmp_path / "out", [*PROMPTS[:4], "it crashes", *PROMPTS[4:]], notes, pause=0.05)
    assert sorted(rows) == sorted([*PROMPTS, "it crashes"])
    assert rows["it crashes"].error == "ReplicaLost"
    assert {row.status for prompt, row in rows.items() if prompt in PROMPTS} == {"done"}
    assert len([what for _, _, what in notes.read("begin") if what == "it crashes"]) == 3


def test_models_that_cannot_be_loaded_end_the_batch_and_say_why(ray, tmp_path):
    def broken(settings):
        from detailscribe.tools.errors import ModelError

        raise ModelError("the weights are gone")

    with pytest.raises(ModelError, match="the weights are gone"):
        run_batch(PROMPTS, out=tmp_path / "out", cluster=Cluster(replicas=2, cpus_per_replica=1, roles=broken))
    assert not (tmp_path / "out").exists()


def test_replicas_that_crash_while_they_load_end_the_batch(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "RESTARTS", 0)  # it is three times quicker

    def crashing(settings):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ModelError, match="no replica of the models can be started"):
        run_batch(PROMPTS, out=tmp_path / "out", cluster=Cluster(cpus_per_replica=1, roles=crashing))


def test_replicas_with_other_models_end_the_batch_and_make_no_rows_of_it(ray, tmp_path, notes):
    def different(settings):
        made = quick_roles(folder, 0.2)(settings)
        made.diffusion.model = f"quick@{os.getpid()}"
        return made

    folder = str(notes.folder)
    with pytest.raises(SettingsError, match="diffusion was 'quick@"):
        batch(tmp_path / "out", PROMPTS * 4, notes, roles=different)
    assert {row.status for row in read_rows(tmp_path / "out")} <= {"done"}


def test_a_replica_that_needs_more_than_there_is_is_refused(ray, tmp_path, notes):
    with pytest.raises(SettingsError, match="has no room"):
        batch(tmp_path / "out", PROMPTS, notes, gpus_per_replica=100)


def test_runs_go_to_a_store_and_are_taken_from_there_by_whoever_begins_anew(ray, tmp_path, notes):
    url = (tmp_path / "store").as_uri()
    rows = batch(tmp_path / "one", PROMPTS[:4], notes, store=url)
    assert not (tmp_path / "one" / "runs").exists()
    for row in rows.values():
        run = read_run(tmp_path / "store" / row.run)
        assert (run.status, run.prompt) == ("finished", row.prompt)
        assert (tmp_path / "store" / row.best).is_file()
    assert (tmp_path / "store" / "results.jsonl").read_bytes() == (tmp_path / "one" / "results.jsonl").read_bytes()
    again = batch(tmp_path / "two", PROMPTS[:4], notes, store=url)
    assert {row.run for row in again.values()} == {row.run for row in rows.values()}
    assert len(notes.read("begin")) == 4, "nothing is drawn again"
    with pytest.raises(SettingsError, match="began otherwise"):
        run_batch(PROMPTS, out=tmp_path / "three", policy="best_of_n", cluster=Cluster(store=url))


@pytest.mark.slow
def test_the_embedded_models_draw_what_the_local_batch_draws(ray, tmp_path):
    prompts = ["a cat holding a red umbrella", "a fox riding a red bicycle, next to a bear holding a blue balloon"]
    how = {"steps": 8, "policy": "best_of_n"}
    local = {row.prompt: row for row in run_batch(prompts, out=tmp_path / "here", **how).rows()}
    there = run_batch(prompts, out=tmp_path / "there", cluster=Cluster(replicas=2, cpus_per_replica=1), **how)
    rows = {row.prompt: row for row in there.rows()}
    assert rows.keys() == local.keys()
    for prompt, row in rows.items():
        here = local[prompt]
        assert (row.id, row.best, row.passed, row.checks, row.stop) == (
            here.id,
            here.best,
            here.passed,
            here.checks,
            here.stop,
        )
        one, other = read_run(tmp_path / "here" / here.run), read_run(tmp_path / "there" / row.run)
        assert [*one.images] == [*other.images]
        for image in one.images:
            assert difference(one.path(image), other.path(image)).largest <= TOLERANCE
