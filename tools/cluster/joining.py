"""Into a Ray cluster and out of it again: what was started here ends here, and nothing else does."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from ..errors import SettingsError
from .library import library

NAMESPACE = "detailscribe"
"""Of named actors."""
OBJECTS = 256 * 2**20
"""Bytes of the object store of a cluster that is started here; what is more goes to the disk."""


@contextmanager
def joined(address: str, cpus: int, news: Callable[[str], object] = lambda line: None) -> Generator[Any]:
    """Ray, connected to a cluster.

    Args:
        address: ``auto`` for the cluster that runs here, or else one of this machine; ``local`` for one of this
            machine; or ``host:port``. A connection that this process has is used, whatever the address.
        cpus: Of a cluster that is started here, at least.
        news: Told where that is.

    Raises:
        SettingsError: Ray is not installed, or there is no cluster at the address, or it is of another version.
    """
    ray = library()
    if ray.is_initialized():
        news("using the Ray cluster that this process has joined")
        yield ray
        return
    _connect(ray, address, cpus, news)
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str, cpus: int, news: Callable[[str], object]) -> None:
    if address.startswith("ray://"):
        raise SettingsError(f"{address} is that of a proxy: start on a machine of the cluster, with --ray auto")
    if address == "local":
        _start(ray, cpus)
        news("started a Ray cluster on this machine")
        return
    try:
        found = ray.init(address=address, **_common())
    except ConnectionError as error:
        if address != "auto":
            raise SettingsError(f"there is no Ray cluster at {address}: `ray start --head` starts one") from error
        _start(ray, cpus)
        news("no Ray cluster runs here: started one on this machine")
    except (RuntimeError, ValueError) as error:
        raise SettingsError(f"cannot join the Ray cluster at {address}: {error}") from error
    else:
        news(f"joined the Ray cluster at {found.address_info['gcs_address']}")


def _start(ray: Any, cpus: int) -> None:
    resources = {"num_cpus": max(cpus, 1), "object_store_memory": OBJECTS, "include_dashboard": False}
    ray.init(address="local", **resources, **_common())


def _common() -> dict[str, Any]:
    return {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
