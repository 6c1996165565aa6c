"""The outcome of a run, and what each model of it cost."""

from collections import Counter
from collections.abc import Iterable
from typing import Self

from pydantic import Field, model_validator

from .base import Exchange, Frozen
from .budget import Spend
from .concepts import ConceptGraph
from .critique import Comparison, Critique
from .decisions import Advice, Decision
from .images import ImageRecord


class ModelSpend(Frozen):
    """The part of a run's ``Spend`` for one model."""

    calls: int = Field(default=0, ge=0)
    """Questions, failed ones too, or images; without answers from the disk cache."""
    cached: int = Field(default=0, ge=0)
    """Answers from the disk cache, which cost nothing."""
    tokens: int = Field(default=0, ge=0)
    """Both ways."""
    seconds: float = Field(default=0.0, ge=0)
    """Of model time, summed over calls."""
    money: float = Field(default=0.0, ge=0)
    """In US dollars, where a price is configured."""


def spend_by_model(images: Iterable[ImageRecord], exchanges: Iterable[Exchange]) -> dict[str, ModelSpend]:
    """By the model's name, in the order of first use, models that draw before those that answer."""
    totals: dict[str, Counter[str]] = {}
    for i in images:
        totals.setdefault(i.model, Counter()).update({"calls": 1, "seconds": i.seconds, "money": i.money})
    for e in exchanges:
        tokens = e.prompt_tokens + e.reply_tokens
        cost = {"calls": not e.cached, "cached": e.cached, "tokens": tokens, "seconds": e.seconds, "money": e.money}
        totals.setdefault(e.model, Counter()).update(cost)
    return {model: ModelSpend.model_validate(total) for model, total in totals.items()}


class RunResult(Frozen):
    """The outcome of one run, written as ``result.json``."""

    run: str
    """Id of the run."""
    prompt: str
    concepts: ConceptGraph
    best: ImageRecord
    """The best image over all rounds."""
    images: tuple[ImageRecord, ...] = Field(min_length=1)
    """Every image, in the order of the attempts."""
    critiques: tuple[Critique, ...]
    """One for each image, in the same order."""
    decisions: tuple[Decision, ...]
    """One for each image, in the same order."""
    advice: tuple[Advice, ...] = ()
    """By round; only of policies that ask a model."""
    comparisons: tuple[Comparison, ...] = ()
    """Comparisons of equally ranked images, in order."""
    stop: str
    """Name of the rule that ended the run: a bound of the budget, or the rule that stopped the best image."""
    spend: Spend

    @model_validator(mode="after")
    def _lists_are_aligned(self) -> Self:
        ids = [i.id for i in self.images]
        if [c.image for c in self.critiques] != ids or [d.image for d in self.decisions] != ids:
            raise ValueError("images, critiques and decisions must be of the same images in the same order")
        if self.best not in self.images:
            raise ValueError(f"the best image {self.best.id!r} is not among the images")
        return self

    @property
    def is_heard(self) -> bool:
        """Whether every check of every image has an answer."""
        return not any(critique.unheard for critique in self.critiques)

    @property
    def spend_by_model(self) -> dict[str, ModelSpend]:
        """``spend`` by the name of the model, without critics that record no exchanges."""
        answers = (self.concepts, *self.critiques, *self.advice, *self.comparisons)
        return spend_by_model(self.images, [e for answer in answers for e in answer.exchanges])

    def critique(self, image: str) -> Critique:
        """The critique of the image of that id; ``KeyError`` if there is none."""
        return {c.image: c for c in self.critiques}[image]
