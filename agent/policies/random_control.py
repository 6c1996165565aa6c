"""The control: what a judge is worth shows against one that does not look."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import SEED_LIMIT, ConceptGraph, Decision, ImageRecord, Plan, Population, derive_seed
from .guards import first_stop, own_success
from .policy import MOST, refine, reseed, stop


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RandomControl:
    """Refine, reseed or stop by lot; only an image that passes everything is left alone.

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
        stopped = first_stop((own_success,), population, image)
        if stopped is not None:
            return stopped
        if _lot(population, image, "stop") < self.stop_share:
            return stop(image, "by_lot_stop", "the lot fell on stop")
        if _lot(population, image, "refine") >= self.refine_share:
            return reseed(population, image, "by_lot_reseed", "the lot fell on reseed")
        step = int(_lot(population, image, "step") * image.steps)
        return refine(
            population,
            image,
            "by_lot_refine",
            f"the lot fell on refine, from step {step}",
            operator="inject",
            start_step=step,
        )


def _lot(population: Population, image: ImageRecord, name: str) -> float:
    """A number in [0, 1) that depends on the run's seed, the image and the name alone."""
    return derive_seed(population.seed, "lot", image.id, name) / SEED_LIMIT
