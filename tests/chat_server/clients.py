"""The real roles, pointed at the test server."""

from detailscribe.tools.language.chat import ChatModel
from detailscribe.tools.language.settings import ChatSettings

from .protocol import MODEL
from .server import ChatServer


def settings(server: ChatServer, **changes: object) -> ChatSettings:
    """Impatient, and trying nothing twice, unless told otherwise."""
    chosen = {"model": MODEL, "base_url": server.url, "timeout": 30, "transport_retries": 0, "attempts": 1}
    return ChatSettings.model_validate(chosen | changes)


def chat(server: ChatServer, **changes: object) -> ChatModel:
    return ChatModel(settings(server, **changes))
