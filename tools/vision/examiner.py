"""Asks for the checks of one level, in as many calls as the settings want, and counts the votes."""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...state import Check, Exchange, Verdict, derive_seed
from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Picture
from .answers import CritiqueAnswer
from .questions import Questions
from .tasks import task_group
from .verdicts import Weight, verdict
from .votes import Vote, counted, lost


@dataclass(frozen=True)
class Examined:
    """What came of one level."""

    verdicts: Mapping[str, Verdict]
    """By check id, one for each check that was asked."""
    exchanges: tuple[Exchange, ...]
    """In the order of asking, not of answering."""


@dataclass(frozen=True)
class Examiner:
    """How checks are asked; the fields mean what they mean to ``ChatCritic``."""

    chat: ChatModel
    questions: Questions
    votes: int
    probabilities: bool
    checks_per_call: int

    async def ask(self, prompt: str, checks: Sequence[Check], picture: Picture) -> Examined:
        """A verdict for each check; all calls are under way at once."""
        groups = in_groups(checks, self.checks_per_call)
        async with task_group() as tasks:
            asked = [
                tasks.create_task(self._vote(prompt, group, picture, vote))
                for vote in range(self.votes)
                for group in groups
            ]
            weighed = [tasks.create_task(self._weigh(prompt, check, picture)) for check in checks if self.probabilities]
        ballots = [task.result() for task in asked]
        weights = [task.result() for task in weighed]
        weight = {check.id: found for check, (found, _) in zip(checks, weights, strict=False)}
        return Examined(
            verdicts={
                check.id: verdict(check, [b[check.id] for b, _ in ballots if check.id in b], weight.get(check.id))
                for check in checks
            },
            exchanges=tuple(itertools.chain.from_iterable(made for _, made in (*ballots, *weights))),
        )

    async def _vote(
        self, prompt: str, checks: Sequence[Check], picture: Picture, vote: int
    ) -> tuple[dict[str, Vote], tuple[Exchange, ...]]:
        """One vote on each of these checks, by id."""
        question = self.questions.critique(prompt, _shuffled(checks, vote), picture, vote)
        try:
            reply = await self.chat.ask(question, CritiqueAnswer)
        except ReplyError as error:
            return lost(checks, error.reason), error.exchanges
        return counted(checks, reply.value.answers), reply.exchanges

    async def _weigh(self, prompt: str, check: Check, picture: Picture) -> tuple[Weight, tuple[Exchange, ...]]:
        """P(yes) of one check."""
        try:
            found = await self.chat.likelihood(self.questions.likelihood(prompt, check, picture))
        except ReplyError as error:
            return Weight(None, error.reason), error.exchanges
        return Weight(found.probability, found.reason), (found.exchange,)


def in_groups(checks: Sequence[Check], most: int) -> list[Sequence[Check]]:
    """As few groups of at most ``most`` as will do, of nearly the same size, in order."""
    calls = math.ceil(len(checks) / most)
    bounds = [len(checks) * n // calls for n in range(calls + 1)] if calls else [0]
    return [checks[start:end] for start, end in itertools.pairwise(bounds)]


def _shuffled(checks: Sequence[Check], vote: int) -> Sequence[Check]:
    """The checks in the list's order for the first vote, in another for each further one."""
    if vote == 0:
        return checks
    return random.Random(derive_seed(vote, *(check.id for check in checks))).sample(checks, len(checks))
