"""Metrics that ask a chat model with vision (ratings, VQAScore, a benchmark's questions), a critic, or the embedded
world's independent judge."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from math import prod
from statistics import mean
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from ...prompts import spellings
from ...state import Exchange, OwnQuestion, Verdict
from ..blocking import gather_or_cancel
from ..errors import ReplyError
from ..language.chat import ChatModel
from ..language.question import Picture, Wording
from ..roles import Critic
from ..vision.questions import Remark, YesNo, read_picture
from .metric import AskingMetric, LocalMetric, Sample, Score, WithConcepts, missing

RubricName = Literal["interactions", "layout"]
"""interactions: who does what with what, and how they touch; layout: where things are, and what they form."""
How = Literal["mean", "geometric", "gated"]
"""mean: arithmetic mean over questions (Soft-TIFA AM, arXiv 2512.16853); geometric: geometric mean, which one failure
brings near 0 (Soft-TIFA GM); gated: arithmetic, with 0 for a question about an entity that fails, as in EGIP."""


def _number(value: object) -> object:
    """``"4"``, ``"4/5"`` and ``4.0`` become 4; anything else is validated as it is."""
    if isinstance(value, str):
        value = value.strip(" *").removesuffix("/5").strip()
        return int(value) if value.isdecimal() else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


class RatingAnswer(BaseModel):
    """A rating, its reason first."""

    reason: Remark = ""
    rating: Annotated[int, Field(strict=True, ge=1, le=5), BeforeValidator(_number)]
    """1 to 5."""


class OwnAnswer(BaseModel):
    """The answer to a question whose expected one is yes."""

    answer: YesNo


class Rubric(AskingMetric):
    """The rating of a chat model with vision, 1 to 5, with its reason as the note; an unreadable reply is missing."""

    def __init__(self, chat: ChatModel, rubric: RubricName) -> None:
        self._chat, self._wording = chat, Wording.load("rate_picture", f"rate_{rubric}_system")

    async def rate(self, sample: Sample) -> Score:
        picture = await read_picture(sample.store, sample.image)
        question = self._wording.question("rating", [picture], prompt=sample.prompt)
        try:
            reply = await self._chat.ask(question, RatingAnswer)
        except ReplyError as error:
            return missing(error.reason, error.exchanges)
        return Score(value=float(reply.value.rating), note=reply.value.reason, exchanges=reply.exchanges)


class VqaScore(AskingMetric):
    """VQAScore (arXiv 2404.01291): P(yes) to "Does this figure show the prompt?", in [0, 1], by a chat model. The
    source takes P(yes) over all words; servers report only the most likely, so here it is P(yes) / (P(yes) + P(no))."""

    def __init__(self, chat: ChatModel) -> None:
        self._chat, self._wording = chat, Wording.load("rate_vqascore")

    async def rate(self, sample: Sample) -> Score:
        picture = await read_picture(sample.store, sample.image)
        question = self._wording.question("vqascore", [picture], prompt=sample.prompt)
        try:
            found = await self._chat.likelihood(question)
        except ReplyError as error:
            return missing(error.reason, error.exchanges)
        if found.probability is None:
            return missing(found.reason or "the server gives no probability", (found.exchange,))
        return Score(value=found.probability, exchanges=(found.exchange,))


class OwnQuestions(AskingMetric):
    """The mean over the prompt's own questions, in [0, 1], of P(expected answer), or of 1 or 0 by a yes/no answer where
    the server gives no probabilities. Each question is asked alone, without the prompt. Questions without an answer do
    not count; any of them makes the geometric mean missing, more than half of them the other means."""

    def __init__(self, chat: ChatModel, how: How = "mean") -> None:
        self._chat, self._how, self._wording = chat, how, Wording.load("own_question")

    async def rate(self, sample: Sample) -> Score:
        asked = sample.questions
        if not asked:
            return missing("no question of a benchmark is known for the prompt: give its file with --prompts")
        picture = await read_picture(sample.store, sample.image)
        answers = await gather_or_cancel(self._answer(question, picture) for question in asked)
        values, exchanges = [value for value, _, _ in answers], tuple(e for _, made, _ in answers for e in made)
        if self._how == "gated":
            values = [gated(n, asked, values) for n in range(len(asked))]
        known = [value for value in values if value is not None]
        if 2 * len(known) < len(asked) or (self._how == "geometric" and len(known) < len(asked)):
            reasons = "; ".join(dict.fromkeys(why for _, _, why in answers if why))
            return missing(f"{len(asked) - len(known)} of {len(asked)} questions have no answer ({reasons})", exchanges)
        value = prod(known) ** (1 / len(known)) if self._how == "geometric" else mean(known)
        shown = (f"{q.kind or q.aspect} {'-' if v is None else f'{v:.2f}'}" for q, v in zip(asked, values, strict=True))
        return Score(value=value, note=", ".join(shown), exchanges=exchanges)

    async def _answer(self, asked: OwnQuestion, picture: Picture) -> tuple[float | None, tuple[Exchange, ...], str]:
        """P(expected answer), the calls that it took, and the reason where it is None."""
        is_no = asked.answer == "no"
        wanted = ("yes",) if is_no else spellings(asked.answer)
        bare, check = (
            self._wording.question("own_question", [picture], question=q) for q in (asked.question, asked.as_check)
        )
        try:
            found = await self._chat.likelihood(bare, wanted)
            if found.probability is not None:
                return 1 - found.probability if is_no else found.probability, (found.exchange,), ""
            reply = await self._chat.ask(check, OwnAnswer)
        except ReplyError as error:
            return None, error.exchanges, error.reason
        exchanges, answer = (found.exchange, *reply.exchanges), reply.value.answer
        if answer == "unclear":
            return None, exchanges, "the model cannot tell"
        return float(answer == "yes"), exchanges, ""


def gated(place: int, asked: tuple[OwnQuestion, ...], values: list[float | None]) -> float | None:
    """The value of one question: 0 if one of its entities fails, with 0.5 or less; None if one is not known."""
    entities = [values[parent] for parent in asked[place].depends_on]
    if any(value is not None and value <= 0.5 for value in entities):
        return 0.0
    return None if None in entities else values[place]


class Checklist(AskingMetric):
    """The share of checks that pass according to a critic, in [0, 1]; with ``whole``, 1 if all do, else 0."""

    def __init__(self, critic: Critic, *, whole: bool = False) -> None:
        self._critic, self._whole = critic, whole

    async def rate(self, sample: Sample) -> Score:
        if sample.concepts is None or not sample.concepts.checks:
            return missing("there is no checklist for the prompt")
        critique = await self._critic.critique(sample.image, sample.concepts, sample.store)
        score = checklist_score(critique.verdicts, whole=self._whole)
        return score.model_copy(update={"exchanges": critique.exchanges})


class JudgeMetric(LocalMetric):
    """The checklist by the embedded world's independent judge, which takes part in no run. It checks that world's own
    concepts of the prompt, since those of a run may have fewer checks; prompts from outside of it are missing."""

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole

    @property
    def identity(self) -> str:
        return f"{self._judge.model} {'all' if self._whole else 'share'}"

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        from ..world import EmbeddedDecomposer

        measure = WithConcepts(Checklist(self._judge, whole=self._whole), EmbeddedDecomposer)
        return await measure.score_all([replace(sample, concepts=None) for sample in samples])

    @cached_property
    def _judge(self) -> Any:
        from ..world.critic import EmbeddedJudge

        return EmbeddedJudge()


def checklist_score(verdicts: Sequence[Verdict], *, whole: bool) -> Score:
    """The share of the answered checks that pass, missing if fewer than half are answered; with ``whole``, whether all
    pass, missing if none failed and some are unknown."""
    failed = [v.check for v in verdicts if v.answer == "fail"]
    unknown = [v for v in verdicts if v.answer == "unknown"]
    answered = len(verdicts) - len(unknown)
    if (not failed and unknown) if whole else (2 * answered < len(verdicts)):
        example = f"{unknown[0].check} ({unknown[0].reason})"
        return missing(f"{len(unknown)} of {len(verdicts)} checks are unknown, such as {example}")
    note = f"failed: {', '.join(failed) or 'none'}; unknown: {len(unknown)} of {len(verdicts)}"
    return Score(value=float(not failed) if whole else (answered - len(failed)) / answered, note=note)
