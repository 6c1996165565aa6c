"""A person as the judge: after each round they see what the policy proposes, and decide."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langgraph.runtime import Runtime
from langgraph.types import interrupt
from pydantic import ValidationError

from ...state import Action, Decision, ImageRecord, Population, Ruling, RunState
from ...tools.errors import SettingsError, first_problem
from ..policies import PolicyError, refine_anew, reseed, stop
from .context import Context, context_of, population_of
from .judge import allowed, decide
from .nodes import Update

RULE = "person"
"""Rule of decisions in which a person did not follow the policy."""


@dataclass(frozen=True)
class Question:
    """What a person is asked after a round."""

    population: Population
    """All images; ``population.pending()`` wait for a decision."""
    proposed: tuple[Decision, ...]
    """The policy's decisions, one for each image that waits."""
    folder: Path
    """The run folder, in which ``image.path`` is a PNG."""
    earlier: Mapping[str, Decision] = field(default_factory=dict[str, Decision])
    """The person's last decisions, by image id; a stopped image waits again as long as others are refined."""


Ask = Callable[[Question], "Sequence[Decision] | Awaitable[Sequence[Decision] | None] | None"]
"""Returns one decision for each image that waits, made with ``stop``, ``refine`` or ``reseed`` of
``detailscribe.agent.policies``; None accepts the proposal."""


async def person(state: RunState, runtime: Runtime[Context]) -> Update:
    """Interrupt until a person has decided about this round; ask again if the answer is invalid.

    Answers are ``True``, which accepts the proposal; ``{"choose": id}``, which ends the run with an image; or a list
    with one decision, or its fields, for each image that waits.
    """
    if str(state.get("round")) in state.get("rulings", {}):  # written by ``update_state`` while the run was paused
        return {"rulings": {}}
    context = context_of(runtime)
    population, refused = population_of(state, context.budget), None
    proposed, questions = decide(population, context.policy), {c.id: c.question for c in population.concepts.checks}
    images = [
        {
            "id": image.id,
            "path": str(context.store.path(image.path)),
            "reference": image.path,
            "prompt": image.prompt,
            "waits": image in population.pending(),
            "checks": {questions[v.check]: v.answer for v in population.critiques[image.id].verdicts},
        }
        for image in population.images.values()
    ]
    shown = {"round": population.round, "proposed": proposed, "images": images}
    while True:
        answer = interrupt({**shown, "refused": refused})
        try:
            ruling = _ruling(answer, population, proposed)
            allowed(ruling.decisions, population)
        except (PolicyError, ValidationError) as error:
            refused = first_problem(error) if isinstance(error, ValidationError) else str(error)
        else:
            return {"rulings": {str(ruling.round): ruling}}


def _ruling(answer: object, population: Population, proposed: Sequence[Decision]) -> Ruling:
    """A person's answer as a ruling; ``PolicyError`` or ``ValidationError`` if it is none."""
    match answer:
        case True:
            return Ruling(round=population.round, decisions=tuple(proposed))
        case {"choose": str(chosen)} if chosen in population.images:
            stops = (stop(image, RULE, f"{chosen} was chosen") for image in population.pending())
            return Ruling(round=population.round, decisions=tuple(stops), chosen=chosen)
        case list() | tuple():
            return Ruling.model_validate({"round": population.round, "decisions": answer})
        case _:
            images = ", ".join(population.images)
            raise PolicyError(
                f'{answer!r} is no answer: give True for what is proposed, {{"choose": id}} with one of {images},'
                " or a list with a decision for each image that waits"
            )


def meant(action: Action, population: Population, image: ImageRecord, words: str = "") -> Decision:
    """The decision of a person who gives an action, and perhaps the prompt. A refinement starts at a seventh of the
    schedule, or earlier if that was tried before."""
    reason, start = "a person decided so", round(image.steps / 7)
    if action == "stop":
        return stop(image, RULE, reason)
    if action == "reseed":
        made = reseed(population, image, RULE, reason)
    else:
        operator = "edit" if image.latent is None else "inject"  # what a server drew or edited cannot be denoised again
        made = refine_anew(population, image, RULE, reason, source=image, operator=operator, start_step=start)
    attempts = tuple(attempt.model_copy(update={"prompt": words}) for attempt in made.attempts)
    return made.model_copy(update={"attempts": attempts}) if words else made


async def answer_of(ask: Ask | None, state: RunState, context: Context, payload: Any) -> list[Decision]:
    """The person's answer to an interrupt of ``person``; an invalid answer ends the run."""
    if payload["refused"]:
        raise PolicyError(payload["refused"])
    if ask is None:
        raise SettingsError(
            f"the run waits for a person after round {payload['round']}: go on with detailscribe resume"
            f" {context.store.root}, or from Python with resume(folder, ask=...)"
        )
    proposed: list[Decision] = list(payload["proposed"])
    rulings = sorted(state.get("rulings", {}).values(), key=lambda ruling: ruling.round)
    earlier = {decision.image: decision for ruling in rulings for decision in ruling.decisions}
    question = Question(population_of(state, context.budget), tuple(proposed), context.store.root, earlier)
    answer = ask(question)
    answer = await answer if isinstance(answer, Awaitable) else answer
    return proposed if answer is None else list(answer)
