"""The default policy: refine what is nearly right, draw again what is not, keep the best."""

from pydantic import Field

from ...state import ConceptGraph, Critique, Decision, ImageRecord, Operator, Plan, Population, derive_seed
from .guards import success
from .lineage import best_of_line, promising, tried_in_vain
from .policy import MOST, Parameters, failed, refine, reseed, stop

KEPT_STEPS = (1, 2, 4)
"""Of 28, where a trajectory can be resumed."""


class Adaptive(Parameters):
    """Refine local failures, draw global ones again, until all checks pass.

    After a refinement that gains nothing, the next one starts from the best ancestor: at an earlier step with other
    noise, or with noise after an edit or a resumed trajectory. When that stalls too, the image is drawn again.

    A missing subject needs another seed, a wrong detail a refinement (EPIC, arXiv 2605.11722). Published traces of
    such loops show that later images are often worse, so the best one is refined.
    """

    images: int = Field(default=2, ge=1, le=MOST)
    """First drawings."""
    width: int = Field(default=1, ge=1, le=MOST)
    """Images that are refined in one round, the most promising ones."""
    operator: Operator = "inject"
    """How a refinement starts; ``edit`` where the settings name a model that edits, unless another one is set."""
    mild: float = Field(default=1 / 7, ge=0, lt=1)
    """Start of a refinement when few checks fail, as a fraction of the schedule: step 4 of 28."""
    severe: float = Field(default=1 / 14, ge=0, lt=1)
    """The same when more than a quarter of the checks fail: step 2 of 28."""
    reseed_share: float = Field(default=0.5, gt=0, le=1)
    """Share of failed checks from which an image is drawn again."""
    patience: int = Field(default=2, ge=1, le=MOST)
    """Refinements in a row without gain after which an image is drawn again."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.images, keep_steps=KEPT_STEPS if self.operator == "resume" else ())

    def judge(self, population: Population) -> list[Decision]:
        return [self._decide(population, image, place) for place, image in enumerate(promising(population))]

    def _decide(self, population: Population, image: ImageRecord, place: int) -> Decision:
        if (stopped := success(population, image)) is not None:
            return stopped
        if place >= self.width:
            return stop(image, "outranked", f"{self.width} more promising image(s) are worked on")
        source = best_of_line(population, image)
        critique = population.critiques[source.id]
        if not failed(critique):
            return stop(image, "nothing_failed", f"{source.id} has unknown checks, and none failed")
        return self._anew(population, image, critique) or self._refine(population, image, source)

    def _anew(self, population: Population, image: ImageRecord, critique: Critique) -> Decision | None:
        """A reseed where refining is not worth it."""
        wrong, total, concepts = failed(critique), len(critique.verdicts), population.concepts
        absent = {check.about for check in map(concepts.check, wrong) if check.aspect == "presence"}
        if missing := [entity.name for entity in concepts.entities if entity.id in absent]:
            return reseed(population, image, "subject_missing", f"not in the picture: {', '.join(missing)}")
        if len(wrong) >= self.reseed_share * total:
            return reseed(population, image, "most_checks_fail", f"{len(wrong)} of {total} checks fail")
        if (tried := tried_in_vain(population, image)) >= self.patience:
            return reseed(population, image, "refinement_stalls", f"{tried} refinements in a row fixed nothing")
        return None

    def _refine(self, population: Population, image: ImageRecord, source: ImageRecord) -> Decision:
        reverted = source != image
        reason = f"{source.id} fails {', '.join(failed(population.critiques[source.id]))}"
        operator, start_step = self._start(population, source)
        return refine(
            population,
            image,
            "revert_to_best" if reverted else "few_checks_fail",
            f"{image.id} is no better than {source.id}; {reason}" if reverted else reason,
            source=source,
            operator=operator,
            start_step=start_step,
            seed=derive_seed(population.seed, "refine", image.id) if reverted else None,
        )

    def _start(self, population: Population, source: ImageRecord) -> tuple[Operator, int]:
        """Operator and step of the next refinement of ``source``: by severity, then by what was tried on it."""
        critique = population.critiques[source.id]
        severe = len(failed(critique)) > len(critique.verdicts) / 4
        fractions = (self.severe, self.severe / 2) if severe else (self.mild, self.severe, self.severe / 2)
        steps = [round(fraction * source.steps) for fraction in fractions]
        ways: list[tuple[Operator, int]] = [(self.operator, step) for step in steps]
        if self.operator == "resume":
            ways.append(("inject", steps[0]))
        if self.operator == "edit":
            ways = [("edit", 0), *(("inject", step) for step in steps if source.latent is not None)]
        tried = sum(i.parent == source.id and i.origin == "refine" for i in population.images.values())
        return ways[min(tried, len(ways) - 1)]
