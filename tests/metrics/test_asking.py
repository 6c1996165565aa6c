"""Ratings and likelihoods of a chat model: what is asked, and what is missing."""

import json
import math

import pytest

from detailscribe.tools.errors import ModelError
from detailscribe.tools.language.chat import ChatModel
from detailscribe.tools.language.settings import ChatSettings
from detailscribe.tools.metrics.asking import Rubric, VqaScore

from ..language.scripted import Said, Server
from ..vision.fakes import FakeChat, no_reply
from .conftest import noise


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with Server() as started:
        yield started


@pytest.fixture
def chat(server):
    return ChatModel(ChatSettings(model="m", base_url=server.url, timeout=5, transport_retries=0, concurrency=1))


def rated(rating: object, reason: str = "it holds it") -> str:
    return json.dumps({"reason": reason, "rating": rating})


@pytest.mark.parametrize("rating", [4, "4", "4/5", 4.0])
async def test_a_rating_is_read_however_it_is_written(chat, server, sample, rating):
    server.says(rated(rating))
    [score] = await Rubric(chat, "interactions").score_all([sample(noise(1))])
    assert (score.value, score.note) == (4.0, "it holds it")


@pytest.mark.parametrize("rating", [0, 6, 4.5, "four", None, True])
async def test_a_rating_outside_the_scale_is_asked_again_and_then_missing(chat, server, sample, rating):
    server.always = Said(rated(rating))
    [score] = await Rubric(chat, "layout").score_all([sample(noise(1))])
    assert score.value is None
    assert "rating" in score.reason
    assert len(server.requests) == chat.settings.attempts


async def test_prose_without_a_rating_is_missing_and_no_low_score(chat, server, sample):
    server.says("I would say two.", "Rather nice.", "2", rated(5))
    missing, fine = await Rubric(chat, "interactions").score_all([sample(noise(1)), sample(noise(2))])
    assert {missing.value, fine.value} == {None, 5.0}


async def test_each_rubric_has_words_of_its_own_and_the_prompt_and_the_picture(sample):
    chat = FakeChat(lambda question: {"reason": "", "rating": 3})
    for rubric in ("interactions", "layout"):
        await Rubric(chat, rubric).score_all([sample(noise(1), "A cat sails.")])
    interactions, layout = chat.questions
    assert "who acts on what" in interactions.system
    assert "where things stand" in layout.system
    assert "<prompt>\nA cat sails.\n</prompt>" in layout.text
    assert len(layout.pictures) == 1


async def test_a_server_that_is_not_there_ends_the_measurement(sample):
    settings = ChatSettings(model="m", base_url="http://127.0.0.1:9/v1", timeout=2, transport_retries=0)
    with pytest.raises(ModelError):
        await Rubric(ChatModel(settings), "layout").score_all([sample(noise(1)), sample(noise(2))])


def word(token: str, logprob: float, **others: float) -> Said:
    tops = [{"token": t, "logprob": p} for t, p in {token: logprob, **others}.items()]
    return Said(token, logprobs=[{"token": token, "logprob": logprob, "top_logprobs": tops}])


async def test_vqascore_is_the_weight_of_yes_against_no(chat, server, sample):
    server.says(word("Yes", math.log(0.6), No=math.log(0.2), Maybe=math.log(0.1)))
    [score] = await VqaScore(chat).score_all([sample(noise(1), "a cat")])
    assert score.value == pytest.approx(0.75)
    asked = json.dumps(server.requests[0])
    assert 'Does this figure show \\"a cat\\"? Please answer yes or no.' in json.loads(json.dumps(asked))
    assert server.requests[0]["logprobs"] is True


async def test_vqascore_without_probabilities_is_missing(chat, server, sample):
    server.says("Yes")
    [score] = await VqaScore(chat).score_all([sample(noise(1))])
    assert (score.value, score.reason) == (None, "the server gives no logprobs")


async def test_vqascore_without_an_answer_is_missing(sample):
    [score] = await VqaScore(FakeChat(lambda q: None, no_reply)).score_all([sample(noise(1))])
    assert (score.value, score.reason) == (None, "timed out after 120 s")
    assert await VqaScore(FakeChat(lambda q: None)).score(*single(sample(noise(1)))) is None


def single(sample):
    return sample.image, sample.prompt, sample.store
