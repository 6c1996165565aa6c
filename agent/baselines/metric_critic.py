"""A metric in the critic's place: images are ranked by its value, and nothing is said of what is wrong with them."""

import asyncio
import time
from collections.abc import Callable

from ...state import ConceptGraph, Critique, Exchange, ImageRecord, Verdict
from ...tools.metrics import BatchMetric, Sample, Score
from ...tools.store import Store

RANKS_ONLY = "a metric ranks images and answers no question"


class MetricCritic:
    """Leaves every check unknown, with the metric's value as its probability.

    So nothing passes or fails, and ``Population.rank`` orders images as the metric does; one that it cannot measure
    comes last.

    Args:
        name: of the metric.
        make: makes it, when the first image is looked at.
    """

    def __init__(self, name: str, make: Callable[[], BatchMetric]) -> None:
        self.model = f"metric {name}"
        """What stands in traces."""
        self._make = make
        self._metric: BatchMetric | None = None
        self._turn = asyncio.Lock()

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """The value for the user's prompt, with itself as evidence; ``ModelError`` if the metric cannot be used."""
        started = time.perf_counter()
        async with self._turn:  # a local model takes one picture at a time, and is loaded once
            self._metric = self._metric or await asyncio.to_thread(self._make)
            [score] = await self._metric.score_all([Sample(image, concepts.prompt, store)])
        told = "none" if score.value is None else f"{score.value:.6g}"
        exchange = Exchange(
            model=self.model,
            prompt=f"{concepts.prompt} [picture {image.path}]",
            reply=told,
            # Of a metric that asks, the time is that of its own exchanges.
            seconds=0 if score.exchanges else time.perf_counter() - started,
        )
        verdicts = tuple(_verdict(check.id, score, told) for check in concepts.checks)
        return Critique(image=image.id, verdicts=verdicts, exchanges=(*score.exchanges, exchange))


def squashed(value: float) -> float:
    """Any number in (0, 1), in the same order; 0 is at 0.5."""
    return 0.5 + 0.5 * value / (1 + abs(value))


def _verdict(check: str, score: Score, told: str) -> Verdict:
    if score.value is None:
        return Verdict(check=check, answer="unknown", reason=score.reason or RANKS_ONLY)
    return Verdict(check=check, answer="unknown", reason=RANKS_ONLY, evidence=told, probability=squashed(score.value))
