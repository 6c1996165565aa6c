"""The published procedure: two seeds, and four refinements of the better one."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import ConceptGraph, Decision, ImageRecord, Operator, Plan, Population, Seed
from .guards import own_success
from .lineage import Step
from .policy import failed, refinement, stop

PUBLISHED_SEEDS = (2628670643, 2628670647)
"""Of every drawing in the published code."""
PUBLISHED_STEPS = (0, 1, 2, 4)
"""Of 28, after which the published code swaps the prompt."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Paper:
    """Draw from the published seeds, resume the better image at each of four steps, keep the best of all.

    "Generating Fine Details of Entity Interactions" (arXiv 2504.08714) and the code published with
    it. A step of 0 is a full drawing from the corrected prompt with the same seed. Two departures:
    a drawing that passes every check is not refined, since nothing is to be corrected, and the
    drawings take part in the choice of the best image, which the published code makes among the
    four alone.
    """

    seeds: tuple[Seed, ...] = Field(default=PUBLISHED_SEEDS, min_length=1)
    """Of the first drawings."""
    start_steps: tuple[Step, ...] = Field(default=PUBLISHED_STEPS, min_length=1)
    """Where the better drawing is resumed, all in one round; steps beyond the schedule are left out."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=len(self.seeds), seeds=self.seeds, keep_steps=self.start_steps)

    def judge(self, population: Population) -> list[Decision]:
        best = population.best()
        return [self._decide(population, image, best) for image in population.pending()]

    def _decide(self, population: Population, image: ImageRecord, best: ImageRecord) -> Decision:
        stopped = own_success(population, image)
        if stopped is not None:
            return stopped
        if image.origin == "refine":
            return stop(image, "refined_once", "it is a refinement, and none is refined again")
        if image != best:
            return stop(image, "not_the_best", f"{best.id} passes more checks or is surer of them")
        return self._branch(population, image)

    def _branch(self, population: Population, image: ImageRecord) -> Decision:
        wrong = ", ".join(failed(population.critiques[image.id])) or "nothing for certain"
        steps = [k for k in dict.fromkeys(self.start_steps) if k < image.steps]
        kept = [k for k in steps if k in image.trajectory]
        operator: Operator = "resume" if kept else "inject"
        attempts = tuple(refinement(population, image, operator=operator, start_step=k) for k in kept or steps or [0])
        return Decision(image=image.id, rule="better_drawing", reason=f"it fails {wrong}", attempts=attempts)
