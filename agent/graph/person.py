"""A person as the judge: asked after each round with what the policy proposes, they decide."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langgraph.runtime import Runtime
from langgraph.types import interrupt

from ...state import Decision, Population, Ruling, RunState
from ...tools.errors import SettingsError
from .context import Context, population_of
from .messages import Ruled
from .nodes import context_of
from .routing import decide

RULE = "person"
"""Of decisions that a person made otherwise than proposed."""


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
    """What the person said last, by image id; one that they stopped waits again as long as others are worked on."""


Ask = Callable[[Question], "Sequence[Decision] | Awaitable[Sequence[Decision] | None] | None"]
"""Decides instead of the policy: one decision for each image that waits; None lets the proposal stand. ``stop``,
``refine`` and ``reseed`` of ``detailscribe.agent.policies`` make decisions."""


async def person(state: RunState, runtime: Runtime[Context]) -> Ruled:
    """Wait until a person has decided about this round."""
    proposed = decide(population_of(state, context_of(runtime)), context_of(runtime).policy)
    answer: Sequence[Decision] = interrupt({"round": state["round"], "proposed": proposed})
    return {"rulings": {str(state["round"]): Ruling(round=state["round"], decisions=tuple(answer))}}


async def answer_of(ask: Ask | None, state: RunState, context: Context, payload: Any) -> list[Decision]:
    """What the person says to an interrupt of ``person``.

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
    said = ask(Question(population_of(state, context), tuple(proposed), context.store.root, earlier))
    said = await said if isinstance(said, Awaitable) else said
    return proposed if said is None else list(said)
