"""Lines of work: an image, what it was refined from, and what else came of the same drawing."""

from typing import Literal

from ...state import ImageRecord, Population

Keep = Literal["best", "better", "newest"]
"""What a refinement goes on from. best: the best image of the line; better: the newest one if it
ranks above what it was refined from, else that; newest: the newest one, for better or worse."""


def line_of(population: Population, image: ImageRecord) -> list[ImageRecord]:
    """``image``, what it was refined from, and so on up to the drawing that they all come from."""
    line = [image]
    for ancestor in population.ancestors(image):
        if line[-1].origin != "refine":
            break
        line.append(ancestor)
    return line


def family_of(population: Population, image: ImageRecord) -> list[ImageRecord]:
    """Every image that came of the drawing that ``image`` comes from, that one included, by round."""
    drawing = line_of(population, image)[-1]
    family = [i for i in population.images.values() if line_of(population, i)[-1] == drawing]
    return sorted(family, key=lambda i: (i.round, i.id))


def refinements(population: Population, image: ImageRecord) -> int:
    """How many times the drawing that ``image`` comes from was refined; to go on with a preview is not to refine."""
    parents = [population.parent(i) for i in family_of(population, image) if i.origin == "refine"]
    return sum(parent is not None and parent.stop_step is None for parent in parents)


def tried_in_vain(population: Population, image: ImageRecord) -> int:
    """Refinements of its drawing since the image that first passed as many checks as any of them."""
    whole = [i for i in family_of(population, image) if i.stop_step is None]
    scores = [population.critiques[i.id].score for i in whole]
    return len(scores) - 1 - scores.index(max(scores))


def best_of_line(population: Population, image: ImageRecord) -> ImageRecord:
    """The best of ``image`` and what it was refined from; of equals, the oldest. Previews stand back."""
    return max(reversed(line_of(population, image)), key=lambda i: (i.stop_step is None, population.rank(i)))


def kept(population: Population, image: ImageRecord, keep: Keep) -> ImageRecord:
    """What to go on from where ``image`` is the newest of its line."""
    if keep == "best":
        return best_of_line(population, image)
    before = population.parent(image) if image.origin == "refine" else None
    if (
        keep == "newest"
        or before is None
        or before.stop_step is not None
        or population.rank(image) > population.rank(before)
    ):
        return image
    return before


def promising(population: Population) -> list[ImageRecord]:
    """The pending images, that with the best image in its line first."""
    pending = population.pending()
    return sorted(pending, key=lambda i: population.rank(best_of_line(population, i)), reverse=True)
