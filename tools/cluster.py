"""Joins a Ray cluster, and limits the rate of calls of all its processes together.

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
"""Bytes of the object store of a cluster that is started here; Ray spills the rest to disk."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the default of later versions; without it each process warns
    "RAY_worker_niceness": "0",  # by default workers yield to other processes, but here they do all the work
}
"""Defaults of environment variables for the processes that are started here."""


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
    """Ray, connected to a cluster. ``address`` is ``auto`` for the cluster that runs here, or else a new one; ``local``
    for a new one; or ``host:port``; it is ignored if this process is connected already. A new cluster has ``cpus``
    CPUs and ends with the block. ``news`` is called with a line about the cluster."""
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
    """Join or start a cluster, and return a line that says which."""
    common: dict[str, Any] = {"namespace": _NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
    new = common | {"num_cpus": max(cpus, 1), "object_store_memory": _OBJECTS, "include_dashboard": False}
    if address.startswith("ray://"):
        raise SettingsError(f"{address} is the address of a proxy: start on a machine of the cluster, with --ray auto")
    try:
        if address not in ("auto", "local"):  # if nothing listens, Ray would try to connect for a minute
            parts = urlsplit(f"//{address}")
            if not (parts.hostname and parts.port):
                raise ValueError("it should read host:port")
            socket.create_connection((parts.hostname, parts.port), timeout=10).close()
    except (OSError, ValueError) as error:
        start = "`ray start --head` starts one"
        raise SettingsError(f"there is no Ray cluster at {address!r} ({error}): {start}") from error
    started = "started a Ray cluster on this machine"
    if address != "local":
        try:
            context = ray.init(address=address, **common)
            return f"joined the Ray cluster at {context.address_info['gcs_address']}"
        except ConnectionError as error:
            if address != "auto":
                raise SettingsError(f"there is no Ray cluster at {address}: `ray start --head` starts one") from error
            started = "no Ray cluster runs here: started one on this machine"
        except (RuntimeError, ValueError) as error:
            raise SettingsError(f"cannot join the Ray cluster at {address}: {error}") from error
    ray.init(address="local", **new)
    return started


class Turns:
    """The actor that spaces the calls of many processes evenly in time, per server and model."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    async def take(self, name: str, rate: float) -> None:
        """Return when the next call to ``name`` may be made; ``rate`` is in calls per second."""
        turn = max(time.monotonic(), self._next.get(name, 0.0))
        self._next[name] = turn + 1 / rate
        await asyncio.sleep(turn - time.monotonic())


class SharedLimiter:
    """A rate limiter that takes turns with other processes through the ``Turns`` actor with a name."""

    def __init__(self, actor: str, model: str, requests_per_minute: float) -> None:
        self._turns, self._model, self._rate = ray_library().get_actor(actor), model, requests_per_minute / 60

    async def aacquire(self) -> None:
        """Return when the next call may be made."""
        await self._turns.take.remote(self._model, self._rate)


def shared_limiter(actor: str, settings: ChatSettings) -> SharedLimiter | None:
    """The limiter of a model on its server, through the ``Turns`` actor with a name; None if no rate is set."""
    rate = settings.requests_per_minute
    return None if rate is None else SharedLimiter(actor, settings.name, rate)


@contextmanager
def shared_turns(ray: Any, name: str, what: str, patience: float = 20.0) -> Generator[None]:
    """A ``Turns`` actor with a name that only one process of the cluster can hold; ``what`` says in the message what
    that process works on. A killed process frees its name after some seconds."""
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
