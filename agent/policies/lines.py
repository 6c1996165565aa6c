"""Policies that refine lines of images: one line, several side by side, or those of the best seeds."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ...state import ConceptGraph, Decision, ImageRecord, Operator, Plan, Population, Step
from .guards import Guard, at_most, first_stop, nothing_failed, oscillation, plateau, regression, success
from .lineage import Keep, kept, line_of, promising, refine_anew, refinements
from .policy import MOST, MOST_STEPS, failed, stop

Schedule = Step | Annotated[tuple[Step, ...], Field(min_length=1, max_length=MOST_STEPS)]
"""The start step of every refinement, or of the first, the second and so on, of which the last one stays."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
class Refining:
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


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
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


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
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


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
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
