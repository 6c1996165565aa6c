"""A chat model as the policy: it reads the trace so far and decides."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field, InstanceOf

from ...state import Advice, Choice, ConceptGraph, Decision, ImageRecord, Operator, Plan, Population, Step
from ...tools.errors import ModelError, ReplyError
from ...tools.language.question import Question, Wording
from ...tools.roles import Asker
from .guards import first_stop, nothing_failed, success
from .lineage import promising, refine_anew
from .policy import MOST, Parameters, failed, reseed, stop

MOST_DECISIONS = 64
"""In one reply, in case a small model repeats itself."""


class ChatDecision(BaseModel):
    """What to do with one image; the reason comes first, so that the model writes it first."""

    reason: Annotated[str, Field(max_length=600)] = ""
    image: Annotated[str, Field(max_length=40)]
    """Its id."""
    action: Literal["refine", "redraw", "stop"]
    strength: Literal["light", "strong"] = "light"
    """Of a refinement."""


class ChatDecisions(BaseModel):
    """One decision for each pending image."""

    decisions: Annotated[list[ChatDecision], Field(max_length=MOST_DECISIONS)]


class ChatJudge(Parameters):
    """A chat model decides about each image from the trace so far, without seeing the image.

    It is asked after the critique, and its answer is recorded, so that ``judge`` only reads it. It cannot repeat an
    attempt, exceed the budget or continue after success. Images that it does not name are stopped; without a usable
    answer, all are. An agent that may continue, go back or start again is the idea of Iterative Refinement (arXiv
    2601.15286).
    """

    images: int = Field(default=2, ge=1, le=MOST)
    """First drawings."""
    operator: Operator = "inject"
    """How a refinement starts."""
    light: Step = 4
    """Start step of a light refinement."""
    strong: Step = 2
    """Start step of a strong one."""
    chat: InstanceOf[Asker] | None = Field(default=None, repr=False)
    """An ``Asker``, such as ``ChatModel``; None for that of the run."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.images, keep_steps=(self.strong, self.light) if self.operator == "resume" else ())

    async def advise(self, population: Population, chat: Asker) -> Advice:
        """The model's advice on pending images; it is not asked when there is nothing to decide."""
        round, waiting = population.round, [i for i in promising(population) if not _stopped(population, i)]
        if not waiting:
            return Advice(round=round, silence="nothing is left to decide")
        try:
            reply = await chat.ask(decision_question(population, waiting), ChatDecisions)
        except ReplyError as error:
            return Advice(round=round, silence=f"no answer: {error.reason}", exchanges=error.exchanges)
        except ModelError as error:
            return Advice(round=round, silence=f"no answer: {error}")
        decisions = {d.image: d for d in reversed(reply.value.decisions)}
        choices = tuple(self._choice(decisions[i.id]) for i in waiting if i.id in decisions)
        silence = None if choices else "the reply decides about none of the images that wait"
        return Advice(round=round, choices=choices, silence=silence, exchanges=reply.exchanges)

    def judge(self, population: Population) -> list[Decision]:
        return [_stopped(population, i) or self._decide(population, i) for i in promising(population)]

    def _choice(self, decision: ChatDecision) -> Choice:
        action = "reseed" if decision.action == "redraw" else decision.action
        start = (self.light if decision.strength == "light" else self.strong) if action == "refine" else None
        reason = decision.reason or "no reason given"
        return Choice(image=decision.image, action=action, reason=reason, start_step=start)

    def _decide(self, population: Population, image: ImageRecord) -> Decision:
        if (advice := population.advice_now()) is None:
            return stop(image, "no_advice", "nobody was asked")
        if (choice := advice.about(image.id)) is None:
            return stop(image, "no_advice", advice.silence or "the reply does not name this image")
        if choice.action == "stop":
            return stop(image, "advised_stop", choice.reason)
        if choice.action == "reseed":
            return reseed(population, image, "advised_reseed", choice.reason)
        start = self.strong if choice.start_step is None else choice.start_step
        return refine_anew(
            population, image, "advised_refine", choice.reason, source=image, operator=self.operator, start_step=start
        )


def _stopped(population: Population, image: ImageRecord) -> Decision | None:
    """The stop of an image that needs no advice."""
    return first_stop((success, nothing_failed), population, image)


def decision_question(population: Population, waiting: Sequence[ImageRecord]) -> Question:
    """Asks what to do with these images, given the trace so far."""
    images = sorted(population.images.values(), key=lambda i: (i.round, i.id))
    return Wording.load("decision", "decision_system").question(
        "decision",
        prompt=population.concepts.prompt,
        checks="\n".join(f"{check.id}: {check.question}" for check in population.concepts.checks),
        pictures="\n".join(_line(population, image) for image in images),
        left=_left(population),
        waiting="\n".join(image.id for image in waiting),
    )


def _line(population: Population, image: ImageRecord) -> str:
    """``01-00 (refined from 00-00 at step 4 of 28): 4 of 5 checks pass; fails red; decided: ...``"""
    critique, decision = population.critiques[image.id], population.decisions.get(image.id)
    origin = {
        "look": f"another look at {image.parent}",
        "refine": f"refined from {image.parent} at step {image.start_step} of {image.steps}",
        "generate": "first drawing",
        "reseed": f"redrawn in place of {image.parent}",
    }[image.origin]
    origin = f"edited from {image.parent}" if image.operator == "edit" else origin
    unknown = [v.check for v in critique.verdicts if v.answer == "unknown"]
    parts = [f"{critique.passed} of {len(critique.verdicts)} checks pass"]
    parts += [f"fails {', '.join(wrong)}"] if (wrong := failed(critique)) else []
    parts += [f"unclear {', '.join(unknown)}"] if unknown else []
    parts += [f"decided: {decision.action}, {decision.reason}"] if decision is not None else []
    return f"{image.id} ({origin}): {'; '.join(parts)}"


def _left(population: Population) -> str:
    budget, spend = population.budget, population.spend
    parts = [f"{budget.rounds - population.round} rounds", f"{budget.images - spend.images} images"]
    if budget.evaluations is not None:
        parts.append(f"{budget.evaluations - spend.evaluations} denoiser evaluations")
    return ", ".join(parts)
