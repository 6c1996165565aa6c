"""Language models behind the chat-completions protocol: what they are asked, and the decomposer."""

from .chat import ChatModel
from .decomposer import ChatDecomposer
from .question import Likelihood, Picture, Question, Reply
from .settings import ChatSettings

__all__ = ["ChatDecomposer", "ChatModel", "ChatSettings", "Likelihood", "Picture", "Question", "Reply"]
