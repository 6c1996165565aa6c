"""A cluster that was started ends, and one that was there stays; and one process at a time has a name."""

import sys
from types import SimpleNamespace

import pytest

from detailscribe.tools import cluster
from detailscribe.tools.errors import SettingsError


class FakeRay:
    """Has clusters at some addresses, and notes its calls."""

    def __init__(self, there=(), connected=False, error=ConnectionError):
        self.there, self.connected, self.error, self.done = {*there, "local"}, connected, error, []

    def is_initialized(self):
        return self.connected

    def init(self, address, **_):
        if address not in self.there:
            raise self.error("nobody is there")
        self.done.append(address)
        return SimpleNamespace(address_info={"gcs_address": "10.0.0.1:6379"})

    def shutdown(self):
        self.done.append("shutdown")


def join(monkeypatch, ray, address):
    """The news of joining it and of its end."""
    monkeypatch.setattr(cluster, "ray_library", lambda: ray)
    monkeypatch.setattr(cluster.socket, "create_connection", lambda *where, **how: SimpleNamespace(close=lambda: None))
    news = []
    with cluster.joined(address, 2, news.append) as found:
        assert found is ray
        assert "shutdown" not in ray.done
    return news


@pytest.mark.parametrize(
    ("there", "address", "done", "told"),
    [
        ((), "auto", ["local", "shutdown"], "no Ray cluster runs here: started one on this machine"),
        (("auto",), "auto", ["auto", "shutdown"], "joined the Ray cluster at 10.0.0.1:6379"),
        (("auto",), "local", ["local", "shutdown"], "started a Ray cluster on this machine"),
        (("host:1",), "host:1", ["host:1", "shutdown"], "joined the Ray cluster at 10.0.0.1:6379"),
    ],
)
def test_where_it_goes_and_that_it_says_so(monkeypatch, there, address, done, told):
    ray = FakeRay(there)
    assert join(monkeypatch, ray, address) == [told]
    assert ray.done == done


def test_a_connection_that_was_there_stays(monkeypatch):
    ray = FakeRay(connected=True)
    assert join(monkeypatch, ray, "auto") == ["using the Ray cluster that this process has joined"]
    assert ray.done == []


@pytest.mark.parametrize(
    ("address", "error", "told"),
    [
        ("host:1", ConnectionError, "ray start"),
        ("host:1", RuntimeError, "cannot join the Ray cluster at host:1"),
        ("ray://host:1", ConnectionError, "on a machine of the cluster"),
    ],
)
def test_a_cluster_that_cannot_be_joined(monkeypatch, address, error, told):
    with pytest.raises(SettingsError, match=told):
        join(monkeypatch, FakeRay(error=error), address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no.such.host.invalid:6379", "host", ":1", "host:port"])
def test_an_address_where_nothing_listens_is_refused_at_once(monkeypatch, address):
    monkeypatch.setattr(cluster, "ray_library", FakeRay)
    with pytest.raises(SettingsError, match="there is no Ray cluster at"), cluster.joined(address, 2):
        pass


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"detailscribe\[ray\]"):
        cluster.ray_library()


def test_one_process_at_a_time_has_a_name(ray):
    def claim(patience):
        with cluster.shared_turns(ray, "the-store", "the store", patience):
            return True

    with cluster.shared_turns(ray, "the-store", "the store"), pytest.raises(SettingsError, match="works on the store"):
        claim(0)
    assert claim(20), "it is free again"
