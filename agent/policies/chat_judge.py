"""A chat model as the judge: it reads the trace so far and decides, within the rules that hold for all."""

from typing import Any

from pydantic import ConfigDict, Field, SkipValidation
from pydantic.dataclasses import dataclass

from ...state import Advice, Choice, ConceptGraph, Decision, ImageRecord, Operator, Plan, Population
from ...tools.errors import ReplyError
from ...tools.roles import Asker
from .attempts import refine_anew
from .briefing import decision_question
from .chat_answers import ChatDecision, ChatDecisions
from .guards import first_stop, nothing_failed, success
from .lines import promising
from .moves import reseed, stop
from .refining import Step


@dataclass(frozen=True, config=ConfigDict(extra="forbid", arbitrary_types_allowed=True))
class ChatJudge:
    """A chat model decides about each image from what was done and found so far, without seeing it.

    It is asked between the critique and the judge, and its answer is recorded, so that ``judge``
    only reads it. It cannot repeat an attempt, go beyond the budget or work on after success; an
    image that it does not name is stopped, and all are where no usable answer came. That an agent
    may choose between continuing, going back and starting anew is the idea of Iterative Refinement
    (arXiv 2601.15286).
    """

    images: int = Field(default=2, ge=1)
    """First drawings."""
    operator: Operator = "inject"
    """How a refinement starts."""
    light: Step = 4
    """Start step of a light refinement."""
    strong: Step = 2
    """Start step of a strong one."""
    chat: SkipValidation[Any] = Field(default=None, repr=False)
    """An ``Asker``, such as ``ChatModel``; None for the one that the run is configured with."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.images, keep_steps=(self.strong, self.light) if self.operator == "resume" else ())

    async def advise(self, population: Population, chat: Asker) -> Advice:
        """What the model says of the images that wait; nothing is asked where nothing is left to decide."""
        waiting = [i for i in promising(population) if not _settled(population, i)]
        if not waiting:
            return Advice(round=population.round, silence="nothing is left to decide")
        try:
            reply = await chat.ask(decision_question(population, waiting), ChatDecisions)
        except ReplyError as error:
            return Advice(round=population.round, silence=f"no answer: {error.reason}", exchanges=error.exchanges)
        said = {d.image: d for d in reversed(reply.value.decisions)}
        choices = tuple(self._choice(said[i.id]) for i in waiting if i.id in said)
        silence = None if choices else "the reply decides about none of the images that wait"
        return Advice(round=population.round, choices=choices, silence=silence, exchanges=reply.exchanges)

    def judge(self, population: Population) -> list[Decision]:
        return [self._decide(population, image) for image in promising(population)]

    def _choice(self, said: ChatDecision) -> Choice:
        reason = said.reason or "no reason given"
        if said.action == "refine":
            step = self.light if said.strength == "light" else self.strong
            return Choice(image=said.image, action="refine", reason=reason, start_step=step)
        return Choice(image=said.image, action="reseed" if said.action == "redraw" else "stop", reason=reason)

    def _decide(self, population: Population, image: ImageRecord) -> Decision:
        settled, advice = _settled(population, image), population.advice_now()
        if settled is not None:
            return settled
        choice = None if advice is None else advice.about(image.id)
        if choice is None:
            silence = advice.silence if advice is not None else "nobody was asked"
            return stop(image, "no_advice", silence or "the reply does not name this image")
        match choice.action:
            case "stop":
                return stop(image, "advised_stop", choice.reason)
            case "reseed":
                return reseed(population, image, "advised_reseed", choice.reason)
            case "refine":
                start = self.strong if choice.start_step is None else choice.start_step
                return refine_anew(
                    population,
                    image,
                    "advised_refine",
                    choice.reason,
                    source=image,
                    operator=self.operator,
                    start_step=start,
                )


def _settled(population: Population, image: ImageRecord) -> Decision | None:
    """What needs no advice."""
    return first_stop((success, nothing_failed), population, image)
