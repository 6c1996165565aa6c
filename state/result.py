"""What a run leaves behind."""

from typing import Self

from pydantic import Field, model_validator

from .advice import Advice
from .base import Frozen
from .budget import Spend
from .comparison import Comparison
from .concepts import ConceptGraph
from .critique import Critique
from .decisions import Decision
from .images import ImageRecord
from .model_spend import ModelSpend, spend_by_model


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
    """Name of the rule that ended the best image's work."""
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
