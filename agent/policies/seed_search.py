"""Search over seeds, then refine what looks best."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import ConceptGraph, Decision, ImageRecord, Plan, Population
from .guards import at_most, first_stop, nothing_failed, success
from .lines import promising
from .moves import stop
from .refining import Refining


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class SeedSearch(Refining):
    """Draw the original prompt from ``n`` seeds, refine the best ``m`` drawings, keep the best image.

    What a seed leaves out, a refinement seldom adds: a missing subject wants another seed, a wrong
    detail an edit (EPIC, arXiv 2605.11722). Which seed is worth the work shows after one critique.
    """

    n: int = Field(default=4, ge=1)
    """Seeds."""
    m: int = Field(default=1, ge=1)
    """Drawings that are refined."""
    rounds: int = Field(default=2, ge=0)
    """Refinements of each of them."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.n, keep_steps=self.keep_steps())

    def judge(self, population: Population) -> list[Decision]:
        return [self._decide(population, image, place) for place, image in enumerate(promising(population))]

    def _decide(self, population: Population, image: ImageRecord, place: int) -> Decision:
        stopped = first_stop((success, nothing_failed, at_most(self.rounds)), population, image)
        if stopped is not None:
            return stopped
        if place >= self.m:
            return stop(image, "outranked", f"{self.m} more promising drawing(s) are refined")
        return self.refined(population, image)
