"""A person as the judge: asked after each round with what the policy proposes, they decide."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from langgraph.runtime import Runtime
from langgraph.types import interrupt

from ...state import Decision, Population, Ruling, RunState
from ...tools.errors import SettingsError
from .context import Context, context_of, population_of
from .judge import decide

RULE = "person"
"""Of decisions that a person made otherwise than proposed."""


class Ruled(TypedDict):
    """What ``person`` adds to the state."""

    rulings: dict[str, Ruling]


@dataclass(frozen=True)
class Question:
    """What a person is asked after a round."""

    population: Population
    """All images with what is known of them; ``population.pending()`` wait for a decision."""
    proposed: tuple[Decision, ...]
    """What the policy would do, one decision for each image that waits."""
    folder: Path
    """The run folder, in which ``image.path`` is a PNG."""
    earlier: Mapping[str, Decision] = field(default_factory=dict[str, Decision])
    """The person's last decisions, by image id; one that they stopped waits again as long as others are worked on."""


Ask = Callable[[Question], "Sequence[Decision] | Awaitable[Sequence[Decision] | None] | None"]
"""Decides instead of the policy: one decision for each image that waits; None accepts the proposal. ``stop``,
``refine`` and ``reseed`` of ``detailscribe.agent.policies`` make decisions."""


async def person(state: RunState, runtime: Runtime[Context]) -> Ruled:
    """Wait until a person has decided about this round."""
    context = context_of(runtime)
    proposed = decide(population_of(state, context.budget), context.policy)
    answer: Sequence[Decision] = interrupt({"round": state["round"], "proposed": proposed})
    return {"rulings": {str(state["round"]): Ruling(round=state["round"], decisions=tuple(answer))}}


async def answer_of(ask: Ask | None, state: RunState, context: Context, payload: Any) -> list[Decision]:
    """What the person answers to an interrupt of ``person``.

    Raises:
        SettingsError: there is nobody to ask.
    """
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
