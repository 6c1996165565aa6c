"""Asking for the corrected prompt, and holding the answer to the rules."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...state import Check, Exchange, Verdict
from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Reply
from .answers import RefinedAnswer, one_line
from .questions import Questions
from .sentences import count_words, opening, problem, repaired


@dataclass(frozen=True)
class Rewriting:
    """The corrected prompt, or why there is none."""

    prompt: str | None = None
    """It begins with the user's prompt; None where nothing was to be corrected or no usable answer came."""
    reason: str | None = None
    """Why none came; None where one came or nothing was to be corrected."""
    exchanges: tuple[Exchange, ...] = ()


async def rewrite(
    chat: ChatModel, questions: Questions, prompt: str, failed: Sequence[tuple[Check, Verdict]], words: int
) -> Rewriting:
    """Ask for a prompt that mends ``failed`` in at most ``words`` words; once more if the answer breaks a rule.

    What still breaks one then is repaired. Where no answer is usable there is no corrected prompt: one
    made up of the questions would be no sentence that an image model can draw, and would pass for
    the critic's. A prompt of the user's that fills the words by itself is left alone, and nothing is asked.
    """
    if count_words(opening(prompt)) >= words:
        return Rewriting(opening(prompt))
    question = questions.refined(prompt, failed, words)
    try:
        first = await chat.ask(question, RefinedAnswer)
    except ReplyError as error:
        return Rewriting(None, error.reason, error.exchanges)
    answer = _unquoted(first)
    wrong = problem(prompt, answer, words)
    if wrong is None:
        return Rewriting(repaired(prompt, answer, words), None, first.exchanges)
    try:
        second = await chat.ask(questions.refined_again(question, answer, wrong), RefinedAnswer)
    except ReplyError as error:
        return Rewriting(repaired(prompt, answer, words), None, (*first.exchanges, *error.exchanges))
    return Rewriting(repaired(prompt, _unquoted(second), words), None, (*first.exchanges, *second.exchanges))


def _unquoted(reply: Reply[RefinedAnswer]) -> str:
    """On one line, without quotation marks around the whole."""
    text = one_line(reply.value.prompt)
    return text[1:-1] if len(text) > 1 and (text[0], text[-1]) in {('"', '"'), ("“", "”")} else text
