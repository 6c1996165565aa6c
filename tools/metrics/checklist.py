"""The project's own measure: what a critic, or the embedded world's independent judge, says of the checklist."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from ...state import Verdict
from ..roles import Critic
from .metric import AskingMetric, LocalMetric, Sample, Score, WithConcepts, missing


class Checklist(AskingMetric):
    """The share of checks that pass, in [0, 1]; or, with ``whole``, whether all do, 0 or 1.

    Args:
        critic: Answers the checks; a sample without concepts has none and is missing.
        whole: Ask whether every check passes.
    """

    def __init__(self, critic: Critic, *, whole: bool = False) -> None:
        self._critic, self._whole = critic, whole

    async def rate(self, sample: Sample) -> Score:
        if sample.concepts is None or not sample.concepts.checks:
            return missing("there is no checklist for the prompt")
        critique = await self._critic.critique(sample.image, sample.concepts, sample.store)
        score = checklist_score(critique.verdicts, whole=self._whole)
        return score.model_copy(update={"exchanges": critique.exchanges})


class JudgeMetric(LocalMetric):
    """The checklist by the embedded world's independent judge, a network that takes part in no run.

    Always with the world's own reading of the prompt: the concepts of a run may be another decomposer's, or have fewer
    checks. Prompts from outside the embedded world are missing.

    Args:
        whole: Ask whether every check passes.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole

    @property
    def identity(self) -> str:
        return f"{self._judge.model} {'all' if self._whole else 'share'}"

    async def score_all(self, samples: Sequence[Sample]) -> list[Score]:
        from ..world import EmbeddedDecomposer

        measure = WithConcepts(Checklist(self._judge, whole=self._whole), EmbeddedDecomposer)
        return await measure.score_all([replace(sample, concepts=None) for sample in samples])

    @cached_property
    def _judge(self) -> Any:
        from ..world.critic import EmbeddedJudge

        return EmbeddedJudge()


def checklist_score(verdicts: Sequence[Verdict], *, whole: bool) -> Score:
    """The score that verdicts amount to. What is unknown counts neither as a pass nor as a fail.

    The share is of the checks that were answered, and missing where fewer than half were. Whether all pass is missing
    where none failed and some are unknown.
    """
    failed = [v.check for v in verdicts if v.answer == "fail"]
    unknown = [v for v in verdicts if v.answer == "unknown"]
    answered = len(verdicts) - len(unknown)
    if (not failed and unknown) if whole else (2 * answered < len(verdicts)):
        example = f"{unknown[0].check} ({unknown[0].reason})"
        return missing(f"{len(unknown)} of {len(verdicts)} checks are unknown, such as {example}")
    note = f"failed: {', '.join(failed) or 'none'}; unknown: {len(unknown)} of {len(verdicts)}"
    return Score(value=float(not failed) if whole else (answered - len(failed)) / answered, note=note)
