"""For metrics that need a prompt's concepts: prompts that no run took apart are taken apart here."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...state import ConceptGraph, ImageRecord
from ..errors import PromptError, ReplyError
from ..roles import Decomposer
from ..store import Store
from ..vision.tasks import task_group
from .metric import BatchMetric, Sample, Score, missing, score_of_one


class TakenApart:
    """Another metric, whose every sample has concepts; missing where a prompt cannot be taken apart.

    Args:
        metric: the other one.
        decomposer: makes what takes prompts apart; called when the first sample without concepts comes.
    """

    def __init__(self, metric: BatchMetric, decomposer: Callable[[], Decomposer]) -> None:
        self._metric = metric
        self._make = decomposer
        self._decomposer: Decomposer | None = None
        self._known: dict[str, ConceptGraph | str] = {}

    async def score(self, image: ImageRecord, prompt: str, store: Store) -> float | None:
        """The score of one image; None where there is none."""
        return await score_of_one(self.score_all, image, prompt, store)

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        """One score for each sample, in order; each prompt is taken apart once."""
        await self._take_apart({s.prompt for s in samples if s.concepts is None} - self._known.keys())
        found = [self._known[s.prompt] if s.concepts is None else s.concepts for s in samples]
        whole = [replace(s, concepts=c) for s, c in zip(samples, found, strict=True) if not isinstance(c, str)]
        scores = iter(await self._metric.score_all(whole))
        return [missing(c) if isinstance(c, str) else next(scores) for c in found]

    async def _take_apart(self, prompts: set[str]) -> None:
        if not prompts:
            return
        self._decomposer = decomposer = self._decomposer or self._make()
        async with task_group() as tasks:
            made = {prompt: tasks.create_task(_concepts(decomposer, prompt)) for prompt in sorted(prompts)}
        self._known |= {prompt: task.result() for prompt, task in made.items()}


async def _concepts(decomposer: Decomposer, prompt: str) -> ConceptGraph | str:
    """The concepts of a prompt, or why there are none."""
    try:
        return await decomposer.decompose(prompt)
    except (PromptError, ReplyError) as error:
        return f"the prompt cannot be taken apart: {error}"
