"""What tests of several folders share: the chat server of the embedded world, and the folders beside the package."""

import importlib.util
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
