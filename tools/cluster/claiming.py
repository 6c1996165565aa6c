"""One process at a time on what a name stands for, among all of a cluster."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ..errors import SettingsError

PATIENCE = 20.0
"""Seconds until the name of a process that was killed is free for sure."""
_LOOK_AGAIN = 0.5


class Claim:
    """An actor that does nothing but have a name; it ends with the process that started it."""


@contextmanager
def claimed_name(ray: Any, name: str, what: str, patience: float = PATIENCE) -> Generator[None]:
    """The name, ours alone.

    Raises:
        SettingsError: another process has it; the message tells ``what`` that is.
    """
    actor = _claim(ray, name, what, time.monotonic() + patience)
    try:
        yield
    finally:
        ray.kill(actor)


def _claim(ray: Any, name: str, what: str, deadline: float) -> Any:
    while True:
        try:
            return ray.remote(num_cpus=0, name=name)(Claim).remote()
        except ValueError as error:
            if time.monotonic() > deadline:
                raise SettingsError(f"another process of this cluster is at work on {what}: wait for it") from error
        time.sleep(_LOOK_AGAIN)
