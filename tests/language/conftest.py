"""What the tests of the language tools share: a scripted server, and chat models on it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from detailscribe.tools.language.chat import ChatModel
from detailscribe.tools.language.settings import ChatSettings

from .scripted import KEY, Server


@pytest.fixture(autouse=True)
def without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as started:
        yield started


@pytest.fixture
def chat(server: Server) -> Callable[..., ChatModel]:
    """A chat model on the server; tests name the settings that matter to them."""

    def make(**settings: Any) -> ChatModel:
        common = {"model": "m", "base_url": server.url, "api_key": SecretStr(KEY), "timeout": 5}
        return ChatModel(ChatSettings(**{**common, "transport_retries": 0, **settings}))

    return make
