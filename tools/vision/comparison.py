"""Two images side by side, shown in both orders: models favour a place, and a preference that swaps with it is none."""

import asyncio

from ...state import Comparison, ConceptGraph, Exchange, ImageRecord
from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Picture
from ..store import Store
from .answers import ComparisonAnswer
from .picture import read_picture
from .questions import Questions
from .tasks import task_group

Pair = tuple[ImageRecord, ImageRecord]


async def compare(
    chat: ChatModel, questions: Questions, pair: Pair, concepts: ConceptGraph, store: Store
) -> Comparison:
    """Which image of a pair shows more of what is asked for: the one preferred in both orders, else neither.

    Raises:
        ValueError: an image is compared with itself.
    """
    if pair[0].id == pair[1].id:
        raise ValueError(f"image {pair[0].id!r} cannot be compared with itself")
    first, second = [await asyncio.to_thread(read_picture, store, image) for image in pair]
    async with task_group() as tasks:
        straight = tasks.create_task(_preferred(chat, questions, concepts, pair, (first, second)))
        swapped = tasks.create_task(_preferred(chat, questions, concepts, (pair[1], pair[0]), (second, first)))
    return _decided(pair, [straight.result(), swapped.result()])


Preference = tuple[str | None, str, tuple[Exchange, ...]]
"""Id of the image preferred in one order, or None; the reason; and the calls."""


async def _preferred(
    chat: ChatModel, questions: Questions, concepts: ConceptGraph, pair: Pair, pictures: tuple[Picture, Picture]
) -> Preference:
    order = f"{pair[0].id} before {pair[1].id}"
    try:
        reply = await chat.ask(questions.comparison(concepts.prompt, concepts.checks, pictures), ComparisonAnswer)
    except ReplyError as error:
        return None, f"{order}: no answer, {error.reason}", error.exchanges
    said = reply.value
    better = {"first": pair[0].id, "second": pair[1].id, "equal": None}[said.better]
    return better, f"{order}: {better or 'equal'}, {said.reason or 'no reason given'}", reply.exchanges


def _decided(pair: Pair, preferences: list[Preference]) -> Comparison:
    named = {better for better, _, _ in preferences}
    return Comparison(
        first=pair[0].id,
        second=pair[1].id,
        better=named.pop() if len(named) == 1 else None,
        reason="; ".join(reason for _, reason, _ in preferences),
        exchanges=tuple(exchange for _, _, made in preferences for exchange in made),
    )
