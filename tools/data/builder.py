"""New prompts about uncommon interactions, worded by a chat model and held to the rules."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated

from pydantic import BaseModel, Field

from ...prompts import load
from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Question
from .records import PromptRecord
from .taxonomy import Combination, ScenarioName, combinations
from .validation import LONGEST, SHORTEST, gist, is_alike, what_is_wrong

_AT_ONCE = 10
"""Combinations in one question."""
_ROUNDS = 3
"""Times that a combination is asked for, each time with what was wrong."""
_FRUITLESS = 3
"""Questions in a row that nothing came of, after which the model is left alone."""


class PromptsAnswer(BaseModel):
    """Prompts by the number of their combination."""

    prompts: Annotated[list["WordedAnswer"], Field(max_length=2 * _AT_ONCE)]


class WordedAnswer(BaseModel):
    """One prompt."""

    number: Annotated[int, Field(ge=1, le=_AT_ONCE)]
    prompt: Annotated[str, Field(min_length=1, max_length=400)]


@dataclass
class Builder:
    """Makes prompts of one scenario, and counts what it turned down."""

    chat: ChatModel
    scenario: ScenarioName
    seed: int = 0
    """Of the combinations."""
    rejected: Counter[str] = field(default_factory=Counter[str])
    """How often each reason turned a prompt down."""
    _gists: list[frozenset[str]] = field(default_factory=list[frozenset[str]])

    async def build(self, count: int) -> AsyncIterator[PromptRecord]:
        """At most ``count`` prompts; fewer where combinations run out, or the model words none that can be taken.

        Raises:
            ModelError: the model or its server cannot be used.
        """
        waiting = combinations(self.scenario, random.Random(f"{self.seed} {self.scenario}"))
        made = fruitless = 0
        while made < count and fruitless < _FRUITLESS and (chunk := list(islice(waiting, min(_AT_ONCE, count - made)))):
            worded = await self._worded(chunk)
            fruitless = 0 if worded else fruitless + 1
            for combination, prompt in worded:
                made += 1
                yield self._record(combination, prompt, made)

    async def _worded(self, chunk: Sequence[Combination]) -> list[tuple[Combination, str]]:
        """Those combinations that a usable prompt came for, in order."""
        worded: dict[int, str] = {}
        wrong: dict[int, str] = dict.fromkeys(range(len(chunk)), "")
        for _ in range(_ROUNDS):
            for number, prompt in (await self._ask(chunk, wrong)).items():
                if number not in wrong:
                    continue
                reason = self._refused(chunk[number], prompt)
                if reason is None:
                    worded[number] = prompt
                    self._gists.append(gist(prompt))
                    del wrong[number]
                else:
                    wrong[number] = f"{prompt!r} cannot be taken: {reason}"
            if not wrong:
                break
        if wrong:
            self.rejected["no usable prompt came"] += len(wrong)
        return [(chunk[number], worded[number]) for number in sorted(worded)]

    async def _ask(self, chunk: Sequence[Combination], wrong: dict[int, str]) -> dict[int, str]:
        """Prompts by index in the chunk; none where no answer could be read."""
        system, text = load("build_prompts_system"), load(f"build_prompts_{self.scenario}")
        lines = [f"{n + 1}: {chunk[n].brief()}{f' - {why}' if why else ''}" for n, why in wrong.items()]
        question = Question(
            name="new_prompts",
            system=system.render(shortest=SHORTEST, longest=LONGEST),
            text=text.render(combinations="\n".join(lines)),
            template=f"{system.label} {text.label}",
        )
        try:
            reply = await self.chat.ask(question, PromptsAnswer)
        except ReplyError as error:
            self.rejected[f"no answer: {error.reason}"] += len(wrong)
            return {}
        return {answer.number - 1: " ".join(answer.prompt.split()) for answer in reply.value.prompts}

    def _refused(self, combination: Combination, prompt: str) -> str | None:
        """Why a prompt is not taken; counted."""
        reason = what_is_wrong(prompt, combination.members)
        if reason is None and is_alike(prompt, self._gists):
            reason = "it says nearly the same as another"
        if reason is not None:
            self.rejected[reason.partition(";")[0]] += 1
        return reason

    def _record(self, combination: Combination, prompt: str, number: int) -> PromptRecord:
        return PromptRecord(
            id=f"{self.scenario}-{self.seed}-{number:04}",
            prompt=prompt,
            scenario=self.scenario,
            subclass=combination.kind.subclass,
            extra={"interaction": combination.kind.name, "combination": combination.brief(), "model": self.chat.name},
        )
