"""The checklist as a measure, by any critic, and by the embedded world's judge."""

import pytest

from detailscribe.state import Verdict
from detailscribe.tools.metrics.asking import Checklist, JudgeMetric, checklist_score
from detailscribe.tools.metrics.metric import WithConcepts
from detailscribe.tools.world.scene import Scene, render

from ..agent.fakes import CHECKS, FakeDecomposer, ScriptedCritic, concepts
from ..world.worlds import thing
from .conftest import noise


def verdicts(answers: str) -> list[Verdict]:
    """``p``, ``f`` and ``u`` for pass, fail and unknown."""
    words = {"p": "pass", "f": "fail", "u": "unknown"}
    return [
        Verdict(check=f"c{n}", answer=words[a], reason="blurred" if a == "u" else None) for n, a in enumerate(answers)
    ]


@pytest.mark.parametrize(
    ("answers", "share", "whole"),
    [
        ("pppp", 1.0, 1.0),
        ("ppff", 0.5, 0.0),
        ("ffff", 0.0, 0.0),
        ("ppfu", 2 / 3, 0.0),
        ("pppu", 1.0, None),
        ("puuu", None, None),
        ("fuuu", None, 0.0),
        ("uuuu", None, None),
    ],
)
def test_unknown_checks_are_neither_passes_nor_fails(answers, share, whole):
    assert checklist_score(verdicts(answers), whole=False).value == (None if share is None else pytest.approx(share))
    assert checklist_score(verdicts(answers), whole=True).value == whole


def test_a_missing_score_says_what_was_unknown():
    assert checklist_score(verdicts("puuu"), whole=False).reason == "3 of 4 checks are unknown, such as c1 (blurred)"


async def test_the_concepts_of_the_run_are_asked_for(sample):
    metric = Checklist(ScriptedCritic({"00-00": "red holding"}))
    score = await metric.rate(sample(noise(1), concepts().prompt, concepts()))
    assert score.value == pytest.approx(1 - 2 / len(CHECKS))
    assert score.note == "failed: red, holding; unknown: 0 of 5"


async def test_without_concepts_there_is_no_checklist(sample):
    score = await Checklist(ScriptedCritic({})).rate(sample(noise(1)))
    assert score.reason == "there is no checklist for the prompt"


async def test_a_prompt_that_no_run_decomposed_is_decomposed(sample):
    metric = WithConcepts(Checklist(ScriptedCritic({"00-00": "red"})), FakeDecomposer)
    [given] = await metric.score_all([sample(noise(1))])
    assert given.value == pytest.approx(0.8)


PROMPT = "a fox next to a red car, in the snow"
RIGHT = Scene("snow", (thing("fox", 1), thing("red car", 3)))
WRONG = Scene("snow", (thing("fox", 1), thing("blue car", 3)))


async def test_the_judge_tells_a_right_picture_from_a_wrong_one(sample):
    samples = [sample(render(scene), PROMPT) for scene in (RIGHT, WRONG)]
    share = [score.value for score in await JudgeMetric().score_all(samples)]
    whole = [score.value for score in await JudgeMetric(whole=True).score_all(samples)]
    assert share[0] == 1.0 > share[1] > 0.5
    assert whole == [1.0, 0.0]


async def test_the_judge_cannot_tell_of_prompts_from_elsewhere(sample):
    strange, known = await JudgeMetric().score_all([sample(noise(1), "a heron"), sample(render(RIGHT), PROMPT)])
    assert strange.value is None
    assert "does not know 'heron'" in strange.reason
    assert known.value == 1.0


def test_the_judge_names_its_weights_and_its_question():
    assert JudgeMetric().identity.startswith("embedded-judge@")
    assert JudgeMetric().identity != JudgeMetric(whole=True).identity
