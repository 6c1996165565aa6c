"""The critic that asks a chat model: every check gets one verdict, and no failure of the model decides one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ...prompts import TemplateError
from ...state import Check, Comparison, ConceptGraph, Critique, Exchange, ImageRecord, Verdict
from ..errors import SettingsError
from ..language.chat import ChatModel
from ..language.question import Picture
from ..store import Store
from .answers import MOST_ANSWERS
from .comparison import compare
from .examiner import Examiner
from .impact import failures, issues
from .picture import read_picture
from .questions import Questions
from .rewriting import Rewriting, rewrite
from .verdicts import failed_parent, levels, settled


class ChatCritic:
    """Answers the checklist with a chat model that sees, and has it write the corrected prompt.

    Checks are asked level by level: what depends on a failed check is settled without being asked.

    Args:
        chat: the model; it must take pictures.
        templates: folder of the user's own templates, which stand in for those that ship.
        votes: times that each check is asked; most answers win. Each vote sees the checks in another
            order, and with a temperature above 0 they differ by more than that.
        probabilities: whether each check is also asked by itself for P(yes), which then decides; the
            image is sent once more for each check.
        together: whether all checks are asked at once and settled afterwards. One call where levels
            take two or three; but a question about a thing that is not there tempts a model to see it.
        checks_per_call: checks asked in one call at most, 1 to 20.
        words: length of the corrected prompt at most.

    Raises:
        SettingsError: a number is out of range, or a template of the user's cannot be read or has other
            variables than the one it stands in for.
    """

    def __init__(
        self,
        chat: ChatModel,
        *,
        templates: Path | None = None,
        votes: int = 1,
        probabilities: bool = False,
        together: bool = False,
        checks_per_call: int = 16,
        words: int = 70,
    ) -> None:
        if votes < 1 or words < 1 or not 1 <= checks_per_call <= MOST_ANSWERS:
            raise SettingsError(f"votes and words must be at least 1, and checks_per_call from 1 to {MOST_ANSWERS}")
        self._chat = chat
        try:
            self._questions = Questions(templates)
        except TemplateError as error:
            raise SettingsError(str(error)) from error
        self._examiner = Examiner(chat, self._questions, votes, probabilities, checks_per_call)
        self._together = together
        self._words = words

    @property
    def model(self) -> str:
        """Name of the chat model and its server."""
        return self._chat.name

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """One verdict for each check, in the order of the checklist; what got no usable answer is unknown.

        Raises:
            ModelError: the server refuses, cannot be found, or takes no pictures.
        """
        picture = await asyncio.to_thread(read_picture, store, image)
        verdicts, exchanges = await self._examine(picture, concepts)
        failed = failures(concepts, verdicts)
        rewriting = await self._rewrite(concepts.prompt, failed) if failed else Rewriting()
        lost = () if rewriting.reason is None else (f"No corrected prompt came: {rewriting.reason}",)
        return Critique(
            image=image.id,
            verdicts=verdicts,
            issues=(*issues(failed), *lost),
            refined_prompt=rewriting.prompt,
            exchanges=(*exchanges, *rewriting.exchanges),
            looks=self._examiner.votes,
        )

    async def compare(
        self, first: ImageRecord, second: ImageRecord, concepts: ConceptGraph, store: Store
    ) -> Comparison:
        """Which of two images shows more of what is asked for; asked twice, with the places swapped.

        Raises:
            ModelError: the server refuses, cannot be found, or takes no pictures.
        """
        return await compare(self._chat, self._questions, (first, second), concepts, store)

    async def _examine(
        self, picture: Picture, concepts: ConceptGraph
    ) -> tuple[tuple[Verdict, ...], tuple[Exchange, ...]]:
        verdicts: dict[str, Verdict] = {}
        exchanges: list[Exchange] = []
        for level in levels(concepts, self._together):
            due = [check for check in level if failed_parent(check, verdicts) is None]
            asked = await self._examiner.ask(concepts.prompt, due, picture)
            exchanges.extend(asked.exchanges)
            for check in level:
                parent = failed_parent(check, verdicts)
                verdicts[check.id] = asked.verdicts[check.id] if parent is None else settled(check, parent)
        return tuple(verdicts[check.id] for check in concepts.checks), tuple(exchanges)

    async def _rewrite(self, prompt: str, failed: Sequence[tuple[Check, Verdict]]) -> Rewriting:
        return await rewrite(self._chat, self._questions, prompt, failed, self._words)
