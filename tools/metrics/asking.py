"""Metrics that ask a chat model that sees: ratings by a rubric, and VQAScore."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from ...prompts import Template, load
from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Question
from ..vision.questions import Remark, read_picture
from .metric import AskingMetric, Sample, Score, missing

RubricName = Literal["interactions", "layout"]
"""interactions: who does what with what, and how they touch; layout: where things stand, and what they form."""


def _number(value: object) -> object:
    """``"4"``, ``"4/5"`` and ``4.0`` are 4; anything else is left for the validation to refuse."""
    if isinstance(value, str):
        value = value.strip(" *").removesuffix("/5").strip()
        return int(value) if value.isdecimal() else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


class RatingAnswer(BaseModel):
    """A rating, its reason first."""

    reason: Remark = ""
    rating: Annotated[int, Field(strict=True, ge=1, le=5), BeforeValidator(_number)]
    """1 to 5."""


async def _question(name: str, sample: Sample, system: Template | None, text: Template) -> Question:
    """What is asked about the picture of a sample and its prompt."""
    return Question(
        name=name,
        system="" if system is None else system.render(),
        text=text.render(prompt=sample.prompt),
        pictures=(await asyncio.to_thread(read_picture, sample.store, sample.image),),
        template=text.label if system is None else f"{system.label} {text.label}",
    )


class Rubric(AskingMetric):
    """The rating of a chat model, 1 to 5. A reply that holds none is missing, whatever it may have meant.

    Args:
        chat: the model; it must take pictures.
        rubric: what is rated.
        templates: folder of the user's own templates.

    Raises:
        TemplateError: a template there has other variables than the one it stands in for.
    """

    def __init__(self, chat: ChatModel, rubric: RubricName, templates: Path | None = None) -> None:
        self._chat = chat
        self._system, self._text = load(f"rate_{rubric}_system", templates), load("rate_picture", templates)

    async def rate(self, sample: Sample) -> Score:
        """The rating of one sample, with the model's reason as its note."""
        question = await _question("rating", sample, self._system, self._text)
        try:
            reply = await self._chat.ask(question, RatingAnswer)
        except ReplyError as error:
            return missing(error.reason, error.exchanges)
        return Score(value=float(reply.value.rating), note=reply.value.reason, exchanges=reply.exchanges)


class VqaScore(AskingMetric):
    """VQAScore (arXiv 2404.01291): P(yes) to "Does this figure show the prompt?", in [0, 1], by a chat model.

    The source takes P(yes) over all words; servers report only the likeliest, so here it is P(yes) / (P(yes) + P(no)).
    """

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat
        self._template = load("rate_vqascore")

    async def rate(self, sample: Sample) -> Score:
        """The score of one sample; missing where the server reports no probabilities, or no answer came."""
        try:
            found = await self._chat.likelihood(await _question("vqascore", sample, None, self._template))
        except ReplyError as error:
            return missing(error.reason, error.exchanges)
        if found.probability is None:
            return missing(found.reason or "the server gives no probability", (found.exchange,))
        return Score(value=found.probability, exchanges=(found.exchange,))
