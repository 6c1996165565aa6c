"""Guards: functions that stop an image or return None, which policies combine.

Policies need no guard for the budget or for repeated attempts: the graph checks both.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise

from ...state import Decision, ImageRecord, Population
from .lineage import line_of, refinements, tried_in_vain
from .policy import failed, stop

Guard = Callable[[Population, ImageRecord], Decision | None]
"""A stop if the guard fires, else None."""


def first_stop(guards: Iterable[Guard], population: Population, image: ImageRecord) -> Decision | None:
    """The stop of the first guard that fires."""
    return next((found for guard in guards if (found := guard(population, image)) is not None), None)


def success(population: Population, image: ImageRecord) -> Decision | None:
    """Stops all images once any image passes every check."""
    best = population.best()
    if not population.critiques[best.id].all_pass:
        return None
    return own_success(population, image) or stop(image, "another_passes", f"every check passes on {best.id}")


def own_success(population: Population, image: ImageRecord) -> Decision | None:
    """Stops an image that passes every check."""
    if not population.critiques[image.id].all_pass:
        return None
    return stop(image, "all_pass", "every check passes")


def nothing_failed(population: Population, image: ImageRecord) -> Decision | None:
    """Stops an image on which no check failed for certain."""
    critique = population.critiques[image.id]
    if critique.all_pass or failed(critique):
        return None
    unknown = len(critique.verdicts) - critique.passed
    return stop(image, "nothing_failed", f"{unknown} checks are unknown, and none failed")


def at_most(rounds: int) -> Guard:
    """Stops a drawing after this many refinements."""

    def guard(population: Population, image: ImageRecord) -> Decision | None:
        if refinements(population, image) < rounds:
            return None
        return stop(image, "rounds_done", f"it has had its {rounds} refinement(s)")

    return guard


def plateau(patience: int) -> Guard:
    """Stops after so many refinements in a row without gain."""

    def guard(population: Population, image: ImageRecord) -> Decision | None:
        tried = tried_in_vain(population, image)
        return stop(image, "plateau", f"{tried} refinements in a row gained nothing") if tried >= patience else None

    return guard


def regression(drops: int = 2) -> Guard:
    """Stops after so many refinements in a row that pass fewer checks than their sources."""

    def guard(population: Population, image: ImageRecord) -> Decision | None:
        scores = [population.critiques[i.id].score for i in line_of(population, image)[: drops + 1]]
        if len(scores) <= drops or any(new >= old for new, old in pairwise(scores)):
            return None
        return stop(image, "regression", f"each of the last {drops} refinements passes fewer checks than its source")

    return guard


def oscillation(population: Population, image: ImageRecord) -> Decision | None:
    """Stops when a refinement undoes what the one before changed."""
    line = line_of(population, image)
    if len(line) < 3:
        return None
    now, before, first = (population.critiques[i.id].answers() for i in line[:3])
    if now != first or now == before:
        return None
    return stop(image, "oscillation", f"its verdicts are those of {line[2].id} again; {line[1].id} differed")
