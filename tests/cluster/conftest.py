"""One Ray cluster for the tests that need none of their own."""

import os
from pathlib import Path

import pytest

MARK = "TESTED_BATCH"
"""A variable that every process of a cluster inherits, by which it is found."""


@pytest.fixture(scope="session")
def ray(tmp_path_factory):
    """Ray, connected to a small cluster of this machine; processes of it are far from the tests' own modules."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from detailscribe.tools.cluster import ray_library

    ray = ray_library()
    from . import quick

    ray.cloudpickle.register_pickle_by_value(quick)
    small = {"num_cpus": 4, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    ray.init(address="local", namespace="detailscribe", log_to_driver=False, logging_level="ERROR", **small)
    yield ray
    ray.shutdown()


AGENTS = (b"ray::DashboardAgent", b"ray::RuntimeEnvAgent")
"""Of Ray; they notice after a minute that what they belong to was killed."""


def processes_of(mark, but=()):
    """Ids of the processes that have the mark in their environment, but for this one and those of some names."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            environment, name = (Path(f"/proc/{entry}/{part}").read_bytes() for part in ("environ", "cmdline"))
            marked = f"{MARK}={mark}".encode() in environment.split(b"\0") and int(entry) != os.getpid()
            if marked and not name.startswith(but):
                found.append(int(entry))
        except (OSError, ValueError):
            continue
    return found
