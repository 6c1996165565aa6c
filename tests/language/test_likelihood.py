"""How sure a model is of yes, from the words it might have said."""

import math

import pytest

from detailscribe.tools.errors import ModelError, ReplyError
from detailscribe.tools.language.question import Picture, Question

from .scripted import Said

QUESTION = Question("holds", "", "Is the fox holding the balloon? Answer yes or no.")


def token(said: str, **likely: float) -> dict:
    """A token of a reply; ``likely`` are the words it might have been, by probability."""
    tops = [{"token": word.replace("_", " "), "logprob": math.log(p)} for word, p in likely.items()]
    return {"token": said, "logprob": -0.1, "bytes": None, "top_logprobs": tops}


async def test_the_spellings_of_yes_and_of_no_are_summed(server, chat):
    server.says(Said("Yes", logprobs=[token("Yes", Yes=0.5, _yes=0.1, YES=0.1, No=0.1, no=0.1, Maybe=0.1)]))
    told = await chat().likelihood(QUESTION)
    assert told.probability == pytest.approx(0.7 / 0.9)
    assert told.reason is None
    asked = server.requests[0]
    assert (asked["logprobs"], asked["top_logprobs"], asked["temperature"]) == (True, 20, 0)
    assert asked["max_tokens"] < 10
    assert told.exchange.reply == "Yes"


async def test_a_blank_before_the_word_is_passed_over(server, chat):
    server.says(Said(" No.", logprobs=[token(" ", _=0.9), token("No", No=0.6, Yes=0.2), token(".")]))
    assert (await chat().likelihood(QUESTION)).probability == pytest.approx(0.25)


async def test_a_yes_after_other_words_is_no_answer(server, chat):
    server.says(Said("It: yes", logprobs=[token("It", It=0.9), token("yes", yes=0.9)]))
    told = await chat().likelihood(QUESTION)
    assert told.probability is None
    assert told.reason == "neither yes nor no is among the likely words, the first of which is 'It'"


@pytest.mark.parametrize("logprobs", [None, []])
async def test_a_server_may_give_no_probabilities(server, chat, logprobs):
    server.says(Said("Yes", logprobs=logprobs))
    told = await chat().likelihood(QUESTION)
    assert (told.probability, told.reason) == (None, "the server gives no logprobs")


async def test_a_server_that_declines_to_give_them_is_asked_once(server, chat):
    server.says(Said("logprobs are not supported by this model", status=400))
    model = chat()
    for _ in range(2):
        told = await model.likelihood(QUESTION)
        assert told.probability is None
        assert told.reason.startswith("the server gives no logprobs")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "odd",
    [
        [{}],
        [{"token": "Yes"}],
        [{"token": "Yes", "logprob": "high"}],
        [{"token": "?!", "logprob": 0}],
        [None],
        ["Yes"],
        [{"token": "Yes", "top_logprobs": [1]}],
    ],
)
async def test_probabilities_that_are_none_are_told_as_such(server, chat, odd):
    server.says(Said("Yes", logprobs=odd))
    told = await chat().likelihood(QUESTION)
    assert told.probability is None
    assert told.reason


async def test_a_certain_word_has_a_probability_without_alternatives(server, chat):
    server.says(Said("Yes", logprobs=[{"token": "Yes", "logprob": 0.0, "top_logprobs": []}]))
    assert (await chat().likelihood(QUESTION)).probability == 1


async def test_a_server_that_fails_gives_no_likelihood(server, chat):
    server.says(Said("busy", status=503))
    with pytest.raises(ReplyError, match="503"):
        await chat().likelihood(QUESTION)
    server.says(Said("unauthorized", status=401))
    with pytest.raises(ModelError, match="refuses the key"):
        await chat().likelihood(QUESTION)


async def test_a_model_that_sees_nothing_is_named(server, chat):
    server.says(Said("image input is not supported", status=400))
    with pytest.raises(ModelError, match="takes no pictures"):
        await chat().likelihood(Question("holds", "", "Is it?", (Picture(b"png", "images/a.png"),)))


@pytest.mark.parametrize(
    ("declined", "reason"),
    [
        ({"refusal": "I cannot say."}, "refusal: I cannot say."),
        ({"finish": "content_filter"}, "content_filter: the server filtered the answer"),
    ],
)
async def test_what_is_declined_has_no_likelihood_whatever_its_logprobs(server, chat, tmp_path, declined, reason):
    server.says(Said("Yes", logprobs=[token("Yes", Yes=0.9, No=0.1)], **declined))
    told = await chat(cache=tmp_path).likelihood(QUESTION)
    assert (told.probability, told.reason) == (None, reason)
    assert not list(tmp_path.glob("*/*.json")), "what is no answer is not kept"


async def test_a_request_that_is_declined_otherwise_is_the_reason(server, chat):
    server.says(Said("no games", status=400), Said("Yes", logprobs=[token("Yes", Yes=0.5, No=0.5)]))
    model = chat()
    assert "no games" in (await model.likelihood(QUESTION)).reason
    assert (await model.likelihood(QUESTION)).probability == pytest.approx(0.5)


async def test_a_likelihood_is_paid_for_once(server, chat, tmp_path):
    server.says(Said("Yes", logprobs=[token("Yes", Yes=0.75, No=0.25)]), Said("?", logprobs=[]))
    first = await chat(cache=tmp_path).likelihood(QUESTION)
    second = await chat(cache=tmp_path).likelihood(QUESTION)
    assert first.probability == second.probability == pytest.approx(0.75)
    assert (first.exchange.cached, second.exchange.cached) == (False, True)
    assert len(server.requests) == 1
