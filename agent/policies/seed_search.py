"""Search over seeds, then refine what looks best."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import ConceptGraph, Decision, ImageRecord, Plan, Population
from .guards import at_most, first_stop, nothing_failed, success
from .lineage import Refining, line_of, promising
from .policy import MOST, stop


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class SeedSearch(Refining):
    """Draw the original prompt from ``n`` seeds, refine the best ``m`` drawings, keep the best image.

    What a seed leaves out, a refinement seldom adds: a missing subject wants another seed, a wrong
    detail an edit (EPIC, arXiv 2605.11722). Which seed is worth the work shows after one critique.
    """

    n: int = Field(default=4, ge=1, le=MOST)
    """Seeds."""
    m: int = Field(default=1, ge=1, le=MOST)
    """Drawings that are refined."""
    rounds: int = Field(default=2, ge=0, le=MOST)
    """Refinements of each of them."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.n, keep_steps=self.keep_steps())

    def judge(self, population: Population) -> list[Decision]:
        drawings = sorted((i for i in population.images.values() if i.round == 0), key=lambda i: i.id)
        chosen = sorted(drawings, key=population.rank, reverse=True)[: self.m]
        return [self._decide(population, image, chosen) for image in promising(population)]

    def _decide(self, population: Population, image: ImageRecord, chosen: list[ImageRecord]) -> Decision:
        stopped = success(population, image)
        if stopped is not None:
            return stopped
        if line_of(population, image)[-1] not in chosen:
            return stop(image, "outranked", f"{self.m} more promising drawing(s) are refined")
        guards = (nothing_failed, at_most(self.rounds))
        return first_stop(guards, population, image) or self.refined(population, image)
