"""One rate for the calls of all replicas."""

import sys
import threading
import time

from detailscribe.agent import Cluster, run_batch
from detailscribe.agent.batch import replica
from detailscribe.agent.settings.loading import load
from detailscribe.agent.settings.models import Models
from detailscribe.tools import cluster

from ..chat_server.protocol import MODEL
from .quick import Looker, Notes, Painter


async def test_turns_are_as_far_apart_as_the_rate_says_whoever_takes_them(monkeypatch):
    slept = []

    class Clock:
        @staticmethod
        def monotonic():
            return 100.0

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(cluster, "time", Clock)
    monkeypatch.setattr(cluster.asyncio, "sleep", sleep)
    shared = cluster.Turns()
    for _ in range(3):
        await shared.take("model@here", 0.5)
    await shared.take("another@here", 0.5)
    assert slept == [0.0, 2.0, 4.0, 0.0]


async def test_what_a_replica_loads_takes_the_turns_of_all(server, tmp_path, monkeypatch):
    """Whether the caller's function makes the models or the settings name them."""
    monkeypatch.setattr(replica, "shared_limiter", lambda actor, settings: (actor, settings.name))
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = []

    def models(settings):
        made.append(Models(settings, diffusion=Painter(Notes(tmp_path / "notes"), 0.0), critic=Looker()))
        return made[0]

    loaded = load({"chat": {"model": MODEL, "url": server.url, "cache": "off", "requests_per_minute": 6000}})
    (tmp_path / "batch.json").touch()
    await replica.Replica(loaded, models, tmp_path, None, 1, "the-actor", "nowhere", ()).ready()
    language = made[0].language
    assert language._server._limiter == ("the-actor", language.name)


class Counter:
    """Stands before the server; notes when calls come, and how many are there at once."""

    def __init__(self, server, pause):
        self.times, self.here, self.peak = [], 0, 0
        self._chat, self._pause, self._lock = server.chat, pause, threading.Lock()

    def __call__(self, data, key):
        with self._lock:
            self.times.append(time.monotonic())
            self.here += 1
            self.peak = max(self.peak, self.here)
        time.sleep(self._pause)
        answer = self._chat(data, key)
        with self._lock:
            self.here -= 1
        return answer


def decomposed(server, folder, count, concurrency, **chat):
    """Run prompts that one endpoint decomposes on two replicas; each has one call under way at a time."""
    notes = str(folder / "notes")

    def asking(settings):
        return Models(settings, diffusion=Painter(Notes(notes), 0.0), critic=Looker())

    done = run_batch(
        ["a cat holding a red umbrella"] * count,
        settings={"chat": {"model": MODEL, "url": server.url, "cache": "off"} | chat},
        out=folder / "out",
        policy="single",
        concurrency=concurrency,
        cluster=Cluster(replicas=2, cpus_per_replica=1, roles=asking),
    )
    assert [row.message for row in done.rows() if row.error] == []
    assert done.tally.done == count


def test_replicas_ask_one_endpoint_no_faster_than_one_process_may(ray, server, tmp_path, monkeypatch):
    counter, per_minute = Counter(server, 0), 90
    monkeypatch.setattr(server, "chat", counter)
    decomposed(server, tmp_path, 8, 4, requests_per_minute=per_minute)
    last = counter.times[2:]  # the first call of each replica comes late, since it imports the SDK
    assert len(last) == 6
    assert last[-1] - last[0] >= 0.75 * 5 * 60 / per_minute, "twice as fast would be a limiter for each"


def test_a_slow_endpoint_holds_back_the_runs_behind_it(ray, server, tmp_path, monkeypatch):
    counter = Counter(server, 0.5)
    monkeypatch.setattr(server, "chat", counter)
    decomposed(server, tmp_path, 10, 2)
    assert len(counter.times) >= 10
    assert counter.peak <= 2 * 2, "no more runs are under way than replicas have places"
