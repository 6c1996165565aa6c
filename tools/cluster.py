"""A Ray cluster, whatever runs on it: how a process joins one, and one rate of calls for all of its processes.

Ray is imported when a cluster is joined.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from .errors import SettingsError
from .language.settings import ChatSettings

_NAMESPACE = "detailscribe"
"""Of named actors."""
_OBJECTS = 256 * 2**20
"""Bytes of the object store of a cluster that is started here; what is more goes to the disk."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the default of later versions; without it each process warns
    "RAY_worker_niceness": "0",  # by default workers give way to every other process, and here they do all the work
}
"""Variables of the processes that are started here, where the environment does not set them."""


def ray_library() -> Any:
    """The module ``ray``; ``SettingsError`` if it is not installed."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise SettingsError('Ray is not installed: pip install "detailscribe[ray]"') from error
    return ray


@contextmanager
def joined(address: str, cpus: int, news: Callable[[str], object] = lambda line: None) -> Generator[Any]:
    """Ray, connected to a cluster; one that is started here, with at least so many CPUs, ends with the block.
    ``address`` is ``auto`` for the cluster that runs here, or else a new one; ``local`` for a new one; or
    ``host:port``. A connection that this process has is used, whatever the address."""
    ray = ray_library()
    if ray.is_initialized():
        news("using the Ray cluster that this process has joined")
        yield ray
        return
    news(_connect(ray, address, cpus))
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str, cpus: int) -> str:
    """Join or start a cluster; a line that says which."""
    common: dict[str, Any] = {"namespace": _NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
    new = common | {"num_cpus": max(cpus, 1), "object_store_memory": _OBJECTS, "include_dashboard": False}
    if address.startswith("ray://"):
        raise SettingsError(f"{address} is the address of a proxy: start on a machine of the cluster, with --ray auto")
    try:
        if address not in ("auto", "local"):  # where nothing listens, Ray would try to connect for a minute
            place = urlsplit(f"//{address}")
            if not (place.hostname and place.port):
                raise ValueError("it should read host:port")
            socket.create_connection((place.hostname, place.port), timeout=10).close()
    except (OSError, ValueError) as error:
        start = "`ray start --head` starts one"
        raise SettingsError(f"there is no Ray cluster at {address!r} ({error}): {start}") from error
    started = "started a Ray cluster on this machine"
    if address != "local":
        try:
            found = ray.init(address=address, **common)
            return f"joined the Ray cluster at {found.address_info['gcs_address']}"
        except ConnectionError as error:
            if address != "auto":
                raise SettingsError(f"there is no Ray cluster at {address}: `ray start --head` starts one") from error
            started = "no Ray cluster runs here: started one on this machine"
        except (RuntimeError, ValueError) as error:
            raise SettingsError(f"cannot join the Ray cluster at {address}: {error}") from error
    ray.init(address="local", **new)
    return started


class Turns:
    """The actor that spaces the calls of many processes evenly in time, for each server and model."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    async def take(self, name: str, rate: float) -> None:
        """Return when the next call to ``name`` may be made; ``rate`` in calls a second."""
        turn = max(time.monotonic(), self._next.get(name, 0.0))
        self._next[name] = turn + 1 / rate
        await asyncio.sleep(turn - time.monotonic())


class SharedLimiter:
    """Waits for turns of the actor of a name, in place of a limiter of this process."""

    def __init__(self, actor: str, model: str, requests_per_minute: float) -> None:
        self._turns, self._model, self._rate = ray_library().get_actor(actor), model, requests_per_minute / 60

    async def aacquire(self) -> None:
        """Return when the caller may go."""
        await self._turns.take.remote(self._model, self._rate)


def shared_limiter(actor: str, settings: ChatSettings) -> SharedLimiter | None:
    """The limiter of a model on its server, with turns of the actor of a name; None where no rate is set."""
    rate = settings.requests_per_minute
    return None if rate is None else SharedLimiter(actor, settings.name, rate)


@contextmanager
def shared_turns(ray: Any, name: str, what: str, patience: float = 20.0) -> Generator[None]:
    """A ``Turns`` actor under a name that no other process of the cluster can have meanwhile; ``what`` is what the
    process with the name works on, for the message. After a kill it takes some seconds until a name is free."""
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 10_000}
    retrying = Retrying(
        stop=stop_after_delay(patience), wait=wait_fixed(0.5), retry=retry_if_exception_type(ValueError), reraise=True
    )
    try:
        actor = retrying(lambda: ray.remote(**options, name=name)(Turns).remote())
    except ValueError as error:
        raise SettingsError(f"another process of this cluster works on {what}: wait for it") from error
    try:
        yield
    finally:
        ray.kill(actor)
