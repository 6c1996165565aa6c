"""VQAScore (arXiv 2404.01291) with a chat model."""

import asyncio

from ...prompts import load
from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Question
from ..vision.picture import read_picture
from .metric import AskingMetric, Sample, Score, missing


class VqaScore(AskingMetric):
    """P(yes) to "Does this figure show the prompt?", in [0, 1], from the log-probabilities of a chat model.

    The source takes P(yes) over all words; servers tell only the likeliest, so here it is P(yes) / (P(yes) + P(no)).
    """

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat
        self._template = load("rate_vqascore")

    async def rate(self, sample: Sample) -> Score:
        """The score of one sample; missing where the server tells no probabilities, or no answer came."""
        picture = await asyncio.to_thread(read_picture, sample.store, sample.image)
        question = Question(
            name="vqascore",
            system="",
            text=self._template.render(prompt=sample.prompt),
            pictures=(picture,),
            template=self._template.label,
        )
        try:
            found = await self._chat.likelihood(question)
        except ReplyError as error:
            return missing(error.reason, error.exchanges)
        if found.probability is None:
            return missing(found.reason or "the server gives no probability", (found.exchange,))
        return Score(value=found.probability, exchanges=(found.exchange,))
