"""New prompts about uncommon interactions: combinations of a taxonomy, written by a chat model and validated."""

import random
import re
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations as pairs
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Wording
from ..sentences import gist
from .records import PromptRecord, ScenarioName

SHORTEST, LONGEST = 4, 45
"""Number of words of a prompt."""
_ALIKE = 0.7
"""Share of common words from which two prompts count as the same."""
_AT_ONCE = 10
"""Combinations in one question."""
_ROUNDS = 3
"""Times that a combination is requested, each time with what was wrong before."""
_FRUITLESS = 3
"""Questions in a row without a usable prompt, after which the builder stops."""

TAXONOMY: dict[str, Any] = tomllib.loads((Path(__file__).parent / "taxonomy.toml").read_text("utf-8"))
"""Subjects, materials and, by scenario and subclass, interactions."""


@dataclass(frozen=True)
class Combination:
    """The subject of one prompt."""

    scenario: ScenarioName
    subclass: str
    name: str
    """Of the interaction: an -ing form, or the name of a form."""
    members: tuple[str, ...]
    """Who acts, or the material of a form."""
    object: str
    """Of the action, or its place; empty for forms."""

    def brief(self) -> str:
        """The combination as the chat model is asked for it."""
        if self.scenario == "compositional":
            return f"{self.name} made of {self.members[0]}"
        return f"{' and '.join(self.members)}, {self.name} {self.object}".strip()


def combinations(scenario: ScenarioName, rng: random.Random) -> Iterator[Combination]:
    """All distinct uncommon combinations of a scenario, its interactions in turn."""
    kinds = [(subclass, kind) for subclass, kinds in TAXONOMY[scenario].items() for kind in kinds]
    pools: list[list[Combination]] = []
    for subclass, kind in rng.sample(kinds, len(kinds)):
        everyone = TAXONOMY["materials" if scenario == "compositional" else "subjects"]
        unusual = [name for name in everyone if name not in kind.get("usual", ())]
        members = pairs(unusual, 2 if scenario == "multi_subject" else 1)
        objects = kind.get("objects", ("",))
        pool = [Combination(scenario, subclass, kind["name"], who, object) for who in members for object in objects]
        pools.append(rng.sample(pool, len(pool)))
    while pools := [pool for pool in pools if pool]:
        for pool in pools:
            yield pool.pop()


class PromptsAnswer(BaseModel):
    """Prompts by the number of their combination."""

    prompts: Annotated[list["WordedAnswer"], Field(max_length=2 * _AT_ONCE)]


class WordedAnswer(BaseModel):
    """One prompt."""

    number: Annotated[int, Field(ge=1, le=_AT_ONCE)]
    prompt: Annotated[str, Field(min_length=1, max_length=400)]


@dataclass
class Builder:
    """Makes prompts of one scenario, and counts rejected ones."""

    chat: ChatModel
    scenario: ScenarioName
    seed: int = 0
    """Of the combinations."""
    rejected: Counter[str] = field(default_factory=Counter[str])
    """Number of rejected prompts by reason."""
    _gists: list[frozenset[str]] = field(default_factory=list[frozenset[str]])

    async def build(self, count: int) -> AsyncIterator[PromptRecord]:
        """At most ``count`` prompts; fewer if combinations run out, or the model writes no usable ones."""
        waiting = combinations(self.scenario, random.Random(f"{self.seed} {self.scenario}"))
        made = fruitless = 0
        while made < count and fruitless < _FRUITLESS and (chunk := list(islice(waiting, min(_AT_ONCE, count - made)))):
            prompts = await self._write(chunk)
            fruitless = 0 if prompts else fruitless + 1
            for number in sorted(prompts):
                combination, made = chunk[number], made + 1
                extra = {"interaction": combination.name, "combination": combination.brief(), "model": self.chat.name}
                yield PromptRecord(
                    id=f"{self.scenario}-{self.seed}-{made:04}",
                    prompt=prompts[number],
                    scenario=self.scenario,
                    subclass=combination.subclass,
                    extra=extra,
                )

    async def _write(self, chunk: Sequence[Combination]) -> dict[int, str]:
        """Usable prompts by index in the chunk; wrong ones are requested again, with the reason."""
        prompts, wrong = dict[int, str](), dict.fromkeys(range(len(chunk)), "")
        for _ in range(_ROUNDS):
            for number, prompt in (await self._ask(chunk, wrong)).items():
                if number not in wrong:
                    continue
                alike = "it says nearly the same as another" if is_alike(prompt, self._gists) else None
                if (reason := what_is_wrong(prompt, chunk[number].members) or alike) is None:
                    prompts[number] = prompt
                    self._gists.append(gist(prompt))
                    del wrong[number]
                else:
                    self.rejected[reason.partition(";")[0]] += 1
                    wrong[number] = f"{prompt!r} cannot be taken: {reason}"
            if not wrong:
                break
        if wrong:
            self.rejected["no usable prompt came"] += len(wrong)
        return prompts

    async def _ask(self, chunk: Sequence[Combination], wrong: dict[int, str]) -> dict[int, str]:
        """Prompts by index in the chunk; none without a readable answer."""
        lines = [f"{n + 1}: {chunk[n].brief()}{f' - {why}' if why else ''}" for n, why in wrong.items()]
        question = Wording.load(f"build_prompts_{self.scenario}", "build_prompts_system").question(
            "new_prompts", shortest=SHORTEST, longest=LONGEST, combinations="\n".join(lines)
        )
        try:
            reply = await self.chat.ask(question, PromptsAnswer)
        except ReplyError as error:
            self.rejected[f"no answer: {error.reason}"] += len(wrong)
            return {}
        return {answer.number - 1: " ".join(answer.prompt.split()) for answer in reply.value.prompts}


_IRREGULAR = (
    "beaten|bent|bitten|blown|bound|broken|brought|built|bought|caught|chosen|cut|done|drawn|driven|drunk|dug|eaten|fed"
    "|found|flown|frozen|given|ground|held|hidden|hit|hung|kept|laid|led|lit|made|put|read|ridden|sawn|seen|sewn|shaken"
    "|shown|shut|spread|spun|strung|stuck|swept|swung|taken|taught|thrown|tied|torn|woven|won|worn|wound|written"
)
_NOT_PARTICIPLES = "red|bed|shed|sled|seed|weed|reed|hundred|naked|wicked|sacred|rugged|crooked|wooded|speed|breed|need"
_PARTICIPLE = rf"(?!(?:{_NOT_PARTICIPLES})\b)(?:[a-z]+ed|{_IRREGULAR})"
_PASSIVE = re.compile(
    rf"\b(?:is|are|was|were|be|been|being|gets?|got|getting)\s+(?:[a-z]+ly\s+)?{_PARTICIPLE}\b"
    rf"|\b{_PARTICIPLE}\s+by\s+(?:an?|the|its|their|his|her|two|three|several|many|some)\b"
)


def what_is_wrong(prompt: str, must_name: Iterable[str] = ()) -> str | None:
    """Why a prompt is rejected, such as one of ``must_name`` that is not in it, for the chat model; else None."""
    words = prompt.split()
    if not SHORTEST <= len(words) <= LONGEST:
        return f"it has {len(words)} words; write {SHORTEST} to {LONGEST}"
    if passive := _PASSIVE.search(prompt.lower()):
        return f"{passive.group()!r} is in the passive voice; say who acts"
    lost = [name for name in must_name if not gist(name) & gist(prompt)]
    return f"it does not name {', '.join(lost)}" if lost else None


def is_alike(prompt: str, others: Iterable[frozenset[str]]) -> bool:
    """Whether a prompt says nearly the same as another, given by its ``gist``."""
    own = gist(prompt)
    return any(len(own & other) >= _ALIKE * len(own | other) for other in others)
