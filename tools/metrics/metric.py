"""What is measured, what comes of it, and the shapes of metrics: local, asking, kept on disk, in a critic's place."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from PIL import Image
from pydantic import Field, model_validator

from ...state import ConceptGraph, Critique, Exchange, Frozen, ImageRecord, OwnQuestion, Verdict
from ..blocking import gather_or_cancel
from ..errors import PromptError, ReplyError
from ..files import DiskCache, Store, content_hash
from ..roles import Decomposer, Metric

_VERSION = 1
"""Raised whenever kept scores no longer mean what they did."""


@dataclass(frozen=True)
class Sample:
    """An image, and what it should show."""

    image: ImageRecord
    prompt: str
    """The user's, not a corrected one."""
    store: Store
    """Where the image's file lies."""
    concepts: ConceptGraph | None = None
    """The prompt's concepts, where it was decomposed."""
    questions: tuple[OwnQuestion, ...] = ()
    """A benchmark's own, where it has any."""

    def pixels(self) -> Image.Image:
        """The picture, RGB; raises as ``Store.picture``."""
        return self.store.picture(self.image.path)


def pixel_hash(picture: Image.Image) -> str:
    """Hash of what a picture shows, in hexadecimal; what else its file says does not count."""
    return sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()


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


class BatchMetric(ABC):
    """A metric that takes many samples at once, and says why a score is missing."""

    @abstractmethod
    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order; ``ModelError`` if the model cannot be used at all."""

    async def score(self, image: ImageRecord, prompt: str, store: Store) -> float | None:
        """The score of one image; None where there is none."""
        [score] = await self.score_all([Sample(image, prompt, store)])
        return score.value


class LocalMetric(BatchMetric):
    """A metric whose scores follow from a model here, the picture and the words, and so can be kept on disk."""

    uses_concepts = False
    """Whether a score depends on the sample's concepts."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Everything but the sample that a score depends on: model with content hash, parameters; may load nothing."""


class AskingMetric(BatchMetric):
    """A metric that asks a model about each sample by itself; the model's own cache keeps what it said."""

    @abstractmethod
    async def rate(self, sample: Sample) -> Score:
        """The score of one sample."""

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """All are under way at once, within the model's own bounds."""
        return await gather_or_cancel(self.rate(sample) for sample in samples)


@dataclass(frozen=True)
class OneByOne(AskingMetric):
    """Any ``Metric`` with ``score`` alone, such as a user's own."""

    metric: Metric
    """The user's."""

    async def rate(self, sample: Sample) -> Score:
        value = await self.metric.score(sample.image, sample.prompt, sample.store)
        return missing("the metric gives none") if value is None else Score(value=value)


def batched(metric: Any) -> BatchMetric:
    """The metric itself where it takes many samples at once, else a ``OneByOne`` around it."""
    return metric if hasattr(metric, "score_all") else OneByOne(metric)


class CachedMetric(BatchMetric):
    """Another metric's scores on disk, each measured once; missing ones are measured again."""

    def __init__(self, metric: LocalMetric, folder: Path) -> None:
        self._metric, self._folder = metric, folder

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """Samples with one picture and one prompt are measured once."""
        cache = DiskCache(self._folder, "scores")
        keys = [await asyncio.to_thread(self._key, sample) for sample in samples]
        known = {key: kept for key in set(keys) if (kept := cache.get(key, Score)) is not None}
        new = {key: sample for key, sample in zip(keys, samples, strict=True) if key not in known}
        if new:
            for key, score in zip(new, await self._metric.score_all(list(new.values())), strict=True):
                known[key] = score
                if score.value is not None:
                    cache.put(key, score)
        return [known[key] for key in keys]

    def _key(self, sample: Sample) -> str:
        concepts = sample.concepts if self._metric.uses_concepts else None
        plain = None if concepts is None else concepts.model_dump(mode="json", exclude={"exchanges"})
        return content_hash(_VERSION, self._metric.identity, pixel_hash(sample.pixels()), sample.prompt, plain)


class WithConcepts(BatchMetric):
    """Another metric, whose every sample has concepts; missing where a prompt cannot be decomposed."""

    def __init__(self, metric: BatchMetric, decomposer: Callable[[], Decomposer]) -> None:
        self._metric, self._make = metric, decomposer
        self._decomposer: Decomposer | None = None
        self._known: dict[str, ConceptGraph | str] = {}

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """Each prompt is decomposed once."""
        new = sorted({s.prompt for s in samples if s.concepts is None} - self._known.keys())
        if new:
            self._decomposer = self._decomposer or self._make()
            self._known |= zip(new, await gather_or_cancel(map(self._decomposed, new)), strict=True)
        concepts = [self._known[s.prompt] if s.concepts is None else s.concepts for s in samples]
        whole = [replace(s, concepts=c) for s, c in zip(samples, concepts, strict=True) if not isinstance(c, str)]
        scores = iter(await self._metric.score_all(whole))
        # What decomposing asked is paid for once, by the first score that needed it.
        costs = {c.prompt: c.exchanges for c in map(self._known.__getitem__, new) if not isinstance(c, str)}
        found = [missing(c) if isinstance(c, str) else next(scores) for c in concepts]
        spent = [costs.pop(s.prompt, ()) for s in samples]
        return [f.model_copy(update={"exchanges": (*e, *f.exchanges)}) for e, f in zip(spent, found, strict=True)]

    async def _decomposed(self, prompt: str) -> ConceptGraph | str:
        """The concepts of a prompt, or why there are none."""
        assert self._decomposer is not None
        try:
            return await self._decomposer.decompose(prompt)
        except (PromptError, ReplyError) as error:
            return f"the prompt cannot be decomposed: {error}"


class MetricCritic:
    """A metric in the critic's place: every check stays unknown, with the metric's value as its probability, so that
    ``Population.rank`` orders images as the metric does, and one that it cannot measure comes last."""

    def __init__(self, name: str, make: Callable[[], BatchMetric]) -> None:
        self.model = f"metric {name}"
        """As traces show it."""
        self._make = make
        self._metric: BatchMetric | None = None
        self._turn = asyncio.Lock()

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The value for the user's prompt, with itself as evidence; ``ModelError`` if the metric cannot be used."""
        started = time.perf_counter()
        async with self._turn:  # a local model takes one picture at a time, and is loaded once
            self._metric = self._metric or await asyncio.to_thread(self._make)
            [score] = await self._metric.score_all([Sample(image, concepts.prompt, store)])
        shown = "none" if score.value is None else f"{score.value:.6g}"
        exchange = Exchange(
            model=self.model,
            prompt=f"{concepts.prompt} [picture {image.path}]",
            reply=shown,
            # Of a metric that asks, the time is that of its own exchanges.
            seconds=0 if score.exchanges else time.perf_counter() - started,
        )
        said: dict[str, Any] = {"answer": "unknown", "reason": score.reason, "heard": False}
        if score.value is not None:
            reason = "a metric ranks images and answers no question"
            said |= {"reason": reason, "heard": True, "evidence": shown, "probability": squashed(score.value)}
        verdicts = tuple(Verdict(check=check.id, **said) for check in concepts.checks)
        return Critique(image=image.id, verdicts=verdicts, exchanges=(*score.exchanges, exchange))


def squashed(value: float) -> float:
    """Any number in (0, 1), in the same order; 0 is at 0.5."""
    return 0.5 + 0.5 * value / (1 + abs(value))
