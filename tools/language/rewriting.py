"""Variants of decomposing: none at all, and with a prompt that is rewritten before the first drawing."""

import asyncio
from pathlib import Path

from ...prompts import render
from ...state import Check, ConceptGraph, Entity
from ..roles import Decomposer, Rewriter, Rewritten, model_name
from ..sentences import count_words, opening, repaired
from ..text import one_line
from .chat import ChatModel
from .question import PromptAnswer, Wording, with_templates

WHOLE = "whole"
"""Id of the one check of a prompt that is not decomposed."""


class WholeDecomposer:
    """Does not decompose: one check asks for the whole prompt."""

    model = "no decomposition"

    async def decompose(self, prompt: str) -> ConceptGraph:
        """A graph of the picture alone, with one check."""
        check = Check(id=WHOLE, question=render("check_whole"), aspect="scene")
        return ConceptGraph(prompt=prompt, entities=(Entity(id="picture", name="picture"),), checks=(check,))


def is_whole(concepts: ConceptGraph | None) -> bool:
    """Whether the prompt was not decomposed, so that the share of passed checks says nothing."""
    return concepts is not None and [check.id for check in concepts.checks] == [WHOLE]


class RewritingDecomposer:
    """Another decomposer, with a rewritten prompt to draw from; the checks stay those of the user's prompt."""

    def __init__(self, decomposer: Decomposer, rewriter: Rewriter) -> None:
        self._decomposer, self._rewriter = decomposer, rewriter
        self.model = f"{model_name(decomposer)}, rewritten by {model_name(rewriter)}"

    async def decompose(self, prompt: str) -> ConceptGraph:
        """Raises as the two do; the exchanges of both are recorded."""
        concepts, rewritten = await asyncio.gather(self._decomposer.decompose(prompt), self._rewriter.rewrite(prompt))
        exchanges = (*concepts.exchanges, *rewritten.exchanges)
        return concepts.model_copy(update={"drawn_from": rewritten.prompt, "exchanges": exchanges})


class ChatRewriter:
    """Has a chat model write a more detailed prompt, without an image; an answer that breaks the rules is repaired as a
    corrected prompt is.

    The user's ``templates`` override those that ship; a user's prompt of ``words`` words or more stays as it is. Raises
    as ``Wording.load`` does.
    """

    def __init__(self, chat: ChatModel, templates: Path | None = None, *, words: int = 70) -> None:
        self._chat, self._words = chat, words
        self._wording = Wording.load("rewrite", "rewrite_system", templates)
        self.model = with_templates(chat.name, templates, "rewrite", "rewrite_system")

    async def rewrite(self, prompt: str) -> Rewritten:
        """The prompt and the model's additions, in whole sentences; raises as ``ChatModel.ask_for`` does."""
        if count_words(opening(prompt)) >= self._words:
            return Rewritten(opening(prompt))
        question = self._wording.question("rewritten_prompt", words=self._words, prompt=prompt)
        reply = await self._chat.ask(question, PromptAnswer)
        return Rewritten(repaired(prompt, one_line(reply.value.prompt), self._words), reply.exchanges)
