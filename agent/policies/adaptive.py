"""The default policy: refine what is nearly right, draw anew what is not, keep the best."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import ConceptGraph, Critique, Decision, ImageRecord, Operator, Plan, Population, derive_seed
from .moves import failed, refine, reseed, stop

KEPT_STEPS = (1, 2, 4)
"""Where a trajectory can be resumed; the paper's sweep of 28 (arXiv 2504.08714)."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Adaptive:
    """Local failures are refined, global ones drawn anew, until all checks pass.

    That a missing subject wants another seed and a wrong detail a refinement is the finding of EPIC
    (arXiv 2605.11722); that later images are often worse, so that work has to go on from the best
    one, is plain from published traces of such loops.
    """

    images: int = Field(default=2, ge=1)
    """First drawings."""
    width: int = Field(default=1, ge=1)
    """Images that are worked on in one round, the most promising ones."""
    operator: Operator = "inject"
    """How a refinement starts."""
    mild: float = Field(default=1 / 7, ge=0, lt=1)
    """Start of a refinement when few checks fail, as a fraction of the schedule: step 4 of 28."""
    severe: float = Field(default=1 / 14, ge=0, lt=1)
    """The same when more than a quarter of the checks fail: step 2 of 28."""
    reseed_share: float = Field(default=0.5, gt=0, le=1)
    """Share of failed checks from which an image is drawn anew."""
    patience: int = Field(default=2, ge=1)
    """Refinements in a row after which one is drawn anew if no more checks pass than before."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.images, keep_steps=KEPT_STEPS if self.operator == "resume" else ())

    def judge(self, population: Population) -> list[Decision]:
        best = population.best()
        pending = sorted(population.pending(), key=lambda i: _standing(population, i), reverse=True)
        if population.critiques[best.id].all_pass:
            return [_finished(image, best) for image in pending]
        return [
            self._decide(population, image)
            if place < self.width
            else stop(image, "outranked", f"{self.width} more promising image(s) are worked on")
            for place, image in enumerate(pending)
        ]

    def _decide(self, population: Population, image: ImageRecord) -> Decision:
        line = _line(population, image)
        source = max(reversed(line), key=population.rank)
        critique = population.critiques[source.id]
        wrong, total = failed(critique), len(critique.verdicts)
        if not wrong:
            return stop(image, "nothing_failed", f"{total - critique.passed} checks are unknown, and none failed")
        missing = _missing(population.concepts, critique)
        if missing:
            return reseed(population, image, "subject_missing", f"not in the picture: {', '.join(missing)}")
        if len(wrong) >= self.reseed_share * total:
            return reseed(population, image, "most_checks_fail", f"{len(wrong)} of {total} checks fail")
        tried = _tried_in_vain(population, line[-1])
        if tried >= self.patience:
            return reseed(population, image, "refinement_stalls", f"{tried} refinements in a row fixed nothing")
        return self._refine(population, image, source, wrong)

    def _refine(
        self, population: Population, image: ImageRecord, source: ImageRecord, wrong: tuple[str, ...]
    ) -> Decision:
        reverted = source != image
        share = len(wrong) / len(population.critiques[source.id].verdicts)
        fraction = self.severe if share > 1 / 4 or reverted else self.mild
        reason = f"{source.id} fails {', '.join(wrong)}"
        return refine(
            population,
            image,
            "revert_to_best" if reverted else "few_checks_fail",
            f"{image.id} is no better than {source.id}; {reason}" if reverted else reason,
            source=source,
            operator=self.operator,
            start_step=round(fraction * source.steps),
            seed=derive_seed(population.seed, "refine", image.id) if reverted else None,
        )


def _line(population: Population, image: ImageRecord) -> list[ImageRecord]:
    """``image``, what it was refined from, and so on up to the drawing that they all come from."""
    line = [image]
    for ancestor in population.ancestors(image):
        if line[-1].origin != "refine":
            break
        line.append(ancestor)
    return line


def _standing(population: Population, image: ImageRecord) -> tuple[float, float]:
    """Rank of the best image in its line: what work on it would start from."""
    return max(population.rank(i) for i in _line(population, image))


def _tried_in_vain(population: Population, drawing: ImageRecord) -> int:
    """Refinements that came of ``drawing`` since the one that first passed as many checks as any."""
    family = [i for i in population.images.values() if _line(population, i)[-1] == drawing]
    scores = [population.critiques[i.id].score for i in sorted(family, key=lambda i: i.id)]
    return len(scores) - 1 - scores.index(max(scores))


def _missing(concepts: ConceptGraph, critique: Critique) -> tuple[str, ...]:
    """Names of the entities that are not in the picture."""
    checks = [concepts.check(id) for id in failed(critique)]
    absent = {check.about for check in checks if check.aspect == "presence"}
    return tuple(entity.name for entity in concepts.entities if entity.id in absent)


def _finished(image: ImageRecord, best: ImageRecord) -> Decision:
    if image == best:
        return stop(image, "all_pass", "every check passes")
    return stop(image, "another_passes", f"every check passes on {best.id}")
