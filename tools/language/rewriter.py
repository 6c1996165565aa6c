"""A more detailed prompt before anything is drawn: what a chat model can do for a picture that it never sees."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from ...prompts import TemplateError, load
from ..errors import SettingsError
from ..roles import Rewritten
from ..sentences import count_words, opening, repaired
from ..text import one_line
from .chat import ChatModel
from .question import Question


class RewrittenAnswer(BaseModel):
    """What the model answers on the wire."""

    prompt: Annotated[str, Field(min_length=1, max_length=4000)]


class ChatRewriter:
    """Asks a chat model once; an answer that breaks the rules is repaired as a corrected prompt is.

    Args:
        chat: the model.
        templates: folder of the user's own templates, which replace those that ship.
        words: length of the prompt at most; a user's prompt that fills it is left alone.

    Raises:
        SettingsError: a template there cannot be read or has other variables than the one it replaces.
    """

    def __init__(self, chat: ChatModel, templates: Path | None = None, *, words: int = 70) -> None:
        self._chat = chat
        self._words = words
        try:
            self._system, self._text = load("rewrite_system", templates), load("rewrite", templates)
        except TemplateError as error:
            raise SettingsError(str(error)) from error

    @property
    def model(self) -> str:
        """Model and server."""
        return self._chat.name

    async def rewrite(self, prompt: str) -> Rewritten:
        """The prompt and what the model says beyond it, in whole sentences.

        Raises:
            ModelError: the model or its server cannot be used.
            ReplyError: no answer of the model is a prompt.
        """
        if count_words(opening(prompt)) >= self._words:
            return Rewritten(opening(prompt))
        question = Question(
            name="rewritten_prompt",
            system=self._system.render(words=self._words),
            text=self._text.render(prompt=prompt, words=self._words),
            template=f"{self._system.label} {self._text.label}",
        )
        reply = await self._chat.ask(question, RewrittenAnswer)
        return Rewritten(repaired(prompt, one_line(reply.value.prompt), self._words), reply.exchanges)
