"""A benchmark's own questions: P(expected answer), what it is without probabilities, means and gates."""

import json
import math
from dataclasses import replace

import pytest

from detailscribe.state import OwnQuestion
from detailscribe.tools.language.chat import ChatModel
from detailscribe.tools.language.question import Likelihood
from detailscribe.tools.language.settings import ChatSettings
from detailscribe.tools.language.structured import probability_of
from detailscribe.tools.metrics.asking import OwnQuestions

from ..language.scripted import Server
from ..vision.fakes import exchange
from .conftest import noise
from .test_asking import word

FOX = OwnQuestion(question="Is there a fox?", kind="object", aspect="presence")
CART = OwnQuestion(question="Is there a cart?", kind="object", aspect="presence")
PULLS = OwnQuestion(question="Does the fox pull the cart?", kind="verb", aspect="relation", depends_on=(0, 1))
COUNT = OwnQuestion(question="How many foxes are there?", answer="3", kind="count", aspect="count")
NO = OwnQuestion(question="Is there a cow?", answer="no", kind="object", aspect="scene")


@pytest.fixture
def chat(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with Server() as server:
        settings = ChatSettings(model="m", base_url=server.url, timeout=5, transport_retries=0, concurrency=1)
        made = ChatModel(settings)
        made.server = server
        yield made


@pytest.mark.parametrize(
    ("how", "value"), [("mean", (0.9 + 0.2 + 0.8) / 3), ("geometric", (0.9 * 0.2 * 0.8) ** (1 / 3)), ("gated", 1.1 / 3)]
)
async def test_means_of_probabilities_and_the_gate_of_entities(sample, how, value):
    class Sure:
        async def likelihood(self, question, answers):
            likely = {FOX: 0.9, CART: 0.2, PULLS: 0.8}
            assert "a cat" not in question.text  # the prompt, which the benchmark does not show
            [known] = (p for asked, p in likely.items() if asked.question in question.text)
            return Likelihood(known, None, exchange(question))

    asked = replace(sample(noise(1)), questions=(FOX, CART, PULLS))
    [score] = await OwnQuestions(Sure(), how).score_all([asked])
    assert score.value == pytest.approx(value)
    assert score.note == f"object 0.90, object 0.20, verb {0 if how == 'gated' else 0.8:.2f}"
    assert len(score.exchanges) == 3


async def test_an_answer_in_a_word_or_number_counts_in_every_spelling(chat, sample):
    chat.server.says(word("3", math.log(0.5), three=math.log(0.2), four=math.log(0.3)))
    chat.server.says(word("Yes", math.log(0.9), No=math.log(0.1)))
    for question, likely in ((COUNT, 0.7), (NO, 0.1)):
        [score] = await OwnQuestions(chat).score_all([replace(sample(noise(1)), questions=(question,))])
        assert score.value == pytest.approx(likely)


@pytest.mark.parametrize(
    ("replies", "value"),
    [
        (["yes", "no"], 0.5),
        (["yes", "unclear"], 1.0),
        (["unclear", "unclear"], None),
    ],
)
async def test_without_probabilities_a_verdict_counts_and_what_is_unclear_does_not(chat, sample, replies, value):
    chat._dialect = replace(chat._dialect, top_logprobs=0)
    chat.server.says(*(f'{{"answer": "{reply}"}}' for reply in replies))
    [score] = await OwnQuestions(chat).score_all([replace(sample(noise(1)), questions=(FOX, COUNT))])
    assert score.value == value
    assert 'Is the answer "3"?' in json.dumps(chat.server.requests).replace('\\\\"', '"').replace('\\"', '"')
    assert value is not None or "2 of 2 questions have no answer (the model cannot tell)" in score.reason


async def test_the_geometric_mean_needs_every_answer_and_a_prompt_without_questions_is_missing(chat, sample):
    chat._dialect = replace(chat._dialect, top_logprobs=0)
    chat.server.says('{"answer": "yes"}', '{"answer": "unclear"}')
    [score] = await OwnQuestions(chat, "geometric").score_all([replace(sample(noise(1)), questions=(FOX, CART))])
    assert (score.value, score.reason[:16]) == (None, "1 of 2 questions")
    [score] = await OwnQuestions(chat).score_all([sample(noise(1))])
    assert "--prompts" in score.reason


def test_pieces_of_a_long_word_stand_for_it_and_yes_is_still_weighed_against_no():
    tops = [{"token": t, "logprob": math.log(p)} for t, p in ((" wood", 0.6), ("w", 0.2), ("Yes", 0.1))]
    said = [{"token": "1", "logprob": 0.0, "top_logprobs": tops}]
    assert probability_of(said, ("wooden",))[0] == pytest.approx(0.6)
    assert probability_of([{"token": "1.", "logprob": 0.0}, {"token": "Yes", "logprob": math.log(0.5)}])[0] == 1.0
