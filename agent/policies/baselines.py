"""What a policy has to beat: several seeds of which the best one is kept, and a judge that draws lots."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import SEED_LIMIT, ConceptGraph, Decision, ImageRecord, Plan, Population, Seed, derive_seed
from .guards import own_success
from .policy import MOST, refine, reseed, stop


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


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RandomControl:
    """The control that a judge has to beat: refine, reseed or stop by lot; only an image that passes all is left alone.

    The lot is drawn from the run's seed and the image's id, so that the same population has the
    same answer. Its refinements still use the critic's corrected prompt: what is by chance is the
    choice between the moves.
    """

    images: int = Field(default=2, ge=1, le=MOST)
    """First drawings."""
    stop_share: float = Field(default=0.2, ge=0, le=1)
    """How often the lot falls on stop."""
    refine_share: float = Field(default=0.5, ge=0, le=1)
    """Of the rest, how often it falls on refine."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.images)

    def judge(self, population: Population) -> list[Decision]:
        return [self._decide(population, image) for image in population.pending()]

    def _decide(self, population: Population, image: ImageRecord) -> Decision:
        if (stopped := own_success(population, image)) is not None:
            return stopped

        def lot(name: str) -> float:
            """A number in [0, 1) that depends on the run's seed, the image and the name alone."""
            return derive_seed(population.seed, "lot", image.id, name) / SEED_LIMIT

        if lot("stop") < self.stop_share:
            return stop(image, "by_lot_stop", "the lot fell on stop")
        if lot("refine") >= self.refine_share:
            return reseed(population, image, "by_lot_reseed", "the lot fell on reseed")
        step = int(lot("step") * image.steps)
        reason = f"the lot fell on refine, from step {step}"
        return refine(population, image, "by_lot_refine", reason, operator="inject", start_step=step)
