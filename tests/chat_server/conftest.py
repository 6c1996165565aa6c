"""The chat server as a fixture: started once, reset for every test."""

from collections.abc import Iterator

import pytest

from .server import ChatServer


@pytest.fixture(scope="session")
def running() -> Iterator[ChatServer]:
    server = ChatServer().start()
    yield server
    server.stop()


@pytest.fixture
def server(running: ChatServer) -> Iterator[ChatServer]:
    running.reset()
    yield running
    running.reset()
