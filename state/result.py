"""The outcome of a run, and what each model of it cost."""

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
    """The share of one model in a run's ``Spend``."""

    calls: int = Field(default=0, ge=0)
    """Questions put to it, failed ones too, or images drawn by it; without those answered from the disk cache."""
    cached: int = Field(default=0, ge=0)
    """Questions answered from the disk cache, for nothing."""
    tokens: int = Field(default=0, ge=0)
    """Both ways."""
    seconds: float = Field(default=0.0, ge=0)
    """Of model time, summed over calls."""
    money: float = Field(default=0.0, ge=0)
    """In US dollars, where a price is configured."""


def spend_by_model(images: Iterable[ImageRecord], exchanges: Iterable[Exchange]) -> dict[str, ModelSpend]:
    """By the model's name, in the order of first use, models that draw before those that answer."""
    shares: dict[str, list[ModelSpend]] = {}
    for image in images:
        shares.setdefault(image.model, []).append(ModelSpend(calls=1, seconds=image.seconds, money=image.money))
    for said in exchanges:
        shares.setdefault(said.model, []).append(
            ModelSpend(
                calls=not said.cached,
                cached=said.cached,
                tokens=said.prompt_tokens + said.reply_tokens,
                seconds=said.seconds,
                money=said.money,
            )
        )
    return {model: _total(own) for model, own in shares.items()}


def _total(shares: list[ModelSpend]) -> ModelSpend:
    return ModelSpend(**{name: sum(getattr(share, name) for share in shares) for name in ModelSpend.model_fields})


class RunResult(Frozen):
    """The outcome of one run; written as ``result.json``."""

    run: str
    """Readable id of the run."""
    prompt: str
    concepts: ConceptGraph
    best: ImageRecord
    """The best image over all rounds."""
    images: tuple[ImageRecord, ...] = Field(min_length=1)
    """Every image, in the order it was asked for."""
    critiques: tuple[Critique, ...]
    """One for each image, in the same order."""
    decisions: tuple[Decision, ...]
    """One for each image, in the same order."""
    advice: tuple[Advice, ...] = ()
    """By round, where the policy had a model asked."""
    comparisons: tuple[Comparison, ...] = ()
    """Of images that led together, in the order they were made."""
    stop: str
    """Name of the rule that ended the run: a bound of the budget, or what ended the best image's work."""
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
    def spend_by_model(self) -> dict[str, ModelSpend]:
        """``spend`` by the name of the model, without what a critic cost that keeps no exchanges."""
        answers = (self.concepts, *self.critiques, *self.advice, *self.comparisons)
        return spend_by_model(self.images, [e for answer in answers for e in answer.exchanges])

    def critique(self, image: str) -> Critique:
        """The critique of the image of that id; ``KeyError`` if there is none."""
        found = {c.image: c for c in self.critiques}
        return found[image]
