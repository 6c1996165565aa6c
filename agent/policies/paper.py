"""The published procedure: one drawing, and four refinements of it, whatever the picture; and its idea in one."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import ConceptGraph, Decision, ImageRecord, Operator, Plan, Population, Step
from .policy import MOST, MOST_STEPS, failed, refine, refinement, stop

PUBLISHED_STEPS = (0, 2, 3, 5)
"""Of 28: where the published k of 0, 1, 2 and 4 start, since its callback swaps the prompt after k + 1 steps."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Paper:
    """Draw once, refine the drawing from each of four steps, and keep the best of the four.

    "Generating Fine Details of Entity Interactions" (arXiv 2504.08714) and the code published with
    it. All four are made even of a drawing that passes every check, and the drawing takes no part in
    the choice. A step of 0 is a full drawing from the corrected prompt with the same seed. Where the
    critic has nothing to correct, the four are the drawing again, since its prompt is.
    """

    start_steps: tuple[Step, ...] = Field(default=PUBLISHED_STEPS, min_length=1, max_length=MOST_STEPS)
    """Where the drawing is resumed, all in one round; steps beyond the schedule are left out."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=1, keep_steps=self.start_steps)

    def judge(self, population: Population) -> list[Decision]:
        return [self._decide(population, image) for image in population.pending()]

    def _decide(self, population: Population, image: ImageRecord) -> Decision:
        if image.origin == "refine":
            return stop(image, "refined_once", "it is a refinement, and none is refined again")
        wrong = ", ".join(failed(population.critiques[image.id])) or "nothing for certain"
        steps = [k for k in self.start_steps if k < image.steps] or [0]
        return Decision(
            image=image.id,
            rule="always_refined",
            reason=f"it fails {wrong}, and every drawing is refined",
            attempts=tuple(refinement(population, image, operator="resume", start_step=k) for k in steps),
            candidate=False,
        )


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Single:
    """One image, one critique, one refinement, then stop.

    "Generating Fine Details of Entity Interactions" (arXiv 2504.08714), section on DetailScribe. Its
    code resumes the trajectory at several steps, whatever the picture (``Paper``); here one step is
    resumed where a check does not pass, and the better of the drawing and its refinement is kept.
    """

    operator: Operator = "resume"
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
