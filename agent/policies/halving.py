"""Successive halving over seeds: all of them a little, the better half some more, the best to the end."""

from collections.abc import Sequence
from math import ceil
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from ...state import ConceptGraph, Decision, ImageRecord, Plan, Population
from .guards import Guard, at_most, first_stop, nothing_failed, success
from .lines import Refining
from .policy import MOST, MOST_STEPS, go_on, stop


@dataclass(frozen=True, config=ConfigDict(extra="forbid"), kw_only=True)
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
