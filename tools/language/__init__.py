"""Language models behind the chat-completions protocol: what they are asked, and the decomposer.

Names are imported at their first use, so that settings can be read without a client.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .chat import ChatModel
    from .decomposer import ChatDecomposer
    from .question import Likelihood, Picture, Question, Reply
    from .settings import ChatSettings

__all__ = ["ChatDecomposer", "ChatModel", "ChatSettings", "Likelihood", "Picture", "Question", "Reply"]

_HOME = {"ChatDecomposer": "decomposer", "ChatModel": "chat", "ChatSettings": "settings"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME.get(name, 'question')}", __name__), name)
