"""What is measured, what comes of it, and the shape that every metric of this package has."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from pydantic import Field, model_validator

from ...state import ConceptGraph, Exchange, Frozen, ImageRecord
from ..roles import Metric
from ..store import Store
from ..vision.tasks import task_group


@dataclass(frozen=True)
class Sample:
    """An image, and what it should show."""

    image: ImageRecord
    prompt: str
    """The user's, not a corrected one."""
    store: Store
    """Where the image's file lies."""
    concepts: ConceptGraph | None = None
    """The prompt taken apart, where that was done."""


class Score(Frozen):
    """A number, or the reason why there is none; never a default in its place."""

    value: float | None
    """Higher is better; None where the metric cannot tell."""
    reason: str | None = None
    """Why there is no value; only then, and always then."""
    note: str = ""
    """What is to be known of the value, such as the words of the model that gave it."""
    exchanges: tuple[Exchange, ...] = Field(default=(), exclude=True)
    """What was asked of chat models for it, and what that cost; no part of the score where it is kept."""

    @model_validator(mode="after")
    def _missing_has_a_reason(self) -> Self:
        if (self.value is None) != (self.reason is not None):
            raise ValueError("a score has a reason exactly when it has no value")
        return self


def missing(reason: str, exchanges: tuple[Exchange, ...] = ()) -> Score:
    """No value, for this reason."""
    return Score(value=None, reason=reason, exchanges=exchanges)


@runtime_checkable
class BatchMetric(Metric, Protocol):
    """A metric that takes many samples at once, and says why a score is missing."""

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order; ``ModelError`` if the model cannot be used at all."""
        ...


class LocalMetric(ABC):
    """A metric whose scores follow from a model here, the picture and the words, and so can be kept on disk."""

    uses_concepts = False
    """Whether a score depends on the sample's concepts."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Everything but the sample that a score depends on: model with content hash, parameters; may load nothing."""

    @abstractmethod
    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order."""

    async def score(self, image: ImageRecord, prompt: str, store: Store) -> float | None:
        """The score of one image; None where there is none."""
        return await score_of_one(self.score_all, image, prompt, store)


class AskingMetric(ABC):
    """A metric that asks a model about each sample by itself; the model's own cache keeps what it said."""

    @abstractmethod
    async def rate(self, sample: Sample) -> Score:
        """The score of one sample."""

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order; all are under way at once, within the model's own bounds."""
        async with task_group() as tasks:
            rated = [tasks.create_task(self.rate(sample)) for sample in samples]
        return [task.result() for task in rated]

    async def score(self, image: ImageRecord, prompt: str, store: Store) -> float | None:
        """The score of one image; None where there is none."""
        return await score_of_one(self.score_all, image, prompt, store)


@dataclass(frozen=True)
class OneByOne(AskingMetric):
    """Any ``Metric`` with ``score`` alone, such as a user's own."""

    metric: Metric

    async def rate(self, sample: Sample) -> Score:
        """What the metric says of one sample."""
        value = await self.metric.score(sample.image, sample.prompt, sample.store)
        return missing("the metric gives none") if value is None else Score(value=value)


def batched(metric: Metric) -> BatchMetric:
    """The metric itself where it takes many samples at once, else a ``OneByOne`` around it."""
    return metric if isinstance(metric, BatchMetric) else OneByOne(metric)


async def score_of_one(
    score_all: Callable[[Sequence[Sample]], Awaitable[list[Score]]], image: ImageRecord, prompt: str, store: Store
) -> float | None:
    """The value for a single image."""
    [score] = await score_all([Sample(image, prompt, store)])
    return score.value
