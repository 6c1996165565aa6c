"""The lineage of images, what was tried on them, and the next refinement that was not."""

from typing import Literal

from ...state import Attempt, Decision, ImageRecord, Operator, Population, derive_seed
from .policy import refine

Keep = Literal["best", "better", "newest"]
"""What a refinement starts from. best: the best image of the line; better: the newest one if it ranks above its source,
else that; newest: the newest one in any case."""


def line_of(population: Population, image: ImageRecord) -> list[ImageRecord]:
    """``image``, its source, and so on up to the drawing that they come from."""
    line = [image]
    for ancestor in population.ancestors(image):
        if line[-1].origin not in ("refine", "look"):
            break
        line.append(ancestor)
    return line


def family_of(population: Population, image: ImageRecord) -> list[ImageRecord]:
    """Every image that comes from the same drawing as ``image``, with that drawing, by round."""
    drawing = line_of(population, image)[-1]
    family = [i for i in population.images.values() if line_of(population, i)[-1] == drawing]
    return sorted(family, key=lambda i: (i.round, i.id))


def refinements(population: Population, image: ImageRecord) -> int:
    """How often the drawing that ``image`` comes from was refined; continuing a preview does not count."""
    parents = [population.parent(i) for i in family_of(population, image) if i.origin == "refine"]
    return sum(parent is not None and parent.stop_step is None for parent in parents)


def tried_in_vain(population: Population, image: ImageRecord) -> int:
    """Refinements of its drawing since the first one with the highest score."""
    whole = [i for i in family_of(population, image) if i.is_whole]
    scores = [population.critiques[i.id].score for i in whole]
    return len(scores) - 1 - scores.index(max(scores))


def best_of_line(population: Population, image: ImageRecord) -> ImageRecord:
    """The best image of the line; of equals, the oldest. Previews and second opinions only if there is nothing else."""
    return max(reversed(line_of(population, image)), key=lambda i: (i.is_whole, population.rank(i)))


def kept(population: Population, image: ImageRecord, keep: Keep) -> ImageRecord:
    """What to refine where ``image`` is the newest of its line."""
    if keep == "best":
        return best_of_line(population, image)
    before = population.parent(image) if keep == "better" and image.origin == "refine" else None
    if before is None or before.stop_step is not None:
        return image
    return max(before, image, key=population.rank)  # of equals, the first


def promising(population: Population) -> list[ImageRecord]:
    """The pending images, by the best image of their lines, best first."""
    pending = population.pending()
    return sorted(pending, key=lambda i: population.rank(best_of_line(population, i)), reverse=True)


Identity = tuple[object, ...]
"""What an attempt's outcome depends on: attempts with the same identity give the same image."""


def identity(attempt: Attempt | ImageRecord, like: ImageRecord) -> Identity:
    """Of an attempt or an image; ``like`` has the steps and guidance that an attempt leaves to the model. The seed of a
    resumed trajectory has no effect; second opinions differ by their seeds alone."""
    if attempt.operator == "look":
        return attempt.operator, attempt.source, attempt.seed
    return (
        attempt.operator,
        attempt.source,
        attempt.start_step,
        attempt.stop_step,
        attempt.region,
        attempt.prompt,
        None if attempt.operator == "resume" else attempt.seed,
        attempt.steps or like.steps,
        like.guidance if attempt.guidance is None else attempt.guidance,
    )


def identities_made(population: Population) -> set[Identity]:
    """Of all images so far."""
    return {identity(image, image) for image in population.images.values()}


def identities_of(decision: Decision, population: Population) -> list[Identity]:
    """Of the attempts of a decision, in order."""
    return [identity(attempt, image_like(attempt, population, decision.image)) for attempt in decision.attempts]


def image_like(attempt: Attempt, population: Population, image: str) -> ImageRecord:
    """The image whose steps and guidance an attempt for the image with this id has by default: its source, or the
    drawing that ``image`` comes from, since another model may have made an edit."""
    source = population.images.get(attempt.source or "")
    return source or line_of(population, population.images[image])[-1]


def is_repeat(population: Population, decision: Decision) -> bool:
    """Whether all its attempts were made before."""
    return bool(decision.attempts) and identities_made(population).issuperset(identities_of(decision, population))


def refine_anew(
    population: Population,
    image: ImageRecord,
    rule: str,
    reason: str,
    *,
    source: ImageRecord,
    operator: Operator,
    start_step: int,
) -> Decision:
    """``refine`` in a way that was not tried before: ``resume`` starts at the nearest kept step that was not tried; if
    there is none, and for ``inject``, the noise has a new seed."""

    def at(step: int, operator: Operator = operator, seed: int | None = None) -> Decision:
        return refine(population, image, rule, reason, source=source, operator=operator, start_step=step, seed=seed)

    kept = [k for k in source.trajectory if k < source.steps] if operator == "resume" else []
    for step in (start_step, *sorted(kept, key=lambda k: (abs(k - start_step), k))):
        decision = at(step)
        if not is_repeat(population, decision):
            return decision
    return at(start_step, "edit" if operator == "edit" else "inject", derive_seed(population.seed, "refine", image.id))
