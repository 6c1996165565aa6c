"""The embedded world's independent judge as a metric: a network that takes part in no loop."""

import asyncio
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ...state import ConceptGraph
from ..errors import PromptError
from .checklist import checklist_score
from .metric import LocalMetric, Sample, Score, missing
from .pictures import read_pixels

if TYPE_CHECKING:
    from ..world.eyes import Eyes

_BATCH = 64


class EmbeddedJudge(LocalMetric):
    """The share of checks that pass, in [0, 1]; or, with ``whole``, whether all do, 0 or 1.

    Args:
        whole: Ask whether every check passes.
        folder: Of its weights; None for those inside the package.
    """

    def __init__(self, *, whole: bool = False, folder: Path | None = None) -> None:
        self._whole = whole
        self._folder = folder

    @property
    def identity(self) -> str:
        """The network with its hash, and what is asked."""
        return f"{self._eyes.model} {'all' if self._whole else 'share'}"

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order; missing for prompts from outside the embedded world."""
        return await asyncio.to_thread(self._scores, samples)

    def _scores(self, samples: Sequence[Sample]) -> list[Score]:
        chunks = (samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH))
        return [score for chunk in chunks for score in self._looked(chunk)]

    def _looked(self, samples: Sequence[Sample]) -> list[Score]:
        from ..world.decomposer import spec_of
        from ..world.verdicts import settle

        scores: list[Score] = []
        seen = self._eyes.look([read_pixels(sample) for sample in samples])
        for sample, sights in zip(samples, seen, strict=True):
            try:
                concepts = _concepts(sample)
                scores.append(checklist_score(settle(concepts, spec_of(concepts), sights), whole=self._whole))
            except PromptError as error:
                scores.append(missing(str(error)))
        return scores

    @cached_property
    def _eyes(self) -> "Eyes":
        from ..world.eyes import Eyes

        return Eyes.load("judge", self._folder)


def _concepts(sample: Sample) -> ConceptGraph:
    """Always the world's own reading: the concepts of a run may be another decomposer's, or have fewer checks."""
    from ..world.decomposer import concepts_of
    from ..world.grammar import parse

    return concepts_of(parse(sample.prompt), sample.prompt)
