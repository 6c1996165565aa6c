"""One line of refinements: the paper's loop, closed."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import ConceptGraph, Decision, ImageRecord, Plan, Population
from .guards import Guard, at_most, first_stop, nothing_failed, oscillation, plateau, regression, success
from .lineage import Refining
from .policy import MOST


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class MultiRound(Refining):
    """Refine one drawing round after round, until it passes or gains nothing more.

    The paper ("Generating Fine Details of Entity Interactions", arXiv 2504.08714) stops after one
    round. That later rounds break about as much as they fix, so that the best image has to be kept,
    is plain from published traces of such loops.
    """

    rounds: int = Field(default=3, ge=0, le=MOST)
    """Refinements at most."""
    patience: int | None = Field(default=2, ge=1, le=MOST)
    """Refinements in a row without gain after which it stops; None: it goes on through plateaus,
    regressions and oscillations alike, to show what many rounds do."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=1, keep_steps=self.keep_steps())

    def judge(self, population: Population) -> list[Decision]:
        return [self._decide(population, image) for image in population.pending()]

    def _decide(self, population: Population, image: ImageRecord) -> Decision:
        return first_stop(self._guards(), population, image) or self.refined(population, image)

    def _guards(self) -> tuple[Guard, ...]:
        always = (success, nothing_failed, at_most(self.rounds))
        if self.patience is None:
            return always
        return (*always, oscillation, regression(), plateau(self.patience))
