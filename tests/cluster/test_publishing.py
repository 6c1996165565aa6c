"""A run in a store is complete or does not count; what a cluster is asked for can be had."""

import pickle
import shutil
import sys
import tempfile
from functools import partial
from uuid import uuid4

import pytest

from detailscribe.agent import BestOfN, Cluster, Single, run, run_batch
from detailscribe.agent.batch import replica as replicas
from detailscribe.agent.batch.batch import RemoteFailure
from detailscribe.agent.batch.jobs import Job
from detailscribe.agent.batch.replica import RunStore, private_folder
from detailscribe.agent.settings.loading import load
from detailscribe.agent.settings.models import Models
from detailscribe.tools.errors import SettingsError

from ..agent.fakes import PROMPT, roles
from ..agent.test_not_heard import Digested, Silent


@pytest.fixture
def url():
    return f"memory://{uuid4().hex}"


@pytest.fixture
def finished(tmp_path):
    return run(PROMPT, out=tmp_path / "finished", **roles({"00-00": "red"}))


def test_the_records_of_a_published_run_can_be_fetched(url, finished, tmp_path):
    store = RunStore(url)
    assert store.fetch("runs/cat", tmp_path / "copy") is None
    store.publish(finished.folder, "runs/cat")
    assert store.fetch("runs/cat", tmp_path / "copy") == finished.result
    assert (tmp_path / "copy" / "events.jsonl").read_bytes() == (finished.folder / "events.jsonl").read_bytes()
    assert store.read(f"runs/cat/{finished.best.record.path}") == finished.best.path.read_bytes()
    assert store.read("runs/cat/.lock") is None


def test_a_run_that_was_published_in_part_does_not_count(url, finished, tmp_path, monkeypatch):
    store = RunStore(url)
    store.publish(finished.folder, "runs/cat")
    (finished.folder / "zz.txt").write_text("the last by its name")
    written = [path for path in finished.folder.rglob("*") if path.is_file()]
    put, left = store.put, [len(written) - 1]

    def fail(reference, data):
        left[0] -= 1
        if left[0] < 0:
            raise SettingsError("the bucket is full")
        put(reference, data)

    monkeypatch.setattr(store, "put", fail)
    with pytest.raises(SettingsError, match="full"):
        store.publish(finished.folder, "runs/cat")
    assert store.fetch("runs/cat", tmp_path / "copy") is None, "nor does what lay there before"


@pytest.fixture
def replica(url, finished, tmp_path, monkeypatch):
    """A replica in this process whose jobs end as the finished run, with scratch folders below ``tmp_path``."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    async def run_job(job, folder, loaded, models):
        shutil.copytree(finished.folder, folder, dirs_exist_ok=True)
        if job.prompt == "it fails":
            raise RuntimeError("it failed")
        return finished

    monkeypatch.setattr(replicas, "run_job", run_job)
    make = partial(Models, **roles({}))
    return replicas.Replica(load(), make, tmp_path, url, 1, None, "nowhere", ())


def job(prompt=PROMPT):
    return Job("cat", prompt, 1, Single())


async def test_a_published_run_is_not_published_again_and_no_scratch_folder_stays(url, finished, replica, monkeypatch):
    first = await replica.run(job())
    assert RunStore(url).read("runs/cat/result.json") is not None
    monkeypatch.setattr(RunStore, "publish", lambda *_: pytest.fail("it is there"))
    assert await replica.run(job()) == first == finished.result
    await replica.stop()
    assert not replica._scratch.exists()


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_run_with_checks_that_had_no_answer_draws_nothing_when_it_is_run_again(
    url, tmp_path, monkeypatch, is_stored
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    where = url if is_stored else None

    async def perform(silent):
        chosen = roles({}, critic=Silent(silent), diffusion=Digested(writes_latents=True))
        replica = replicas.Replica(load(), partial(Models, **chosen), tmp_path, where, 1, None, "nowhere", ())
        result = await replica.run(Job("cat", PROMPT, 1, BestOfN(n=2)))
        return result.is_heard, [image.id for image in chosen["diffusion"].requests], sorted(chosen["critic"].asked)

    assert await perform({"00-01": "alone"}) == (False, ["00-00", "00-01"], ["00-00", "00-01"])
    assert await perform({}) == (True, [], ["00-01"])
    assert not [*tmp_path.rglob("cache.sqlite")]
    assert RunStore(url).read("runs/cat/cache.sqlite") is None


async def test_a_run_that_failed_is_not_published_and_its_error_comes_in_words(url, replica):
    with pytest.raises(RemoteFailure, match="it failed") as raised:
        await replica.run(job("it fails"))
    assert pickle.loads(pickle.dumps(raised.value)).kind == "RuntimeError"
    assert RunStore(url).read("runs/cat/manifest.json") is None
    assert not (replica._scratch / "cat").exists()


def test_a_private_folder_is_the_same_again_unless_another_user_can_reach_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = private_folder("mine")
    assert mine == private_folder("mine") == tmp_path / "mine"
    assert mine.stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(mine)
    (tmp_path / "file").write_text("")
    for name in ("open", "link", "file"):
        found = private_folder(name)
        assert found.parent == tmp_path
        assert (found.name == name, found.is_symlink(), found.stat().st_mode & 0o777) == (False, False, 0o700)
    monkeypatch.setattr("os.getuid", lambda: mine.stat().st_uid + 1)
    assert private_folder("mine") != mine


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicas": 0}, "between 1 and 10000"),
        ({"cpus_per_replica": -1.0}, "at least 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(SettingsError, match=message):
        Cluster(**options)


def test_a_store_without_its_library_and_a_store_without_runs_are_refused(tmp_path):
    for url, keep, message in (("nowhere://x", True, "cannot store runs"), ("memory://x", False, "--no-runs")):
        with pytest.raises(SettingsError, match=message):
            run_batch([PROMPT], out=tmp_path / "out", keep_runs=keep, cluster=Cluster(store=url))
        assert not (tmp_path / "out").exists()


def test_roles_that_are_here_cannot_be_on_a_cluster(tmp_path):
    with pytest.raises(SettingsError, match="Cluster"):
        run_batch([PROMPT], out=tmp_path / "out", cluster=Cluster(), **roles({}))


def test_shares():
    assert Cluster(replicas=3).share(16, 0) == (5, 0)
    assert Cluster(replicas=4).share(2, 0) == (1, 0)
    assert Cluster(replicas=2).share(16, 2) == (8, 1)
    assert Cluster(replicas=4, gpus_per_replica=0.5, cpus_per_replica=0.5).share(16, 2) == (0.5, 0.5)
