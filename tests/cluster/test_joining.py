"""Into a cluster and out of it: what was started ends, what was there stays."""

import sys
from types import SimpleNamespace

import pytest

from detailscribe.tools.cluster import joining
from detailscribe.tools.cluster.claiming import claimed_name
from detailscribe.tools.cluster.library import library
from detailscribe.tools.errors import SettingsError


class FakeRay:
    """Has clusters at some addresses, and notes what is asked of it."""

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
    """What is told, once it was joined and left."""
    monkeypatch.setattr(joining, "library", lambda: ray)
    news = []
    with joining.joined(address, 2, news.append) as found:
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


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"detailscribe\[ray\]"):
        library()


def test_a_name_is_claimed_by_one_at_a_time(ray):
    def claim(patience):
        with claimed_name(ray, "the-store", "the store", patience):
            return True

    with claimed_name(ray, "the-store", "the store"), pytest.raises(SettingsError, match="at work on the store"):
        claim(0)
    assert claim(20), "it is free again"
