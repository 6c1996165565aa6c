"""The baseline that any refinement has to beat: several seeds, and the best one kept."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import ConceptGraph, Decision, Plan, Population, Seed
from .policy import MOST, stop


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BestOfN:
    """Draw the original prompt from ``n`` seeds at once; refine nothing."""

    n: int = Field(default=4, ge=1, le=MOST)
    """How many images to draw; the budget may allow fewer."""
    seeds: tuple[Seed, ...] = Field(default=(), max_length=MOST)
    """Of the first of them, where they are fixed; the others' follow from the run's."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.n, seeds=[*self.seeds, *[None] * self.n][: self.n])

    def judge(self, population: Population) -> list[Decision]:
        leaders = population.leaders()
        return [
            stop(image, "best_of_n", f"none of the {len(population.images)} ranks above it")
            if image in leaders
            else stop(image, "not_the_best", f"{leaders[0].id} passes more checks or is surer of them")
            for image in population.pending()
        ]
