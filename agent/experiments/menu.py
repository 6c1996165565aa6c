"""What an exhaustive tree tries of every image: all that the policies that ship could ask for, within bounds."""

from collections.abc import Iterator
from itertools import product
from typing import Annotated

from pydantic import Field

from ...state import Decision, Frozen, ImageRecord, Operator, Population, derive_seed
from ..graph.guard import without_repeats
from ..graph.routing import image_id
from ..policies import refine, reseed


class Menu(Frozen):
    """Depth and branching of a tree.

    A policy takes the seed of an attempt from the run's seed and from the id of the image that it judges, so each
    place that an image can have in a run is tried with the seeds of that place. An image that passes every check is
    a leaf.
    """

    drawings: int = Field(default=2, ge=1)
    """First drawings, from the seeds that a policy's first ones have."""
    rounds: int = Field(default=2, ge=0)
    """Rounds after them; what is replayed on the tree has no more."""
    operators: Annotated[tuple[Operator, ...], Field(min_length=1)] = ("inject", "resume")
    """How images are refined."""
    start_steps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (1, 2, 4)
    """Steps of the schedule from which each of them is."""
    reseeds: bool = True
    """Whether images are drawn anew as well."""
    width: int = Field(default=1, ge=1)
    """Images that a policy works on in one round."""

    @property
    def keep_steps(self) -> tuple[int, ...]:
        """What has to be kept of every image."""
        return tuple(sorted(set(self.start_steps))) if "resume" in self.operators else ()

    @property
    def most_images(self) -> int:
        """Images of a tree in which no image passes, at most."""
        refined = len(self.start_steps) * len(self.operators)
        renoised = len(self.start_steps) * ("inject" in self.operators)
        by_round = [self.drawings]
        for round in range(self.rounds):
            places = 1 if round == 0 else self.width
            new = by_round[round] * (refined + places * (renoised + self.reseeds))
            old = sum(by_round[:round]) * places * (renoised + self.reseeds) - places * self.reseeds * self.drawings
            by_round.append(new + (old if round else 0))
        return sum(by_round)

    def after(self, population: Population) -> list[Decision]:
        """What is tried after a round, nothing of it twice; ``population`` holds the whole tree so far."""
        tries = [d for image in population.images.values() for d in self._of(image, population)]
        return [d for d in without_repeats(tries, population) if d.action != "stop"]

    def _of(self, image: ImageRecord, population: Population) -> Iterator[Decision]:
        if population.critiques[image.id].all_pass:
            return
        places = self._places(image, population.round)
        for operator, step in product(self.operators, self.start_steps):
            if operator == "resume" and step not in image.trajectory:
                continue
            own = [derive_seed(population.seed, "refine", place) for place in places]
            for seed in [image.seed, *(own if operator == "inject" else [])]:
                yield refine(population, image, *_WHY, operator=operator, start_step=step, seed=seed)
        if self.reseeds and (image.round > 0 or population.round == 0):
            anew = reseed(population, image, *_WHY)
            for place in places:
                yield anew.model_copy(update={"seed": derive_seed(population.seed, "reseed", place)})

    def _places(self, image: ImageRecord, round: int) -> list[str]:
        """Ids that the image that is judged can have when this one is gone on from after that round."""
        return [image.id] if round == 0 else [image_id(round, index) for index in range(self.width)]


_WHY = ("exhaustive", "everything on the menu is tried")
