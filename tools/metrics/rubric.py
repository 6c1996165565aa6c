"""Ratings from 1 to 5 by a chat model that sees, after a rubric: how well does the picture show the prompt?"""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from ...prompts import load
from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Question
from ..vision.answers import Remark
from ..vision.picture import read_picture
from .metric import AskingMetric, Sample, Score, missing

RubricName = Literal["interactions", "layout"]
"""interactions: who does what with what, and how they touch; layout: where things stand, and what they form."""


def _number(value: object) -> object:
    """``"4"``, ``"4/5"`` and ``4.0`` are 4; anything else is left for the validation to refuse."""
    if isinstance(value, str):
        value = value.strip().removesuffix("/5").strip()
        return int(value) if value.isdecimal() else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


class RatingAnswer(BaseModel):
    """A rating, its reason first."""

    reason: Remark = ""
    rating: Annotated[int, Field(strict=True, ge=1, le=5), BeforeValidator(_number)]


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
        self._system = load(f"rate_{rubric}_system", templates)
        self._text = load("rate_picture", templates)

    async def rate(self, sample: Sample) -> Score:
        """The rating of one sample, with the model's reason as its note."""
        picture = await asyncio.to_thread(read_picture, sample.store, sample.image)
        question = Question(
            name="rating",
            system=self._system.render(),
            text=self._text.render(prompt=sample.prompt),
            pictures=(picture,),
            template=f"{self._system.label} {self._text.label}",
        )
        try:
            reply = await self._chat.ask(question, RatingAnswer)
        except ReplyError as error:
            return missing(error.reason, error.exchanges)
        return Score(value=float(reply.value.rating), note=reply.value.reason, exchanges=reply.exchanges)
