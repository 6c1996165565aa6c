"""Samples, scores and the base classes of metrics; a cache for scores, and a metric in place of the critic."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
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
"""Part of every key of the cache: increased when cached scores no longer mean the same."""


@dataclass(frozen=True)
class Sample:
    """An image, and what it should show."""

    image: ImageRecord
    prompt: str
    """The user's, not a corrected one."""
    store: Store
    """Where the image file is."""
    concepts: ConceptGraph | None = None
    """The prompt's concepts, where it was decomposed."""
    questions: tuple[OwnQuestion, ...] = ()
    """A benchmark's own, where it has any."""

    def pixels(self) -> Image.Image:
        """The picture, RGB; raises as ``Store.picture``."""
        return self.store.picture(self.image.path)


def pixel_hash(picture: Image.Image) -> str:
    """SHA-256 of a picture's size and pixels, in hexadecimal; metadata does not count."""
    return sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()


class Score(Frozen):
    """A number, or the reason why there is none; never a default."""

    value: float | None
    """Higher is better; None where the metric cannot tell."""
    reason: str | None = None
    """Why there is no value; set exactly then."""
    note: str = ""
    """A comment on the value, such as the words of the model that gave it."""
    exchanges: tuple[Exchange, ...] = Field(default=(), exclude=True)
    """Calls of chat models that it took, with their costs; not saved with the score."""

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
    """A metric whose scores depend only on a local model, the picture and the prompt, so that they can be cached."""

    uses_concepts = False
    """Whether a score depends on the sample's concepts."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What a score depends on beside the sample: model with content hash, parameters; does not load the model."""


class AskingMetric(BatchMetric):
    """A metric that asks a chat model about each sample; the chat model caches its own replies."""

    @abstractmethod
    async def rate(self, sample: Sample) -> Score:
        """The score of one sample."""

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """All samples at once, within the chat model's own limits."""
        return await gather_or_cancel(self.rate(sample) for sample in samples)


@dataclass(frozen=True)
class OneByOne(AskingMetric):
    """Any ``Metric`` that has only ``score``."""

    metric: Metric
    """The user's."""

    async def rate(self, sample: Sample) -> Score:
        value = await self.metric.score(sample.image, sample.prompt, sample.store)
        return missing("the metric gives none") if value is None else Score(value=value)


def batched(metric: Any) -> BatchMetric:
    """The metric itself where it takes many samples at once, else a ``OneByOne`` around it."""
    return metric if hasattr(metric, "score_all") else OneByOne(metric)


class CachedMetric(BatchMetric):
    """Caches another metric's scores on disk; missing ones are measured again."""

    def __init__(self, metric: LocalMetric, folder: Path) -> None:
        self._metric, self._folder = metric, folder

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """Samples with one picture and one prompt are measured once."""
        disk = DiskCache(self._folder, "scores")
        keys = [await asyncio.to_thread(self._key, sample) for sample in samples]
        scores = {key: cached for key in set(keys) if (cached := disk.get(key, Score)) is not None}
        new = {key: sample for key, sample in zip(keys, samples, strict=True) if key not in scores}
        if new:
            for key, score in zip(new, await self._metric.score_all(list(new.values())), strict=True):
                scores[key] = score
                if score.value is not None:
                    disk.put(key, score)
        return [scores[key] for key in keys]

    def _key(self, sample: Sample) -> str:
        concepts = sample.concepts if self._metric.uses_concepts else None
        plain = None if concepts is None else concepts.model_dump(mode="json", exclude={"exchanges"})
        return content_hash(_VERSION, self._metric.identity, pixel_hash(sample.pixels()), sample.prompt, plain)


async def decompose_all(prompts: Iterable[str], decomposer: Decomposer) -> dict[str, ConceptGraph | str]:
    """The concepts of each prompt, which is decomposed once, or why there are none."""

    async def decompose(prompt: str) -> ConceptGraph | str:
        try:
            return await decomposer.decompose(prompt)
        except (PromptError, ReplyError) as error:
            return f"the prompt cannot be decomposed: {error}"

    distinct = list(dict.fromkeys(prompts))
    return dict(zip(distinct, await gather_or_cancel(map(decompose, distinct)), strict=True))


class WithConcepts(BatchMetric):
    """Another metric, whose every sample has concepts; missing where a prompt cannot be decomposed."""

    def __init__(self, metric: BatchMetric, make_decomposer: Callable[[], Decomposer]) -> None:
        self._metric, self._decomposer = metric, cache(make_decomposer)
        self._decomposed: dict[str, ConceptGraph | str] = {}

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """Each prompt is decomposed once."""
        new = sorted({s.prompt for s in samples if s.concepts is None} - self._decomposed.keys())
        if new:
            self._decomposed |= await decompose_all(new, self._decomposer())
        concepts = [self._decomposed[s.prompt] if s.concepts is None else s.concepts for s in samples]
        complete = [replace(s, concepts=c) for s, c in zip(samples, concepts, strict=True) if not isinstance(c, str)]
        measured = iter(await self._metric.score_all(complete))
        scores = [missing(c) if isinstance(c, str) else next(measured) for c in concepts]
        # What decomposing cost is counted once, in the first score that needed it.
        costs = {c.prompt: c.exchanges for c in map(self._decomposed.__getitem__, new) if not isinstance(c, str)}
        spent = [costs.pop(s.prompt, ()) for s in samples]
        return [f.model_copy(update={"exchanges": (*e, *f.exchanges)}) for e, f in zip(spent, scores, strict=True)]


class MetricCritic:
    """A metric in place of the critic: every check stays unknown, with the metric's value as its probability, so that
    ``Population.rank`` orders images by the metric; an image that it cannot measure comes last."""

    def __init__(self, name: str, make: Callable[[], BatchMetric]) -> None:
        self.model = f"metric {name}"
        """As traces show it."""
        self._metric = cache(make)
        self._lock = asyncio.Lock()

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The value for the user's prompt, with itself as evidence; ``ModelError`` if the metric cannot be used."""
        started = time.perf_counter()
        async with self._lock:  # a local model takes one picture at a time, and is loaded once
            metric = await asyncio.to_thread(self._metric)
            [score] = await metric.score_all([Sample(image, concepts.prompt, store)])
        shown = "none" if score.value is None else f"{score.value:.6g}"
        exchange = Exchange(
            model=self.model,
            prompt=f"{concepts.prompt} [picture {image.path}]",
            reply=shown,
            # A metric that asks a chat model has exchanges with times of their own.
            seconds=0 if score.exchanges else time.perf_counter() - started,
        )
        fields: dict[str, Any] = {"answer": "unknown", "reason": score.reason, "heard": False}
        if score.value is not None:
            reason = "a metric ranks images and answers no question"
            fields |= {"reason": reason, "heard": True, "evidence": shown, "probability": squashed(score.value)}
        verdicts = tuple(Verdict(check=check.id, **fields) for check in concepts.checks)
        return Critique(image=image.id, verdicts=verdicts, exchanges=(*score.exchanges, exchange))


def squashed(value: float) -> float:
    """Maps any number into (0, 1) and keeps the order; 0 becomes 0.5."""
    return 0.5 + 0.5 * value / (1 + abs(value))
