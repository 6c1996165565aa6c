"""Baselines that a policy has to beat: the paper's procedure, the best of several seeds, and random choice."""

from pydantic import Field

from ...state import ConceptGraph, Decision, ImageRecord, Operator, Plan, Population, Seed, Step
from .guards import own_success
from .policy import MOST, MOST_STEPS, Parameters, failed, random_number, refine, refinement, reseed, stop

PUBLISHED_STEPS = (0, 2, 3, 5)
"""Of 28: the published k of 0, 1, 2 and 4, whose callback swaps the prompt after k + 1 steps."""


class BestOfN(Parameters):
    """Draw the original prompt from ``n`` seeds; refine nothing."""

    n: int = Field(default=4, ge=1, le=MOST)
    """How many images to draw; the budget may allow fewer."""
    seeds: tuple[Seed, ...] = Field(default=(), max_length=MOST)
    """Seeds of the first drawings; the others follow from the run's."""

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


class RandomControl(Parameters):
    """The control: refine, reseed or stop at random, unless every check passes.

    The choice depends on the run's seed and the image's id, so that it can be replayed. Refinements use the critic's
    corrected prompt; only the choice of the action is random.
    """

    images: int = Field(default=2, ge=1, le=MOST)
    """First drawings."""
    stop_share: float = Field(default=0.2, ge=0, le=1)
    """How often it stops."""
    refine_share: float = Field(default=0.5, ge=0, le=1)
    """Of the rest, how often it refines."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.images)

    def judge(self, population: Population) -> list[Decision]:
        return [own_success(population, i) or self._at_random(population, i) for i in population.pending()]

    def _at_random(self, population: Population, image: ImageRecord) -> Decision:
        if random_number(population, image, "stop") < self.stop_share:
            return stop(image, "by_lot_stop", "chose at random to stop")
        if random_number(population, image, "refine") >= self.refine_share:
            return reseed(population, image, "by_lot_reseed", "chose at random to reseed")
        step = int(random_number(population, image, "step") * image.steps)
        reason = f"chose at random to refine from step {step}"
        return refine(population, image, "by_lot_refine", reason, operator="inject", start_step=step)


class Paper(Parameters):
    """Draw once, refine the drawing from each of four steps, and keep the best of the four.

    "Generating Fine Details of Entity Interactions" (arXiv 2504.08714) and its published code. It refines even a
    drawing that passes every check, and never chooses the drawing. Step 0 is a full drawing from the corrected prompt
    with the same seed. Where the critic corrects nothing, all four equal the drawing.
    """

    start_steps: tuple[Step, ...] = Field(default=PUBLISHED_STEPS, min_length=1, max_length=MOST_STEPS)
    """Steps at which the drawing is resumed, all in one round; steps beyond the schedule are skipped."""

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


class Single(Parameters):
    """One image, one critique, one refinement, then stop.

    "Generating Fine Details of Entity Interactions" (arXiv 2504.08714), section on DetailScribe. Its code always
    resumes at several steps (``Paper``); this resumes at one step if a check does not pass, and keeps the better of the
    drawing and its refinement.
    """

    operator: Operator = "resume"
    """How the refinement starts."""
    start_step: int = Field(default=2, ge=0, le=MOST)
    """Step of the schedule to start at."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=1, keep_steps=(self.start_step,) if self.operator == "resume" else ())

    def judge(self, population: Population) -> list[Decision]:
        return [own_success(population, i) or self._once(population, i) for i in population.pending()]

    def _once(self, population: Population, image: ImageRecord) -> Decision:
        if image.origin != "generate":
            return stop(image, "refined_once", "it has had its one refinement")
        critique = population.critiques[image.id]
        count = f"{len(critique.verdicts) - critique.passed} of {len(critique.verdicts)} checks do not pass"
        reason = ": ".join(filter(None, (count, ", ".join(failed(critique)))))
        return refine(population, image, "first_critique", reason, operator=self.operator, start_step=self.start_step)
