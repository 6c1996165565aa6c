"""A run in a store is complete or does not count."""

from uuid import uuid4

import pytest

from detailscribe.agent import run, run_batch
from detailscribe.agent.cluster.homes import published
from detailscribe.agent.cluster.publishing import RunStore
from detailscribe.agent.cluster.wish import Cluster, share_of
from detailscribe.tools.errors import SettingsError

from ..agent.fakes import PROMPT, roles


class Named:
    folder = "cat"


@pytest.fixture
def url():
    return f"memory://{uuid4().hex}"


@pytest.fixture
def finished(tmp_path):
    return run(PROMPT, out=tmp_path / "finished", **roles({"00-00": "red"}))


def test_what_was_published_tells_of_itself_again(url, finished, tmp_path):
    store = RunStore(url)
    assert store.fetch("runs/cat", tmp_path / "copy") is None
    store.publish(finished.folder, "runs/cat")
    assert store.fetch("runs/cat", tmp_path / "copy") == (finished.folder / "result.json").read_bytes()
    assert (tmp_path / "copy" / "events.jsonl").read_bytes() == (finished.folder / "events.jsonl").read_bytes()
    assert store.read(f"runs/cat/{finished.best.record.path}") == finished.best.path.read_bytes()
    assert store.read("runs/cat/.lock") is None


def test_a_store_that_fails_on_the_way_leaves_nothing_that_counts(url, finished, tmp_path, monkeypatch):
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


async def test_a_published_run_is_not_published_again_and_leaves_no_scratch(url, finished, tmp_path, monkeypatch):
    store, scratch = RunStore(url), tmp_path / "scratch" / "cat"

    async def again():
        scratch.mkdir(parents=True, exist_ok=True)
        (scratch / "result.json").write_bytes((finished.folder / "result.json").read_bytes())
        return finished

    first = await published(store, Named, scratch, again)
    assert store.read("runs/cat/result.json") is not None
    monkeypatch.setattr(store, "publish", lambda *_: pytest.fail("it is there"))
    assert await published(store, Named, scratch, again) == first == finished.result
    assert not scratch.parent.exists()


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"replicas": 0}, "at least 1"),
        ({"cpus_per_replica": -1.0}, "at least 0"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(wish, told):
    with pytest.raises(SettingsError, match=told):
        Cluster(**wish)


def test_a_store_without_its_library_and_a_store_without_runs_are_refused(tmp_path):
    for wish, keep, told in (("nowhere://x", True, "cannot store runs"), ("memory://x", False, "--no-runs")):
        with pytest.raises(SettingsError, match=told):
            run_batch([PROMPT], out=tmp_path / "out", keep_runs=keep, cluster=Cluster(store=wish))
        assert not (tmp_path / "out").exists()


def test_roles_that_are_here_cannot_be_on_a_cluster(tmp_path):
    with pytest.raises(SettingsError, match="Cluster"):
        run_batch([PROMPT], out=tmp_path / "out", cluster=Cluster(), **roles({}))


def test_shares():
    def share(cpus, gpus, **wish):
        found = share_of(Cluster(**wish), cpus, gpus)
        return found.cpus, found.gpus, found.threads

    assert share(16, 0, replicas=3) == (5, 0, 5)
    assert share(2, 0, replicas=4) == (1, 0, 1)
    assert share(16, 2, replicas=2) == (8, 1, 8)
    assert share(16, 2, replicas=4, gpus_per_replica=0.5, cpus_per_replica=0.5) == (0.5, 0.5, 1)
