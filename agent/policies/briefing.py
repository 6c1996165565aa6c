"""A population put into words, for a chat model that is to decide about it."""

from collections.abc import Sequence

from ...prompts import load
from ...state import ImageRecord, Population
from ...tools.language.question import Question
from .moves import failed


def decision_question(population: Population, waiting: Sequence[ImageRecord]) -> Question:
    """What should become of these images, given everything so far?"""
    system, text = load("decision_system"), load("decision")
    images = sorted(population.images.values(), key=lambda i: (i.round, i.id))
    return Question(
        name="decision",
        system=system.render(),
        text=text.render(
            prompt=population.concepts.prompt,
            checks="\n".join(f"{check.id}: {check.question}" for check in population.concepts.checks),
            pictures="\n".join(_line(population, image) for image in images),
            left=_left(population),
            waiting="\n".join(image.id for image in waiting),
        ),
        template=" ".join(f"{t.name}@{t.sha256[:12]}" for t in (system, text)),
    )


def _line(population: Population, image: ImageRecord) -> str:
    """``01-00 (refined from 00-00 at step 4 of 28): 4 of 5 checks pass; fails red; decided: ...``"""
    critique = population.critiques[image.id]
    unknown = [v.check for v in critique.verdicts if v.answer == "unknown"]
    parts = [
        f"{critique.passed} of {len(critique.verdicts)} checks pass",
        *([f"fails {', '.join(failed(critique))}"] if failed(critique) else []),
        *([f"unclear {', '.join(unknown)}"] if unknown else []),
    ]
    decision = population.decisions.get(image.id)
    if decision is not None:
        parts.append(f"decided: {decision.action}, {decision.reason}")
    return f"{image.id} ({_origin(image)}): {'; '.join(parts)}"


def _origin(image: ImageRecord) -> str:
    if image.origin == "refine":
        return f"refined from {image.parent} at step {image.start_step} of {image.steps}"
    return "first drawing" if image.origin == "generate" else f"redrawn in place of {image.parent}"


def _left(population: Population) -> str:
    budget, spend = population.budget, population.spend
    parts = [f"{budget.rounds - population.round} rounds", f"{budget.images - spend.images} images"]
    if budget.evaluations is not None:
        parts.append(f"{budget.evaluations - spend.evaluations} denoiser evaluations")
    return ", ".join(parts)
