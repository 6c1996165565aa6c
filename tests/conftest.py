"""What tests of several folders share: the chat server of the embedded world."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .chat_server.server import ChatServer


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
