"""What tests of several folders share: the chat server of the embedded world, and the folders beside the package."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .chat_server.server import ChatServer

ROOT = Path(__file__).parents[1]

# `benchmarks` and `training` are no part of the distribution, and lie at the top of the checkout. With a path entry
# for it, `state`, `tools`, ... would be importable under their bare names as well.
for name in ("training", "benchmarks"):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / name / "__init__.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For the whole suite a process a core, at most four; for files and folders that are named, only this one."""
    cores = min(4, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else 2
    if cores < 2 or not any(Path(path).resolve() in (ROOT, ROOT / "tests") for path in config.args):
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # or each process computes on all cores
    return cores


@pytest.fixture(scope="session")
def running() -> "Iterator[ChatServer]":
    from .chat_server.server import ChatServer

    server = ChatServer().start()
    yield server
    server.stop()


@pytest.fixture
def server(running: "ChatServer") -> "Iterator[ChatServer]":
    """Started once, reset for every test."""
    running.reset()
    yield running
    running.reset()
