"""Policies that refine lines of images: one line, several lines, or those of the best seeds or previews."""

from collections.abc import Sequence
from math import ceil
from typing import Annotated, Self

from pydantic import Field, model_validator

from ...state import ConceptGraph, Decision, ImageRecord, Operator, Plan, Population, Step
from .guards import Guard, at_most, first_stop, nothing_failed, oscillation, plateau, regression, success
from .lineage import Keep, kept, line_of, promising, refine_anew, refinements
from .policy import MOST, MOST_STEPS, Parameters, failed, go_on, stop

Schedule = Step | Annotated[tuple[Step, ...], Field(min_length=1, max_length=MOST_STEPS)]
"""The start step of every refinement, or of each in turn, where the last one is repeated."""


class Refining(Parameters):
    """What these policies share: they refine each image until a guard stops it."""

    operator: Operator = "inject"
    """How a refinement starts."""
    start_step: Schedule = 4
    """Step of the schedule to start at, for every refinement or for each in turn."""
    keep: Keep = "best"
    """What a refinement starts from: the ``best`` image so far, the newest if it is ``better``, or the ``newest``."""

    @property
    def starts(self) -> tuple[int, ...]:
        """The start steps in turn; the last one is repeated."""
        return (self.start_step,) if isinstance(self.start_step, int) else self.start_step

    @property
    def keep_steps(self) -> list[int]:
        """Steps that a drawing keeps, so that refinements can resume there."""
        return sorted(set(self.starts)) if self.operator == "resume" else []

    def guards(self, population: Population) -> Sequence[Guard]:
        """What stops an image, in order."""
        raise NotImplementedError

    def judge(self, population: Population) -> list[Decision]:
        guards = self.guards(population)
        return [self.refined(population, image, guards) for image in promising(population)]

    def refined(self, population: Population, image: ImageRecord, guards: Sequence[Guard]) -> Decision:
        """The next new refinement of the line of ``image``, unless a guard stops it."""
        if (stopped := first_stop(guards, population, image)) is not None:
            return stopped
        source, starts = kept(population, image, self.keep), self.starts
        wrong = ", ".join(failed(population.critiques[source.id])) or "nothing"
        reverted = source != image
        return refine_anew(
            population,
            image,
            "revert_to_best" if reverted else "next_round",
            f"{image.id} is no better than {source.id}, which fails {wrong}" if reverted else f"it fails {wrong}",
            source=source,
            operator=self.operator,
            start_step=starts[min(refinements(population, image), len(starts) - 1)],
        )


class MultiRound(Refining):
    """Refine one drawing round after round, until it passes or gains nothing more.

    The paper ("Generating Fine Details of Entity Interactions", arXiv 2504.08714) stops after one round. Published
    traces of such loops show that later rounds break about as much as they fix, so the best image is kept.
    """

    rounds: int = Field(default=3, ge=0, le=MOST)
    """Refinements at most."""
    patience: int | None = Field(default=2, ge=1, le=MOST)
    """Refinements in a row without gain after which it stops; None continues through plateaus, regressions and
    oscillations."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=1, keep_steps=self.keep_steps)

    def guards(self, population: Population) -> Sequence[Guard]:
        always = (success, nothing_failed, at_most(self.rounds))
        return always if self.patience is None else (*always, oscillation, regression(), plateau(self.patience))


class Hybrid(Refining):
    """``parallel`` lines of ``sequential`` images each, until any image passes: a budget split into width and depth.

    Of 16 images, 2 lines of 8 did better than 16 seeds or one line of 16 (Iterative Refinement, arXiv 2601.15286).
    Lines of 8 take 7 rounds and 16 images. The default budget of 6 rounds ends a line at 7 images by ``budget_rounds``,
    and an experiment refuses to start with it.
    """

    parallel: int = Field(default=2, ge=1, le=MOST)
    """Lines, each from a seed of its own."""
    sequential: int = Field(default=8, ge=1, le=MOST)
    """Images in a line, its drawing included."""

    @property
    def rounds(self) -> int:
        """Refinements of each drawing."""
        return self.sequential - 1

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.parallel, keep_steps=self.keep_steps)

    def guards(self, population: Population) -> Sequence[Guard]:
        return success, nothing_failed, at_most(self.rounds)


class SeedSearch(Refining):
    """Draw the original prompt from ``n`` seeds, refine the best ``m`` drawings, keep the best image.

    A missing subject needs another seed, a wrong detail a refinement (EPIC, arXiv 2605.11722), and one critique shows
    which seeds are worth refining.
    """

    n: int = Field(default=4, ge=1, le=MOST)
    """Seeds."""
    m: int = Field(default=1, ge=1, le=MOST)
    """Drawings that are refined."""
    rounds: int = Field(default=2, ge=0, le=MOST)
    """Refinements of each of them."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.n, keep_steps=self.keep_steps)

    def guards(self, population: Population) -> Sequence[Guard]:
        drawings = sorted((i for i in population.images.values() if i.round == 0), key=lambda i: i.id)
        chosen = sorted(drawings, key=population.rank, reverse=True)[: self.m]

        def outranked(population: Population, image: ImageRecord) -> Decision | None:
            if line_of(population, image)[-1] in chosen:
                return None
            return stop(image, "outranked", f"{self.m} more promising drawing(s) are refined")

        return success, outranked, nothing_failed, at_most(self.rounds)


class Halving(Refining):
    """Preview ``n`` seeds at each rung, continue the better part, refine what is drawn to the end.

    Successive halving (arXiv 1502.07943) with the critic's verdicts on previews as the loss: the denoiser's prediction
    of the final picture shows early which things are in it. Each preview costs a critic call, so this pays where
    drawing costs more than a critique. Under a budget of evaluations it starts with no more seeds than could all be
    drawn to the end.
    """

    n: int = Field(default=8, ge=1, le=MOST)
    """Seeds."""
    rungs: Annotated[tuple[Annotated[int, Field(ge=1, le=MOST)], ...], Field(max_length=MOST_STEPS)] = (10, 18)
    """Steps of the schedule at which previews are judged, ascending and before its end; 28 is its usual length."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """Of the seeds, what continues after a rung; at least one."""
    rounds: int = Field(default=1, ge=0, le=MOST)
    """Refinements of each seed that is drawn to the end."""

    @model_validator(mode="after")
    def _rungs_ascend(self) -> Self:
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs must ascend: {self.rungs}")
        return self

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.n, keep_steps=self.keep_steps, stop_step=next(iter(self.rungs), None))

    def judge(self, population: Population) -> list[Decision]:
        pending = sorted(population.pending(), key=population.rank, reverse=True)
        on_rung = [i for i in pending if i.stop_step is not None and i.round == population.round]
        promoted = on_rung[: ceil(self.share * len(on_rung))]
        return [self._decide(population, image, promoted) for image in pending]

    def guards(self, population: Population) -> Sequence[Guard]:
        return success, nothing_failed, at_most(self.rounds)

    def _decide(self, population: Population, image: ImageRecord, promoted: list[ImageRecord]) -> Decision:
        if (step := image.stop_step) is None:
            return self.refined(population, image, self.guards(population))
        if image in promoted:
            later = [rung for rung in self.rungs if step < rung < image.steps]
            reason = f"among the better {len(promoted)} at step {step}"
            return go_on(population, image, "promoted", reason, next(iter(later), None))
        reason = f"dropped at step {step} of {image.steps}, which spares {image.spared} evaluations"
        return stop(image, "halved_out", reason)
