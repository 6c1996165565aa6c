"""What a policy is: it says how many images to draw first, and what becomes of each one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ...state import Advice, ConceptGraph, Decision, Plan, Population
from ...tools.errors import DetailScribeError
from ...tools.roles import Asker


class PolicyError(DetailScribeError):
    """A policy answered with what cannot be carried out."""


@runtime_checkable
class Policy(Protocol):
    """Decides about images; both methods are pure, so any recorded run can be judged again."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        """What to draw before the first critique."""
        ...

    def judge(self, population: Population) -> Sequence[Decision]:
        """One decision for each of ``population.pending()``, the most promising first.

        When no decision is left but stops, the run ends. Until then a stop is not final: the image
        is asked about again after the next round. Where the budget does not reach for all, the
        first ones have it.
        """
        ...


@runtime_checkable
class Advised(Protocol):
    """A policy that has a chat model asked after each round.

    The answer is recorded in the state and found in ``population.advice_now()``, so that ``judge``
    stays pure, and a recorded run can be judged again without asking.
    """

    @property
    def chat(self) -> Asker | None:
        """The model to ask; None for the one that the run is configured with."""
        ...

    async def advise(self, population: Population, chat: Asker) -> Advice:
        """What the model says of the images that wait; an unusable answer is silence, with the reason."""
        ...


JudgeFunction = Callable[[Population], Sequence[Decision]]
"""A policy reduced to its ``judge``."""


@dataclass(frozen=True)
class FunctionPolicy:
    """A plain function as a policy: one first drawing, then whatever the function decides."""

    function: JudgeFunction

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan()

    def judge(self, population: Population) -> Sequence[Decision]:
        return self.function(population)
