"""A chat model asks until it has an answer, and says in what it failed."""

import asyncio
import json
import threading

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, SecretStr

from detailscribe.state import Exchange
from detailscribe.tools.errors import ReplyError
from detailscribe.tools.language.chat import ChatModel
from detailscribe.tools.language.question import Picture, Question

from .scripted import KEY, Colour, Said

QUESTION = Question("colour", "You see.", "Which colour is it?", template="colour@0123456789ab")
DECLINED = Said("'response_format' of type 'json_schema' is not supported", status=400)
NO_JSON = Said("unknown field response_format", status=422)


def form_of(request: dict) -> str:
    return request.get("response_format", {"type": "text"})["type"]


async def test_an_answer_is_bound_to_its_schema(server, chat):
    reply = await chat().ask(QUESTION, Colour)
    assert reply.value == Colour(colour="red")
    bound = server.requests[0]["response_format"]
    assert (bound["type"], bound["json_schema"]["name"]) == ("json_schema", "colour")
    assert bound["json_schema"]["schema"]["required"] == ["colour"]


async def test_every_exchange_says_what_was_asked_and_what_it_cost(server, chat):
    server.says('{"colour": "green"}')
    reply = await chat(input_price=2, output_price=10).ask(QUESTION, Colour)
    [said] = reply.exchanges
    assert said.prompt == "[template colour@0123456789ab]\n[system]\nYou see.\n[user]\nWhich colour is it?"
    assert (said.reply, said.prompt_tokens, said.reply_tokens) == ('{"colour": "green"}', 100, 10)
    assert said.money == pytest.approx(0.0003)
    assert said.model == f"m@{server.url.split('/')[2]}"
    assert not said.cached


async def test_pictures_are_sent_whole_and_written_down_by_reference(server, chat):
    picture = Picture(b"these are the pixels", "images/00-00.png")
    reply = await chat().ask(Question("colour", "", "Which?", (picture,)), Colour)
    text, sent = server.requests[0]["messages"][0]["content"]
    assert text["text"] == "Which?"
    assert sent["image_url"]["url"] == "data:image/png;base64,dGhlc2UgYXJlIHRoZSBwaXhlbHM="
    assert f"[picture images/00-00.png sha256:{picture.sha256}]" in reply.exchanges[0].prompt
    assert "dGhlc2Ug" not in reply.exchanges[0].prompt


async def test_a_server_that_refuses_schemas_is_asked_for_json_and_then_for_text(server, chat):
    server.says(DECLINED, NO_JSON, 'It is\n```json\n{\'colour\': 1}\n{"colour": "blue"}\n```\nI hope.')
    model = chat()
    reply = await model.ask(QUESTION, Colour)
    assert reply.value.colour == "blue"
    assert [form_of(request) for request in server.requests] == ["json_schema", "json_object", "text"]
    assert '"required": ["colour"]' in server.requests[2]["messages"][-1]["content"]
    assert [e.reply for e in reply.exchanges[:2]] != ["", ""]
    await model.ask(QUESTION, Colour)
    assert form_of(server.requests[3]) == "text", "what the server takes is remembered"


async def test_a_request_declined_in_every_form_does_not_change_how_the_next_is_asked(server, chat):
    server.says(*[Said("cannot", status=400)] * 3)
    model = chat()
    with pytest.raises(Exception, match="declines the request"):
        await model.ask(QUESTION, Colour)
    await model.ask(QUESTION, Colour)
    assert form_of(server.requests[3]) == "json_schema"


async def test_a_model_that_takes_no_temperature_is_asked_without(server, chat):
    server.says(Said("Unsupported value: 'temperature' does not support 0", status=400))
    model = chat()
    await model.ask(QUESTION, Colour)
    await model.ask(QUESTION, Colour)
    assert ["temperature" in request for request in server.requests] == [True, False, False]
    assert form_of(server.requests[1]) == "json_schema"


async def test_all_that_ask_at_once_learn_that_no_temperature_is_taken(server, chat):
    together = threading.Barrier(2, timeout=5)
    declined = Said("'temperature' is not supported", status=400, before=together.wait)
    server.says(declined, declined)
    model = chat()
    await asyncio.gather(model.ask(QUESTION, Colour), model.likelihood(QUESTION))
    await model.likelihood(QUESTION)
    await model.ask(QUESTION, Colour)
    assert ["temperature" in request for request in server.requests] == [True, True, False, False, False, False]
    assert form_of(server.requests[-1]) == "json_schema"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Said('{"colour": 3}'), "colour: Input should be a valid string"),
        (Said('{"color": "red"}'), "colour: Field required"),
        (Said('{"colour": "re'), "no complete JSON object"),
        (Said("red"), "no complete JSON object"),
        (Said("{" * 3000), "no complete JSON object"),
        (Said('{"a":' * 3000), "no"),
        (Said('{"colour": "red"}', finish="length"), "length: the answer was cut after 10 tokens"),
        (Said(None, refusal="I cannot help."), "refusal: I cannot help."),
        (Said("", finish="content_filter"), "content_filter"),
        (Said(""), "empty"),
        (Said(None), "empty"),
        (Said("<think>It is red, surely"), "no complete JSON object"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_an_unusable_answer_is_asked_again_with_the_reason(server, chat, bad, reason):
    server.says(bad)
    reply = await chat().ask(QUESTION, Colour)
    assert reply.value.colour == "red"
    assert len(reply.exchanges) == len(server.requests) == 2
    again = server.requests[1]["messages"][-1]["content"]
    assert again.startswith("Which colour is it?")
    assert reason in again


async def test_what_is_asked_again_holds_the_bad_answer(server, chat):
    server.says('{"colour": 3}')
    await chat().ask(QUESTION, Colour)
    assert '<answer>\n{"colour": 3}\n</answer>' in server.requests[1]["messages"][-1]["content"]


async def test_an_answer_that_never_fits_ends_as_an_error_that_keeps_everything(server, chat):
    server.says('{"colour": 1}', '{"colour": 2}', '{"colour": 3}', '{"colour": "red"}')
    with pytest.raises(ReplyError, match="no usable answer to 'colour': colour: Input should be") as told:
        await chat(attempts=3).ask(QUESTION, Colour)
    assert told.value.raw == '{"colour": 3}'
    assert told.value.reason.startswith("colour:")
    assert [e.reply for e in told.value.exchanges] == [f'{{"colour": {n}}}' for n in (1, 2, 3)]
    assert sum(e.prompt_tokens for e in told.value.exchanges) == 300


@pytest.mark.parametrize(
    "text",
    [
        'Sure! {"colour": "red"} Anything else?',
        '```json\n{"colour": "red"}\n```',
        '<think>Is it {"colour": "blue", "or": "green"}?</think>{"colour": "red"}',
        'so {"colour": "blue"} it was</think>\n\n{"colour": "red"}',
        '{} {"colour": "red", "because": {"of": "it"}}',
        '\ufeff{"colour": "red"}',
    ],
)
async def test_what_stands_around_an_answer_does_not_matter(server, chat, text):
    server.says(text)
    reply = await chat(attempts=1).ask(QUESTION, Colour)
    assert reply.value.colour == "red"


async def test_a_reply_without_usage_costs_no_tokens(server, chat):
    server.says(Said(usage=None))
    [said] = (await chat().ask(QUESTION, Colour)).exchanges
    assert (said.prompt_tokens, said.reply_tokens, said.money) == (0, 0, 0.0)


@pytest.mark.parametrize(
    "odd",
    [
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": "red"}]}',
        b'{"choices": [{"message": {"content": "x"}, "logprobs": "x"}]}',
        b'{"choices": [{"message": {"content": "x"}, "logprobs": {"content": 3}}]}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": "free"}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": "many"}}',
        b'{"choices": [{"message": {"content": [{"type": "text", "text": "x"}]}}]}',
        b'{"choices": {"message": 1}}',
        b'"red"',
        b"[]",
        b"null",
        b"3",
        b"",
        b'{"choices": [',
        b"\xff\xfe",
    ],
)
async def test_a_reply_of_another_protocol_is_no_answer(server, chat, odd):
    server.says(Said(body=odd), Said(body=odd))
    with pytest.raises(ReplyError) as told:
        await chat(attempts=2).ask(QUESTION, Colour)
    assert len(told.value.exchanges) == len(server.requests) == 2


async def test_half_a_character_in_a_reply_does_no_harm(server, chat):
    server.says(Said(body=Said("\ud83d").encoded()))
    reply = await chat().ask(QUESTION, Colour)
    assert reply.exchanges[0].reply == "?"


def test_a_model_serves_one_event_loop_after_another(server, chat):
    model = chat()
    for _ in range(3):
        assert asyncio.run(model.ask(QUESTION, Colour)).value.colour == "red"


async def test_the_length_of_a_reply_is_bounded_by_the_name_that_every_server_knows(server, chat):
    await chat(max_tokens=77).ask(QUESTION, Colour)
    assert server.requests[0]["max_tokens"] == 77
    assert "max_completion_tokens" not in server.requests[0]


class Box(BaseModel):
    inside: list[Colour]


async def test_a_schema_that_is_sent_refers_to_nothing(server, chat):
    server.says('{"inside": [{"colour": "red"}]}')
    await chat().ask(QUESTION, Box)
    assert "$" not in str(server.requests[0]["response_format"])


async def test_nothing_that_is_kept_or_shown_holds_the_key(server, chat):
    echo = f"you sent Bearer {KEY}, did you not?"
    server.says(Said(echo, status=500))
    model = chat(transport_retries=0)
    shown = [repr(model.settings), str(model.settings.model_dump_json())]
    with pytest.raises(ReplyError) as told:
        await model.ask(QUESTION, Colour)
    server.says(echo, Said(None, refusal=echo), Said(finish="length", text=echo))
    with pytest.raises(ReplyError) as also:
        await model.ask(QUESTION, Colour)
    for error in (told.value, also.value):
        shown += [str(error), repr(error), error.raw, error.reason, *map(repr, error.exchanges)]
        assert error.__cause__ is None
    assert server.keys == [f"Bearer {KEY}"] * 4
    assert all(KEY not in text for text in shown)
    assert "***" in told.value.exchanges[0].reply
    assert "***" in also.value.raw


async def test_an_exchange_is_part_of_the_state(server, chat):
    reply = await chat().ask(QUESTION, Colour)
    assert Exchange.model_validate_json(reply.exchanges[0].model_dump_json()) == reply.exchanges[0]


class Watching(AsyncCallbackHandler):
    """Keeps what LangChain reports of chat models."""

    def __init__(self) -> None:
        self.started: list[tuple] = []
        self.ended: list = []
        self.failed: list[BaseException] = []

    async def on_chat_model_start(self, serialized, messages, **about) -> None:
        self.started.append((serialized, messages, about))

    async def on_llm_end(self, response, **about) -> None:
        self.ended.append(response.generations[0][0].message)

    async def on_llm_error(self, error, **about) -> None:
        self.failed.append(error)


async def within_a_run(model: ChatModel, watching: Watching) -> None:
    async def asking(question: Question) -> Colour:
        return (await model.ask(question, Colour)).value

    await RunnableLambda(asking).ainvoke(QUESTION, {"callbacks": [watching]})


async def test_callbacks_of_the_run_around_it_see_each_call_with_model_and_usage(server, chat):
    watching, secret = Watching(), "an-azure-key-0123456789"
    server.says(Said("cannot: response_format", status=400))
    model = chat(headers={"x-key": SecretStr(secret)}, query={"key": SecretStr(secret)})
    await within_a_run(model, watching)
    assert len(watching.started) == 2
    assert len(watching.failed) == 1
    serialized, [[system, user]], about = watching.started[0]
    assert (system.content, user.content, about["name"]) == ("You see.", "Which colour is it?", "colour")
    assert about["metadata"]["ls_model_name"] == "m"
    assert (about["invocation_params"]["temperature"], about["invocation_params"]["max_tokens"]) == (0, 4096)
    [answer] = watching.ended
    assert answer.text == '{"colour": "red"}'
    assert (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]) == (100, 10)
    shown = f"{serialized}{about}{watching.failed}{answer}"
    assert KEY not in shown
    assert secret not in shown


async def test_callbacks_see_what_a_model_thought(server, chat):
    watching = Watching()
    message = {"content": '{"colour": "red"}', "reasoning_content": "Is it blue?"}
    server.always = Said(body=json.dumps({"choices": [{"message": message}]}).encode())
    await within_a_run(chat(), watching)
    assert watching.ended[0].additional_kwargs["reasoning_content"] == "Is it blue?"
