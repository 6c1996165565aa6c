"""The questions that a benchmark ships with each prompt, put to a chat model that sees."""

import asyncio
from math import prod
from statistics import mean
from typing import Literal

from pydantic import BaseModel

from ...prompts import load, spellings
from ...state import Exchange, OwnQuestion
from ..blocking import gather_or_cancel
from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Picture, Question
from ..vision.questions import YesNo, read_picture
from .metric import AskingMetric, Sample, Score, missing

How = Literal["mean", "geometric", "gated"]
"""mean: arithmetic, over questions (Soft-TIFA AM, arXiv 2512.16853); geometric: over questions, which one failure
brings near to 0 (Soft-TIFA GM); gated: arithmetic, where a question about entities of which one fails counts 0, as in
EGIP."""

_HALF = 0.5
"""An entity passes above it."""


class OwnAnswer(BaseModel):
    """The answer to a question whose expected one is yes."""

    answer: YesNo


class OwnQuestions(AskingMetric):
    """The score of a prompt's own questions, in [0, 1].

    Each is asked by itself and without the prompt: P(expected answer) where the server gives probabilities, else 1 or
    0 by a yes/no verdict. What gets no answer counts neither way; the geometric mean is then missing, the others where
    fewer than half are answered.
    """

    def __init__(self, chat: ChatModel, how: How = "mean") -> None:
        self._chat, self._how, self._template = chat, how, load("own_question")

    async def rate(self, sample: Sample) -> Score:
        """The score of one sample; missing for a prompt without questions of its own."""
        asked = sample.questions
        if not asked:
            return missing("no question of a benchmark is known for the prompt: give its file with --prompts")
        picture = await asyncio.to_thread(read_picture, sample.store, sample.image)
        answers = await gather_or_cancel(self._answer(question, picture) for question in asked)
        likely, exchanges = [value for value, _, _ in answers], tuple(e for _, made, _ in answers for e in made)
        if self._how == "gated":
            likely = [gated(n, asked, likely) for n in range(len(asked))]
        known = [value for value in likely if value is not None]
        if 2 * len(known) < len(asked) or (self._how == "geometric" and len(known) < len(asked)):
            reasons = "; ".join(dict.fromkeys(why for _, _, why in answers if why))
            return missing(f"{len(asked) - len(known)} of {len(asked)} questions have no answer ({reasons})", exchanges)
        value = prod(known) ** (1 / len(known)) if self._how == "geometric" else mean(known)
        shown = (f"{q.kind or q.aspect} {'-' if v is None else f'{v:.2f}'}" for q, v in zip(asked, likely, strict=True))
        return Score(value=value, note=", ".join(shown), exchanges=exchanges)

    async def _answer(self, asked: OwnQuestion, picture: Picture) -> tuple[float | None, tuple[Exchange, ...], str]:
        """P(expected answer), what was asked for it, and why there is none."""
        is_no = asked.answer == "no"
        wanted = ("yes",) if is_no else spellings(asked.answer)
        try:
            found = await self._chat.likelihood(self._question(asked.question, picture), wanted)
            if found.probability is not None:
                return 1 - found.probability if is_no else found.probability, (found.exchange,), ""
            reply = await self._chat.ask(self._question(asked.as_check, picture), OwnAnswer)
        except ReplyError as error:
            return None, error.exchanges, error.reason
        said, exchanges = reply.value.answer, (found.exchange, *reply.exchanges)
        if said == "unclear":
            return None, exchanges, "the model cannot tell"
        return float(said == "yes"), exchanges, ""

    def _question(self, text: str, picture: Picture) -> Question:
        text, template = self._template.render(question=text), self._template.label
        return Question(name="own_question", system="", text=text, pictures=(picture,), template=template)


def gated(place: int, asked: tuple[OwnQuestion, ...], likely: list[float | None]) -> float | None:
    """The value of one question, 0 where an entity that it speaks of fails; None where one of them is not known."""
    entities = [likely[parent] for parent in asked[place].depends_on]
    if any(value is not None and value <= _HALF for value in entities):
        return 0.0
    return None if None in entities else likely[place]
