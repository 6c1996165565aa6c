"""The noun phrases that a prompt names, each of which a picture should show."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from pydantic import BaseModel, Field

from ...prompts import counted, load
from ...state import ConceptGraph, Entity
from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Question
from .metric import Sample

MOST = 8
"""Phrases of one prompt that are asked for, the first; as many as the published evaluation takes."""

Phrases = Callable[[Sample], Awaitable[tuple[str, ...] | str]]
"""The noun phrases of a sample's prompt, or the reason why there are none."""

_PREPOSITION = re.compile(r"^(?:in|on|at|under|inside|by|near|over)\s+", re.IGNORECASE)
_VOWEL = re.compile(r"^[aeiou]", re.IGNORECASE)


async def phrases_of_concepts(sample: Sample) -> tuple[str, ...] | str:
    """Those of the sample's concepts: every entity with its attributes and its number, then the place."""
    if sample.concepts is None:
        return "the prompt was not taken apart, so its noun phrases are not known"
    return noun_phrases(sample.concepts)


def noun_phrases(concepts: ConceptGraph) -> tuple[str, ...]:
    """``a red umbrella``, ``two foxes``, ``the beach``; at most ``MOST``, each once."""
    place = () if concepts.scene is None else (_PREPOSITION.sub("", concepts.scene.strip()),)
    return tuple(dict.fromkeys((*map(_phrase, concepts.entities), *place)))[:MOST]


class ChatPhrases:
    """Has a chat model name the noun phrases of a prompt."""

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat
        self._system, self._text = load("rate_phrases_system"), load("rate_phrases")

    @property
    def identity(self) -> str:
        """Model and templates, which scores depend on."""
        return f"{self._chat.name} {self._system.label} {self._text.label}"

    async def __call__(self, sample: Sample) -> tuple[str, ...] | str:
        """The phrases in the order of the prompt; the reason where no usable answer came."""
        question = Question(
            name="noun_phrases",
            system=self._system.render(most=MOST),
            text=self._text.render(prompt=sample.prompt),
            template=f"{self._system.label} {self._text.label}",
        )
        try:
            reply = await self._chat.ask(question, PhrasesAnswer)
        except ReplyError as error:
            return f"no noun phrases: {error.reason}"
        return tuple(dict.fromkeys(" ".join(phrase.split()) for phrase in reply.value.phrases))[:MOST]


class PhrasesAnswer(BaseModel):
    """Noun phrases, in the order of the prompt."""

    phrases: Annotated[list[Annotated[str, Field(min_length=1, max_length=80)]], Field(min_length=1, max_length=16)]


def _phrase(entity: Entity) -> str:
    words = " ".join((*entity.attributes, entity.name))
    if entity.count > 1:
        return counted(entity.count, words)
    return f"{'an' if _VOWEL.match(words) else 'a'} {words}"
