"""The paper's idea at its shortest: one drawing, one critique, one refinement."""

from dataclasses import field

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import ConceptGraph, Decision, ImageRecord, Operator, Plan, Population
from .policy import MOST, failed, refine, stop


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Single:
    """One image, one critique, one refinement, then stop.

    "Generating Fine Details of Entity Interactions" (arXiv 2504.08714), section on DetailScribe. Its
    code resumes the trajectory at several steps, whatever the picture (``Paper``); here one step is
    resumed where a check does not pass, and the better of the drawing and its refinement is kept.
    """

    operator: Operator = field(default="resume")
    """How the refinement starts."""
    start_step: int = Field(default=2, ge=0, le=MOST)
    """Step of the schedule to start at."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=1, keep_steps=(self.start_step,) if self.operator == "resume" else ())

    def judge(self, population: Population) -> list[Decision]:
        return [self._decide(population, image) for image in population.pending()]

    def _decide(self, population: Population, image: ImageRecord) -> Decision:
        critique = population.critiques[image.id]
        if critique.all_pass:
            return stop(image, "all_pass", "every check passes")
        if image.origin != "generate":
            return stop(image, "refined_once", "it has had its one refinement")
        reason = f"{len(critique.verdicts) - critique.passed} of {len(critique.verdicts)} checks do not pass"
        wrong = failed(critique)
        return refine(
            population,
            image,
            "first_critique",
            f"{reason}: {', '.join(wrong)}" if wrong else reason,
            operator=self.operator,
            start_step=self.start_step,
        )
