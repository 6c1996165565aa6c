"""The project's own measure: what a critic says of the checklist."""

from collections.abc import Sequence

from ...state import ConceptGraph, Verdict
from ..errors import PromptError, ReplyError
from ..roles import Critic, Decomposer
from .metric import AskingMetric, Sample, Score, missing


class Checklist(AskingMetric):
    """The share of checks that pass, in [0, 1]; or, with ``whole``, whether all do, 0 or 1.

    Args:
        critic: Answers the checks.
        decomposer: For samples whose prompt was not taken apart; without one these are missing.
        whole: Ask whether every check passes.
    """

    def __init__(self, critic: Critic, decomposer: Decomposer | None = None, *, whole: bool = False) -> None:
        self._critic = critic
        self._decomposer = decomposer
        self._whole = whole

    async def rate(self, sample: Sample) -> Score:
        """The score of one sample."""
        try:
            concepts = await self._concepts(sample)
        except (PromptError, ReplyError) as error:
            return missing(f"the prompt cannot be taken apart: {error}")
        if concepts is None or not concepts.checks:
            return missing("there is no checklist for the prompt")
        critique = await self._critic.critique(sample.image, concepts, sample.store)
        taken_apart = concepts.exchanges if sample.concepts is None else ()
        score = checklist_score(critique.verdicts, whole=self._whole)
        return score.model_copy(update={"exchanges": (*taken_apart, *critique.exchanges)})

    async def _concepts(self, sample: Sample) -> ConceptGraph | None:
        if sample.concepts is not None or self._decomposer is None:
            return sample.concepts
        return await self._decomposer.decompose(sample.prompt)


def checklist_score(verdicts: Sequence[Verdict], *, whole: bool) -> Score:
    """The score that verdicts amount to. What is unknown counts neither as a pass nor as a fail.

    The share is of the checks that were answered, and missing where fewer than half were; all pass
    where none failed and none is unknown, and are not told where only unknown ones are in the way.
    """
    failed = [v.check for v in verdicts if v.answer == "fail"]
    unknown = [v for v in verdicts if v.answer == "unknown"]
    told = len(verdicts) - len(unknown)
    note = f"failed: {', '.join(failed) or 'none'}; unknown: {len(unknown)} of {len(verdicts)}"
    if whole and not failed and unknown:
        return missing(f"{len(unknown)} of {len(verdicts)} checks are unknown, such as {_why(unknown[0])}")
    if whole:
        return Score(value=float(not failed), note=note)
    if 2 * told < len(verdicts):
        return missing(f"{len(unknown)} of {len(verdicts)} checks are unknown, such as {_why(unknown[0])}")
    return Score(value=(told - len(failed)) / told, note=note)


def _why(verdict: Verdict) -> str:
    return f"{verdict.check} ({verdict.reason})"
