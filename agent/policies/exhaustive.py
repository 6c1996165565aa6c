"""The exhaustive policy: it makes every attempt that other policies could, so that they can be replayed on its run."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Annotated

from pydantic import Field

from ...state import Attempt, Budget, ConceptGraph, Decision, ImageRecord, Operator, Plan, Population, Step, derive_seed
from .policy import MOST, MOST_STEPS, Parameters, drawing, refinement, stop


class Exhaustive(Parameters):
    """Draw, refine and draw again in every way that other policies could, within bounds.

    The seed of an attempt depends on the run's seed and on the id of the judged image, so every image is tried with the
    seed of each id that it could have in another policy's run. An image that passes every check is not refined.
    """

    drawings: int = Field(default=2, ge=1, le=MOST)
    """First drawings, with the usual seeds."""
    rounds: int = Field(default=2, ge=0, le=MOST_STEPS)
    """Rounds after them, which also bound replays."""
    operators: Annotated[tuple[Operator, ...], Field(min_length=1, max_length=2)] = ("inject", "resume")
    """How images are refined."""
    start_steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=MOST_STEPS)] = (1, 2, 4)
    """Steps of the schedule at which each operator starts."""
    reseeds: bool = True
    """Whether images are also drawn again."""
    width: int = Field(default=1, ge=1, le=MOST)
    """Images that a replayed policy may refine in one round."""

    def plan(self, concepts: ConceptGraph) -> Plan:
        keep = sorted(set(self.start_steps)) if "resume" in self.operators else []
        return Plan(images=self.drawings, keep_steps=keep)

    def judge(self, population: Population) -> Sequence[Decision]:
        """All attempts on behalf of the first pending image; the others are stopped for now."""
        first, *others = pending = population.pending()
        tries = [attempt for image in population.images.values() for attempt in self._tries(image, population)]
        if not tries or population.round >= self.rounds:
            return [
                stop(image, "all_pass", "every check passes")
                if population.critiques[image.id].all_pass
                else stop(image, "rounds_done", f"{population.round} rounds were recorded")
                for image in pending
            ]
        reason = "every attempt within the bounds is made"
        everything = Decision(image=first.id, rule="exhaustive", reason=reason, attempts=tuple(tries))
        return [everything, *(stop(image, "exhaustive", reason) for image in others)]

    @property
    def budget(self) -> Budget:
        """The most that a run can take, if no image passes."""
        refined = len(self.start_steps) * len(self.operators)
        renoised = len(self.start_steps) * ("inject" in self.operators)
        by_round = [self.drawings]
        for round in range(self.rounds):
            places = 1 if round == 0 else self.width
            new = by_round[round] * (refined + places * (renoised + self.reseeds))
            old = sum(by_round[:round]) * places * (renoised + self.reseeds) - places * self.reseeds * self.drawings
            by_round.append(new + (old if round else 0))
        return Budget(rounds=self.rounds, images=sum(by_round))

    def _tries(self, image: ImageRecord, population: Population) -> Iterator[Attempt]:
        if population.critiques[image.id].all_pass:
            return
        round = population.round
        places = [image.id] if round == 0 else [f"{round:02d}-{index:02d}" for index in range(self.width)]
        for operator, step in product(self.operators, self.start_steps):
            if operator == "resume" and step not in image.trajectory:
                continue
            own = [derive_seed(population.seed, "refine", place) for place in places] if operator == "inject" else []
            for seed in [None, *own]:
                yield refinement(population, image, operator=operator, start_step=step, seed=seed)
        if self.reseeds and (image.round > 0 or round == 0):
            for place in places:
                yield drawing(population, image, seed=derive_seed(population.seed, "reseed", place))
