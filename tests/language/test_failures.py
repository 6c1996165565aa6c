"""A server that cannot be used is named in one line that says what to do; one that gave no answer is no fatal error."""

import socket
import threading

import pytest

from detailscribe.tools.errors import ModelError, ReplyError
from detailscribe.tools.language.chat import ChatModel
from detailscribe.tools.language.question import Picture, Question
from detailscribe.tools.language.settings import ChatSettings
from detailscribe.tools.language.wire import http_library

from .scripted import KEY, Colour, Said

QUESTION = Question("colour", "", "Which colour is it?")
ABOUT_A_PICTURE = Question("colour", "", "Which colour is it?", (Picture(b"png", "images/a.png"),))


@pytest.fixture
def naps(monkeypatch) -> list[float]:
    """Seconds that the SDK would have slept between its retries."""
    taken: list[float] = []

    async def nap(seconds: float) -> None:
        taken.append(seconds)

    monkeypatch.setattr("openai._base_client.anyio.sleep", nap)
    return taken


@pytest.mark.parametrize(
    ("status", "words", "told"),
    [
        (401, f"Incorrect API key provided: {KEY}", r"refuses the key \(401.*\*\*\*.*OPENAI_API_KEY"),
        (403, "no access", r"refuses the key \(403.*OPENAI_API_KEY"),
        (404, "The model `m` does not exist.", "has no model 'm'.*--chat-model"),
        (404, "Not Found", "speaks no chat completions.*--chat-url"),
        (405, "no", "speaks no chat completions.*--chat-url"),
        (429, "You exceeded your quota: insufficient_quota", "wants to be paid"),
    ],
)
async def test_what_the_user_must_mend_is_said_in_one_line(server, chat, status, words, told):
    server.says(Said(words, status=status))
    with pytest.raises(ModelError, match=told) as error:
        await chat().ask(QUESTION, Colour)
    assert "\n" not in str(error.value)
    assert KEY not in repr(error.value)
    assert len(server.requests) == 1


async def test_a_missing_key_is_told_without_a_key(server, chat):
    server.says(Said("Unauthorized", status=401))
    with pytest.raises(ModelError, match="refuses a call without a key"):
        await chat(api_key=None).ask(QUESTION, Colour)


def test_openai_itself_needs_a_key_at_once():
    with pytest.raises(ModelError, match=r"no key for gpt-4o at api\.openai\.com: set OPENAI_API_KEY"):
        ChatModel(ChatSettings(model="gpt-4o"))


async def test_the_key_in_the_environment_goes_to_no_other_server(server, chat, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    await chat(api_key=None).ask(QUESTION, Colour)
    assert server.keys == ["Bearer none"]


async def test_a_server_that_is_not_there_is_told_without_retries(naps, chat):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(ModelError, match=r"cannot be reached.*--chat-url"):
            await chat(base_url=url, transport_retries=4).ask(QUESTION, Colour)
    assert naps == []


async def test_a_host_that_has_no_address_is_told_without_retries(naps, chat):
    with pytest.raises(ModelError, match=r"nowhere\.invalid cannot be reached"):
        await chat(base_url="http://nowhere.invalid/v1", transport_retries=4).check()
    assert naps == []


async def test_a_host_that_lets_one_wait_at_the_door_is_told_without_retries(naps, chat, monkeypatch):
    async def send(self, request, **options):
        assert request.extensions["timeout"]["connect"] <= 10
        raise http_library().ConnectTimeout("", request=request)

    monkeypatch.setattr(http_library().AsyncClient, "send", send)
    with pytest.raises(ModelError, match="cannot be reached"):
        await chat(transport_retries=4, timeout=600).ask(QUESTION, Colour)
    assert naps == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "Invalid content type. image_url is only supported by certain models."),
        (400, "At most 0 image(s) may be provided in one prompt."),
        (422, "messages.0.content: Input should be a valid string, not image_url"),
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
    ],
)
async def test_a_model_that_sees_nothing_is_named(server, chat, status, words):
    server.says(Said(words, status=status))
    with pytest.raises(ModelError, match=r"takes no pictures .*--chat-model"):
        await chat().ask(ABOUT_A_PICTURE, Colour)
    assert len(server.requests) == 1


async def test_what_can_never_be_taken_is_not_tried_again(server, chat, naps):
    server.always = Said("image input is not supported - hint: you may need to provide the mmproj", status=500)
    with pytest.raises(ModelError, match="takes no pictures"):
        await chat(transport_retries=4).ask(ABOUT_A_PICTURE, Colour)
    assert (len(server.requests), naps) == (1, [])


async def test_a_complaint_about_the_schema_is_not_taken_for_one_about_the_picture(server, chat):
    server.says(Said("response_format json_schema is not supported for image requests", status=400))
    assert (await chat().ask(ABOUT_A_PICTURE, Colour)).value.colour == "red"


async def test_too_many_requests_are_put_off_as_long_as_the_server_says(server, chat, naps):
    server.says(Said("slower", status=429, headers={"retry-after": "7"}))
    reply = await chat(transport_retries=1).ask(QUESTION, Colour)
    assert reply.value.colour == "red"
    assert naps == [7]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_stays_busy_gives_no_answer(server, chat, naps, status):
    server.always = Said("busy", status=status)
    with pytest.raises(ReplyError, match=f"the server answered {status}") as told:
        await chat(transport_retries=2, attempts=3).ask(QUESTION, Colour)
    assert len(server.requests) == 3, "what the transport has retried is not asked again"
    assert len(naps) == 2
    assert (told.value.raw, len(told.value.exchanges)) == ("", 1)
    assert "busy" in told.value.exchanges[0].reply


async def test_a_connection_that_is_cut_is_tried_again(server, chat, naps):
    server.says(Said(headers={"content-length": "9999"}))
    assert (await chat(transport_retries=1).ask(QUESTION, Colour)).value.colour == "red"
    server.always = Said(headers={"content-length": "9999"})
    with pytest.raises(ReplyError, match="the connection was cut"):
        await chat(transport_retries=1).ask(QUESTION, Colour)


async def test_a_reply_that_takes_too_long_is_no_answer(server, chat):
    done = threading.Event()
    server.always = Said(before=lambda: done.wait(5))
    with pytest.raises(ReplyError, match=r"timed out after 0\.1 s") as told:
        await chat(timeout=0.1).ask(QUESTION, Colour)
    done.set()
    assert told.value.exchanges[0].seconds > 0


async def test_a_server_that_hangs_is_waited_for_once_and_once_more_where_it_has_answered_before(server, chat):
    done, model = threading.Event(), chat(timeout=0.1, transport_retries=4)
    for answered, waits in ((False, 1), (True, 2)):
        if answered:
            server.always = Said()
            await model.ask(QUESTION, Colour)
        server.always, before = Said(before=lambda: done.wait(5)), len(server.requests)
        with pytest.raises(ReplyError, match=r"timed out after 0\.1 s"):
            await model.ask(QUESTION, Colour)
        assert len(server.requests) - before == waits
    done.set()


async def test_a_reply_that_trickles_in_takes_too_long_too(server, chat):
    server.always = Said(drip=0.01)
    with pytest.raises(ReplyError, match="timed out"):
        await chat(timeout=0.2).ask(QUESTION, Colour)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("maximum context length is 8192 tokens", "too long for m"),
        ("the request exceeds the available context size", "too long for m"),
        ("rejected by our content management policy: content_filter", "content_filter"),
    ],
)
async def test_a_question_that_is_declined_for_what_it_says_is_not_put_otherwise(server, chat, words, reason):
    server.says(Said(words, status=400))
    with pytest.raises(ReplyError, match=reason):
        await chat().ask(QUESTION, Colour)
    assert len(server.requests) == 1


async def test_a_check_is_one_short_call(server, chat):
    await chat().check()
    assert [request["max_tokens"] for request in server.requests] == [16]
    server.says(Said("no", status=401))
    with pytest.raises(ModelError, match="refuses the key"):
        await chat().check()
    server.says(Said("no", status=503))
    with pytest.raises(ReplyError, match="503"):
        await chat().check()
