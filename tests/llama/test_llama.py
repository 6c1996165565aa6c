"""A real model behind a real server: its content is poor, so that all the rest must hold."""

import json

import pytest
from pydantic import BaseModel, Field

from detailscribe.state import ConceptGraph
from detailscribe.tools.errors import ModelError, ReplyError
from detailscribe.tools.language.chat import ChatModel
from detailscribe.tools.language.decomposer import ChatDecomposer
from detailscribe.tools.language.question import Picture, Question
from detailscribe.tools.language.settings import ChatSettings

from ..chat_server.pictures import PROMPT, picture

pytestmark = pytest.mark.slow

MODEL = "smollm2"


class Things(BaseModel):
    """Small enough for a small model."""

    things: list[str] = Field(min_length=1, max_length=3)


EXAMPLE = json.dumps(
    {
        "entities": [
            {"id": "dog", "name": "dog", "attributes": [], "count": 1},
            {"id": "bone", "name": "bone", "attributes": [], "count": 1},
        ],
        "interactions": [{"id": "eat", "kind": "contact", "subjects": ["dog"], "relation": "eating", "object": "bone"}],
        "scene": None,
    }
)
THINGS = Question("things", "Answer in JSON.", f"Name three things in this sentence: {PROMPT}")


def chat(llama, **changes):
    chosen = {"model": MODEL, "base_url": llama, "max_tokens": 200, "attempts": 1, "transport_retries": 0}
    return ChatModel(ChatSettings.model_validate(chosen | changes))


async def test_the_server_is_there(llama):
    await chat(llama).check()


async def test_a_schema_binds_the_answer(llama):
    reply = await chat(llama).ask(THINGS, Things)
    assert 1 <= len(reply.value.things) <= 3
    [exchange] = reply.exchanges
    assert exchange.prompt_tokens > 10
    assert exchange.reply_tokens > 3


async def test_a_prompt_is_taken_apart_or_the_error_says_why_not(llama, templates):
    outcome = await decomposed(ChatDecomposer(chat(llama, max_tokens=400), templates))
    assert len(outcome.exchanges) == 1
    assert outcome.exchanges[0].reply_tokens > 20
    if isinstance(outcome, ConceptGraph):
        assert outcome.prompt == PROMPT
        assert outcome.checks
    else:
        assert outcome.raw
        assert outcome.reason


async def test_the_templates_that_ship_fit_into_a_small_context(llama):
    """Forty tokens are too few for an answer, and enough to see that one begins."""
    outcome = await decomposed(ChatDecomposer(chat(llama, max_tokens=40)))
    assert isinstance(outcome, ReplyError)
    assert outcome.reason.startswith("length")
    assert outcome.raw.lstrip().startswith("{")
    assert PROMPT in outcome.exchanges[0].prompt


@pytest.fixture
def templates(tmp_path):
    """Short ones of a user's own, which a small model follows sooner."""
    (tmp_path / "decompose_system.txt").write_text("Answer in JSON.")
    (tmp_path / "decompose.txt").write_text(f"a dog eats a bone\n{EXAMPLE}\n\n$prompt\n")
    return tmp_path


async def decomposed(decomposer):
    """The concepts, or the error that says why there are none."""
    try:
        return await decomposer.decompose(PROMPT)
    except ReplyError as error:
        return error


async def test_what_is_over_long_is_cut_and_told(llama):
    with pytest.raises(ReplyError, match="length") as error:
        await chat(llama, max_tokens=5).ask(THINGS, Things)
    assert error.value.raw
    assert error.value.exchanges[0].reply_tokens == 5


async def test_a_question_that_is_too_long_is_no_answer(llama):
    with pytest.raises(ReplyError, match="too long"):
        await chat(llama).ask(Question("things", "", "cat " * 6000), Things)


async def test_it_says_how_likely_yes_is(llama):
    likelihood = await chat(llama).likelihood(Question("sky", "", "Is the sky blue? Answer yes or no."))
    assert likelihood.probability is None or 0 <= likelihood.probability <= 1
    assert (likelihood.probability is None) == (likelihood.reason is not None)


@pytest.mark.parametrize("ask", ["ask", "likelihood"])
async def test_a_model_without_eyes_is_told_of_in_one_line(llama, ask):
    question = Question("things", "", "What is in the picture?", (Picture(picture(), "images/00-00.png"),))
    model = chat(llama)
    with pytest.raises(ModelError, match="takes no pictures") as error:
        await (model.ask(question, Things) if ask == "ask" else model.likelihood(question))
    assert "--chat-model" in str(error.value)
    assert "\n" not in str(error.value)


async def test_a_model_that_it_does_not_have_is_answered_all_the_same(llama):
    """llama.cpp serves one model by any name: the client must not depend on a 404."""
    reply = await chat(llama, model="gpt-0").ask(THINGS, Things)
    assert reply.value.things


async def test_streamed_it_says_the_same(llama):
    whole = chat(llama, max_tokens=24, body={"seed": 1})
    streamed = chat(llama, max_tokens=24, body={"seed": 1, "stream": True, "stream_options": {"include_usage": True}})
    said = [await model.likelihood(Question("sky", "", "Is the sky blue?")) for model in (whole, streamed)]
    assert said[0].exchange.reply == said[1].exchange.reply
    assert said[0].exchange.reply_tokens == said[1].exchange.reply_tokens > 0
