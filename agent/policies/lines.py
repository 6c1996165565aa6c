"""Policies that refine lines of images: one line, several side by side, or those of the best seeds or previews."""

from collections.abc import Sequence
from math import ceil
from typing import Annotated, Self

from pydantic import Field, model_validator

from ...state import ConceptGraph, Decision, ImageRecord, Operator, Plan, Population, Step
from .guards import Guard, at_most, first_stop, nothing_failed, oscillation, plateau, regression, success
from .lineage import Keep, kept, line_of, promising, refine_anew, refinements
from .policy import MOST, MOST_STEPS, Parameters, failed, go_on, stop

Schedule = Step | Annotated[tuple[Step, ...], Field(min_length=1, max_length=MOST_STEPS)]
"""The start step of every refinement, or of the first, the second and so on, of which the last one stays."""


class Refining(Parameters):
    """The settings that these policies share, and what they do: refine each image until a guard stops it."""

    operator: Operator = "inject"
    """How a refinement starts."""
    start_step: Schedule = 4
    """Step of the schedule to start at, for every refinement or for each in turn."""
    keep: Keep = "best"
    """What a refinement goes on from: the ``best`` image so far, the newest if it is ``better``, or the ``newest``."""

    def starts(self) -> tuple[int, ...]:
        """The schedule; its last step stays."""
        return (self.start_step,) if isinstance(self.start_step, int) else self.start_step

    def keep_steps(self) -> tuple[int, ...]:
        """What the diffusion model has to keep for it."""
        return tuple(sorted(set(self.starts()))) if self.operator == "resume" else ()

    def guards(self, population: Population) -> Sequence[Guard]:
        """What stops an image, in order."""
        raise NotImplementedError

    def judge(self, population: Population) -> list[Decision]:
        guards, images = self.guards(population), promising(population)
        return [first_stop(guards, population, image) or self.refined(population, image) for image in images]

    def refined(self, population: Population, image: ImageRecord) -> Decision:
        """The next refinement of the line of ``image``, other than all that were tried."""
        source = kept(population, image, self.keep)
        starts = self.starts()
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

    The paper ("Generating Fine Details of Entity Interactions", arXiv 2504.08714) stops after one
    round. That later rounds break about as much as they fix, so that the best image has to be kept,
    is plain from published traces of such loops.
    """

    rounds: int = Field(default=3, ge=0, le=MOST)
    """Refinements at most."""
    patience: int | None = Field(default=2, ge=1, le=MOST)
    """Refinements in a row without gain after which it stops; None: it goes on through plateaus,
    regressions and oscillations alike, to show what many rounds do."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=1, keep_steps=self.keep_steps())

    def guards(self, population: Population) -> Sequence[Guard]:
        always = (success, nothing_failed, at_most(self.rounds))
        return always if self.patience is None else (*always, oscillation, regression(), plateau(self.patience))


class Hybrid(Refining):
    """``parallel`` lines of ``sequential`` images each, until any of them passes: a budget split between width and
    depth.

    Of 16 images, 2 lines of 8 did better than 16 seeds or one line of 16 (Iterative Refinement,
    arXiv 2601.15286). Lines of 8 take 7 rounds and 16 images, and a budget has 6 rounds unless it says
    otherwise: with that, a line ends at 7 images by ``budget_rounds``, and an experiment refuses to begin.
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
        return Plan(images=self.parallel, keep_steps=self.keep_steps())

    def guards(self, population: Population) -> Sequence[Guard]:
        return success, nothing_failed, at_most(self.rounds)


class SeedSearch(Refining):
    """Draw the original prompt from ``n`` seeds, refine the best ``m`` drawings, keep the best image.

    What a seed leaves out, a refinement seldom adds: a missing subject wants another seed, a wrong
    detail an edit (EPIC, arXiv 2605.11722). Which seed is worth the work shows after one critique.
    """

    n: int = Field(default=4, ge=1, le=MOST)
    """Seeds."""
    m: int = Field(default=1, ge=1, le=MOST)
    """Drawings that are refined."""
    rounds: int = Field(default=2, ge=0, le=MOST)
    """Refinements of each of them."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.n, keep_steps=self.keep_steps())

    def guards(self, population: Population) -> Sequence[Guard]:
        drawings = sorted((i for i in population.images.values() if i.round == 0), key=lambda i: i.id)
        chosen = sorted(drawings, key=population.rank, reverse=True)[: self.m]

        def outranked(population: Population, image: ImageRecord) -> Decision | None:
            if line_of(population, image)[-1] in chosen:
                return None
            return stop(image, "outranked", f"{self.m} more promising drawing(s) are refined")

        return success, outranked, nothing_failed, at_most(self.rounds)


class Halving(Refining):
    """Preview ``n`` seeds at each rung, go on with the better part, refine what is drawn to the end.

    Successive halving (arXiv 1502.07943) with the critic's verdicts on previews as the loss: what
    the denoiser takes for the final picture at an early step shows already which things are there.
    A preview costs a look as well, so it pays where drawing is dearer than looking. Under a budget
    of evaluations it begins with no more seeds than could all be drawn to the end.
    """

    n: int = Field(default=8, ge=1, le=MOST)
    """Seeds."""
    rungs: Annotated[tuple[Annotated[int, Field(ge=1, le=MOST)], ...], Field(max_length=MOST_STEPS)] = (10, 18)
    """Steps of the schedule at which previews are judged, ascending and before its end; 28 is its usual length."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """Of the seeds, what goes on after a rung; at least one."""
    rounds: int = Field(default=1, ge=0, le=MOST)
    """Refinements of each seed that is drawn to the end."""

    @model_validator(mode="after")
    def _rungs_ascend(self) -> Self:
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs must ascend: {self.rungs}")
        return self

    def plan(self, concepts: ConceptGraph) -> Plan:
        return Plan(images=self.n, keep_steps=self.keep_steps(), stop_step=next(iter(self.rungs), None))

    def judge(self, population: Population) -> list[Decision]:
        pending = sorted(population.pending(), key=population.rank, reverse=True)
        on_rung = [i for i in pending if i.stop_step is not None and i.round == population.round]
        promoted = on_rung[: ceil(self.share * len(on_rung))]
        return [self._decide(population, image, promoted) for image in pending]

    def guards(self, population: Population) -> Sequence[Guard]:
        return success, nothing_failed, at_most(self.rounds)

    def _decide(self, population: Population, image: ImageRecord, promoted: list[ImageRecord]) -> Decision:
        if image.stop_step is None:
            stopped = first_stop(self.guards(population), population, image)
            return stopped or self.refined(population, image)
        if image in promoted:
            later = [rung for rung in self.rungs if image.stop_step < rung < image.steps]
            reason = f"among the better {len(promoted)} at step {image.stop_step}"
            return go_on(population, image, "promoted", reason, next(iter(later), None))
        spared = f"dropped at step {image.stop_step} of {image.steps}, which spares {image.spared} evaluations"
        return stop(image, "halved_out", spared)
