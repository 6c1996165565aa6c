"""Several lines of refinements side by side: a budget split between width and depth."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import ConceptGraph, Decision, ImageRecord, Plan, Population
from .guards import at_most, first_stop, nothing_failed, success
from .lineage import Refining, promising
from .policy import MOST


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class Hybrid(Refining):
    """``parallel`` lines of ``sequential`` images each, until any of them passes.

    Of 16 images, 2 lines of 8 did better than 16 seeds or one line of 16 (Iterative Refinement,
    arXiv 2601.15286). Lines of 8 take 7 rounds and 16 images, and a budget has 6 rounds unless it says
    otherwise: with that, a line ends at 7 images by ``budget_rounds``, and an experiment refuses to begin.
    """

    parallel: int = Field(default=2, ge=1, le=MOST)
    """Lines, each from a seed of its own."""
    sequential: int = Field(default=8, ge=1, le=MOST)
    """Images in a line, its drawing included."""

    @property
    def rounds(self) -> int:
        """Refinements of each drawing."""
        return self.sequential - 1

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.parallel, keep_steps=self.keep_steps())

    def judge(self, population: Population) -> list[Decision]:
        return [self._decide(population, image) for image in promising(population)]

    def _decide(self, population: Population, image: ImageRecord) -> Decision:
        guards = (success, nothing_failed, at_most(self.rounds))
        return first_stop(guards, population, image) or self.refined(population, image)
