"""Servers differ in what they take, how they refuse, and where they put an answer; each is read for what it says."""

import base64
import contextlib
import io
import json
import re
import shutil
import ssl
import subprocess
import time

import pytest
from PIL import Image
from pydantic import SecretStr

from detailscribe.tools.errors import ModelError, ReplyError
from detailscribe.tools.language.question import Picture, Question, picture_of_number
from detailscribe.tools.language.structured import read_last, without_thoughts
from detailscribe.tools.language.wire import proxy_of

from .scripted import Colour, Said

QUESTION = Question("colour", "You see.", "Which colour is it?")
REAL = Picture(picture_of_number(), "images/a.png")
SEEING = Question("colour", "You see.", "Which colour is it?", (REAL,))

BODIES = {
    "OpenAI": lambda words: {"error": {"message": words, "type": "invalid_request_error", "param": None, "code": None}},
    "vLLM": lambda words: {"object": "error", "message": words, "type": "BadRequestError", "code": 400},
    "TGI": lambda words: {"error": words},
    "FastAPI": lambda words: {"detail": words},
    "FastAPI 422": lambda words: {"detail": [{"loc": ["body"], "msg": words, "type": "value_error"}]},
    "Gemini": lambda words: [{"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}}],
    "OpenRouter": lambda words: {
        "error": {"message": "Provider returned error", "metadata": {"raw": json.dumps({"error": {"message": words}})}}
    },
    "errors": lambda words: {"errors": [{"message": words}]},
    "plain text": lambda words: words,
    "HTML": lambda words: f"<html><body><h1>{words}</h1></body></html>",
}


def body(content: object, status: int = 400, **more: object) -> Said:
    data = content if isinstance(content, str) else json.dumps(content)
    return Said(body=data.encode(), status=status, **more)


def error(words: str, status: int = 400, **more: object) -> Said:
    return body({"error": {"message": words, "type": "t"} | more}, status)


@pytest.mark.parametrize("shape", BODIES.values(), ids=BODIES)
async def test_the_words_of_an_error_are_found_in_any_body(server, chat, shape):
    declined = body(shape("this model does not take the parameter temperature"))
    server.refuses = lambda asked: declined if "temperature" in asked else None
    assert (await chat().ask(QUESTION, Colour)).value.colour == "red"
    server.refuses = lambda asked: body(shape("insufficient_quota: you have no credits left"), 429)
    with pytest.raises(ModelError, match=r"wants to be paid first \(.*no credits left"):
        await chat(transport_retries=3).ask(QUESTION, Colour)


TAKES = {
    "max_tokens": (
        lambda asked: "max_tokens" in asked,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    ),
    "neither name": (
        lambda asked: {"max_tokens", "max_completion_tokens"} & asked.keys(),
        "max_tokens, max_completion_tokens: Extra inputs are not permitted",
    ),
    "smaller": (
        lambda asked: asked.get("max_tokens", 0) > 1000,
        "max_tokens is too large: 4096. This model supports at most 1000 completion tokens.",
    ),
    "context": (
        lambda asked: asked.get("max_tokens", 0) > 3000,
        "This model's maximum context length is 4096 tokens. However, you requested 4500 tokens (404 in the messages, "
        "4096 in the completion).",
    ),
    "system": (lambda asked: asked["messages"][0]["role"] == "system", "System role not supported"),
    "alternate": (
        lambda asked: asked["messages"][0]["role"] == "system",
        "Conversation roles must alternate user/assistant/user/assistant/...",
    ),
    "streams": (
        lambda asked: not asked.get("stream"),
        "This model only support stream mode, please enable the stream parameter to access the model.",
    ),
    "no format": (lambda asked: "response_format" in asked, "unknown field response_format"),
    "no schema": (
        lambda asked: asked.get("response_format", {}).get("type") == "json_schema",
        "failed to parse grammar: unable to convert the JSON schema",
    ),
    "parameters": (
        lambda asked: "response_format" in asked,
        "No endpoints found that can handle the requested parameters",
    ),
    "temperature": (lambda asked: asked.get("temperature") != None, "temperature is deprecated for this model"),  # noqa: E711
}
STREAM = Said(
    body=b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
    b'data: {"choices": [{"delta": {"content": "{\\"colour\\": "}}]}\n\n'
    b'data: {"choices": [{"delta": {"content": "\\"red\\"}"}, "finish_reason": "stop"}]}\n\n'
    b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}\n\ndata: [DONE]\n\n',
    headers={"content-type": "text/event-stream"},
)


def statuses(words: str) -> tuple[int, ...]:
    """Those that servers say this with; a 404 is about a path or a model unless it says otherwise, and a failing
    server mostly says nothing of what it takes."""
    if "requested parameters" in words:
        return 400, 404
    never = re.search(r"(not|only) support|grammar|response_format|alternate", words)
    return (400, 422, 501, 500) if never else (400, 422, 501)


DECLINED = [
    pytest.param(declines, words, status, id=f"{name}-{status}")
    for name, (declines, words) in TAKES.items()
    for status in statuses(words)
]


@pytest.mark.parametrize(("declines", "words", "status"), DECLINED)
async def test_what_a_server_takes_is_learned_from_what_it_declines(server, chat, declines, words, status):
    server.refuses = lambda asked: error(words, status) if declines(asked) else STREAM if asked.get("stream") else None
    model = chat(transport_retries=2)
    first = await model.ask(QUESTION, Colour)
    assert first.value.colour == "red"
    assert all(exchange.reply for exchange in first.exchanges), "what was declined is in the trace"
    asked = len(server.requests)
    assert (await model.ask(QUESTION, Colour)).value.colour == "red"
    assert len(server.requests) == asked + 1, "it is remembered"
    said = json.dumps(server.requests[-1]["messages"])
    assert "You see." in said
    assert "Which colour is it?" in said


async def test_a_stream_that_nobody_asked_for_is_read_and_asked_for_from_then_on(server, chat):
    server.always, model = STREAM, chat()
    assert (await model.ask(QUESTION, Colour)).value.colour == "red"
    [said] = (await model.ask(QUESTION, Colour)).exchanges
    assert (said.prompt_tokens, said.reply_tokens) == (7, 3)
    assert [asked.get("stream") for asked in server.requests] == [None, True, True]


async def test_thoughts_errors_and_odd_parts_of_a_stream_are_read(server, chat):
    def stream(*parts: object) -> Said:
        lines = "".join(f"data: {json.dumps(part)}\n\n" for part in parts)
        return Said(body=f"{lines}data: [DONE]\n\n".encode(), headers={"content-type": "text/event-stream"})

    model = chat(body={"stream": True}, attempts=1)
    thoughts = [{"choices": [{"delta": {"reasoning_content": part}}]} for part in ('{"colour"', ': "red"}')]
    server.says(stream(*thoughts, {"choices": [{"finish_reason": "stop"}]}, {"choices": None}))
    assert (await model.ask(QUESTION, Colour)).value.colour == "red"
    server.says(stream({"choices": [{"delta": {"content": "x"}}]}, {"error": {"code": 402, "message": "no"}}))
    with pytest.raises(ModelError, match="wants to be paid"):
        await model.ask(QUESTION, Colour)
    server.says(stream())
    with pytest.raises(ReplyError):
        await model.ask(QUESTION, Colour)


async def test_json_is_read_whatever_type_it_is_said_to_be(server, chat):
    server.always = Said(headers={"content-type": "text/plain"})
    assert (await chat(attempts=1).ask(QUESTION, Colour)).value.colour == "red"


@pytest.mark.parametrize(
    ("words", "tops"),
    [
        ("Invalid value for 'top_logprobs': must be less than or equal to 5", 5),
        ("Requested sample logprobs of 20, which is greater than max allowed: 8", 8),
        ("top_logprobs must be in the range [0, 20)", 5),
    ],
)
async def test_fewer_probabilities_are_asked_for_where_so_many_are_not_given(server, chat, words, tops):
    yes = Said("Yes", logprobs=[{"token": "Yes", "logprob": 0.0, "top_logprobs": []}])
    server.refuses = lambda asked: error(words) if asked["top_logprobs"] > tops else yes
    model = chat()
    assert (await model.likelihood(QUESTION)).probability == 1
    await model.likelihood(QUESTION)
    assert [asked["top_logprobs"] for asked in server.requests] == [20, tops, tops]


async def test_a_reply_longer_than_one_word_is_asked_for_where_one_is_too_short(server, chat):
    yes = Said("Yes", logprobs=[{"token": "Yes", "logprob": 0.0, "top_logprobs": []}])
    server.refuses = lambda asked: (
        error("max_output_tokens: integer below minimum value; expected a value >= 16")
        if asked["max_tokens"] < 16
        else yes
    )
    assert (await chat().likelihood(QUESTION)).probability == 1


@pytest.mark.parametrize("decline", ["everything", "max_tokens temperature stream system schema image too large"])
async def test_a_server_that_declines_everything_comes_to_an_end(server, chat, decline):
    server.refuses = lambda asked: error(f"{decline} is not supported")
    with pytest.raises((ModelError, ReplyError)):
        await chat(attempts=2).ask(SEEING, Colour)
    assert len(server.requests) < 30


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (error("Rejected.", 400, code="moderation_blocked"), "content_filter"),
        (error("Your request was flagged by our safety system", 403), "content_filter"),
        (error("The response was filtered", 400, code="content_filter"), "content_filter"),
        (error("You exceeded your current quota, please check your plan. Please retry in 3 s.", 429), "answered 429"),
        (body("upstream connect error", 502), "answered 502"),
    ],
)
async def test_what_is_not_the_users_to_mend_is_no_answer(server, chat, said, words):
    server.always = said
    with pytest.raises(ReplyError, match=words):
        await chat().ask(QUESTION, Colour)


@pytest.mark.parametrize(
    ("code", "ends"),
    [(402, "wants to be paid"), (401, "refuses the key"), (404, "has no model"), ("insufficient_quota", "paid")],
)
async def test_an_error_inside_a_200_has_its_code(server, chat, code, ends):
    words = {404: "No endpoints found for this model."}.get(code, "no")
    server.always = body({"id": None, "choices": None, "error": {"message": words, "code": code}}, 200)
    with pytest.raises(ModelError, match=ends):
        await chat(transport_retries=3).ask(QUESTION, Colour)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "place", [{"error": {"code": 429, "message": "slow"}}, {"choices": [{"error": {"code": 502}}]}]
)
async def test_an_error_inside_a_200_is_waited_out_as_its_status_is(server, chat, place, monkeypatch):
    monkeypatch.setattr("openai._base_client.anyio.sleep", lambda seconds: _now())
    server.says(body(place, 200), body(place, 200))
    assert (await chat(transport_retries=2).ask(QUESTION, Colour)).value.colour == "red"


async def _now() -> None: ...


async def test_several_pictures_that_are_too_many_are_no_reason_to_end_a_run(server, chat):
    server.always = error("At most 1 image(s) may be provided in one request.")
    with pytest.raises(ReplyError, match="does not take 2 pictures in one question"):
        await chat().ask(Question("compare", "", "Which?", (REAL, REAL)), Colour)


@pytest.mark.parametrize(
    "refusal", [body("<h1>413 Request Entity Too Large</h1>", 413), body({"message": "Cannot POST"}, 404)]
)
async def test_pictures_shrink_until_the_server_takes_them(server, chat, refusal):
    model = chat()
    await model.check()
    server.refuses = lambda asked: refusal if len(json.dumps(asked)) > 100_000 else None
    assert (await model.ask(SEEING, Colour)).value.colour == "red"
    assert max(sent_picture(server.requests[-1]).size) < 1024


async def test_a_reply_says_in_which_size_the_picture_was_sent_also_from_the_cache(server, chat, tmp_path):
    server.refuses = lambda asked: body("too large", 413) if len(json.dumps(asked)) > 100_000 else None
    replies = [await chat(cache=tmp_path).ask(SEEING, Colour) for _ in range(2)]
    sent = sent_picture(server.requests[-1]).size
    assert replies[1].exchanges[-1].cached
    assert max(sent) < 1024
    assert all(SEEING.pictures[0].size_within(r.exchanges[-1].picture_side) == sent for r in replies)


def sent_picture(asked: dict) -> Image.Image:
    url = asked["messages"][-1]["content"][-1]["image_url"]["url"]
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


async def test_a_picture_goes_out_as_jpeg_of_the_size_and_quality_that_are_set(server, chat):
    await chat().ask(SEEING, Colour)
    await chat(picture_side=300, picture_quality=20).ask(SEEING, Colour)
    large, small = (sent_picture(asked) for asked in server.requests)
    assert (large.format, large.size, small.format, small.size) == ("JPEG", (1024, 1024), "JPEG", (300, 300))
    sizes = [len(json.dumps(asked)) for asked in server.requests]
    assert 200_000 < sizes[0] < 600_000, "the test of sight weighs what pictures weigh"
    assert sizes[1] < 20_000


async def test_a_small_picture_is_sent_without_loss(server, chat):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "PNG")
    await chat().ask(Question("colour", "", "?", (Picture(buffer.getvalue(), "a"),)), Colour)
    assert sent_picture(server.requests[0]).format == "PNG"


@pytest.mark.parametrize(
    "message",
    [
        {"content": "", "reasoning_content": 'So {"colour": "blue"}? No: {"colour": "red"}'},
        {"content": None, "reasoning": '{"colour": "red"}'},
        {"content": None, "tool_calls": [{"function": {"name": "colour", "arguments": '{"colour": "red"}'}}]},
        {"content": None, "tool_calls": [{"function": {"name": "colour", "arguments": {"colour": "red"}}}]},
        {"content": None, "function_call": {"name": "colour", "arguments": '{"colour": "red"}'}},
        {"content": [{"type": "thinking", "thinking": "{}"}, {"type": "text", "text": '{"colour": "red"}'}]},
        {"content": [{"type": "output_text", "text": '{"colour": '}, {"type": "output_text", "text": '"red"}'}]},
    ],
)
async def test_an_answer_is_found_where_the_content_is_empty_or_in_parts(server, chat, message):
    server.always = body({"choices": [{"message": message, "finish_reason": "stop"}]}, 200)
    assert (await chat(attempts=1).ask(QUESTION, Colour)).value.colour == "red"


DRAFT, FINAL = '{"colour": "blue, though I am not at all sure"}', '{"colour": "red"}'
WAYS = [
    "[THINK]{draft} Hmm.[/THINK]{final}",
    "<|channel|>analysis<|message|>{draft}<|end|><|start|>assistant<|channel|>final<|message|>{final}",
    "<|channel|>analysis<|message|>{draft}<|end|><|channel|>final <|constrain|>json<|message|>{final}<|return|>",
    "◁think▷{draft}◁/think▷{final}",
    "<thought>{draft}</thought>{final}",
    "<reasoning>{draft}</reasoning>\n{final}",
    "<seed:think>{draft}</seed:think>{final}",
    "<|begin_of_thought|>{draft}<|end_of_thought|>{final}",
    "<|START_THINKING|>{draft}<|END_THINKING|>{final}",
    "<think>a<think>{draft}</think>b</think>{final}",
    "{draft}\n\nOn a closer look:\n```json\n{final}\n```",
    "{draft} No. {final} (see [1] and {that})",
    "[{final}]",
    '{"answer": {final}}',
    "{'colour': 'red'}",
    '{"colour": "red",} // so it is',
    '/* it is */ {"colour": "red" /* I think */}',
]


@pytest.mark.parametrize("way", WAYS)
async def test_the_last_object_that_fits_is_the_answer(server, chat, way):
    server.says(way.replace("{draft}", DRAFT).replace("{final}", FINAL))
    assert (await chat(attempts=1).ask(QUESTION, Colour)).value.colour == "red"


LONG = {
    "nested": '{"a":[' * 900 + "1," * 60_000,
    "keys": '{"\\"' * 50_000,
    "opened": "{" * 200_000,
    "strings": '["' * 90_000,
    "thoughts": "<think>" * 30_000,
    "comments": "/*" * 90_000,
    "escapes": '"' + '\\"' * 90_000,
    "empty": "{}" * 90_000,
    "lists": "[1]," * 50_000,
    "channels": "<|channel|>final" * 10_000,
    "python": "{'a': " * 30_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_every_reply_is_read_in_bounded_time(text):
    began = time.process_time()
    without_thoughts(text)
    with contextlib.suppress(ValueError):
        read_last(text, lambda value: Colour.model_validate(value))
    assert time.process_time() - began < 5


async def test_headers_query_and_body_are_added_and_never_shown(server, chat):
    secret = "an-azure-key-0123456789"
    settings = {"headers": {"api-key": SecretStr(secret)}, "query": {"api-version": SecretStr("2024-10-21")}}
    model = chat(api_key=None, body={"reasoning_effort": "low", "temperature": None}, **settings)
    server.says(Said(f'{{"colour": "{secret}"}}'))
    reply = await model.ask(QUESTION, Colour)
    assert server.paths == ["/v1/chat/completions?api-version=2024-10-21"]
    assert server.headers[0]["api-key"] == secret
    assert "authorization" not in server.headers[0]
    assert server.requests[0]["reasoning_effort"] == "low"
    assert "temperature" not in server.requests[0]
    assert secret not in f"{model.settings!r}{model.settings.model_dump_json()}{reply}"


async def test_a_question_that_the_server_cut_is_reported_and_asked_again(server, chat, tmp_path, caplog):
    long = Question("colour", "", "Which colour is it? " * 500)
    server.says(Said(usage=(600, 10)), Said(usage=(2500, 10)))
    cut = await chat(cache=tmp_path).ask(long, Colour)
    whole = await chat(cache=tmp_path).ask(long, Colour)
    again = await chat(cache=tmp_path).ask(long, Colour)
    assert [reply.exchanges[0].cached for reply in (cut, whole, again)] == [False, False, True]
    assert "read 600 tokens of 10000 characters" in cut.exchanges[0].note
    assert whole.exchanges[0].note == ""
    assert "it cut the question" in caplog.text


async def test_a_url_without_its_path_is_told_to_add_it(server, chat):
    server.always = body("<html>Welcome</html>", 200)
    with pytest.raises(ModelError, match="ends in /v1"):
        await chat(base_url=server.url.removesuffix("/v1")).check()


@pytest.mark.parametrize("url", ["{}/v2", "{}/v1/"])
async def test_the_cache_minds_the_path_of_the_server(server, chat, tmp_path, url):
    base = server.url.removesuffix("/v1")
    await chat(cache=tmp_path).ask(QUESTION, Colour)
    again = await chat(cache=tmp_path, base_url=url.format(base)).ask(QUESTION, Colour)
    assert not again.exchanges[0].cached


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({"HTTP_PROXY": "http://p:1"}, "http://far.example/v1", "http://p:1"),
        ({"HTTPS_PROXY": "p:1"}, "https://far.example/v1", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "http://far.example/v1", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://far.example/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "far.example"}, "http://far.example/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "fd00:1::/64,10.0.0.0/8"}, "http://10.1.2.3:8000/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "fd00:1::/64,[::1]"}, "http://[fd00:1::5]:8000/v1", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "fd00:1::/64"}, "http://far.example/v1", "http://p:1"),
        ({}, "http://far.example/v1", None),
    ],
)
def test_the_proxy_is_that_of_the_environment(monkeypatch, environment, url, proxy):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == proxy


@pytest.mark.parametrize("proxy", ["socks://127.0.0.1:7890", "socks5://127.0.0.1:7890", "nonsense://x"])
async def test_a_proxy_that_cannot_be_used_is_named(chat, monkeypatch, proxy):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ModelError, match=rf"the proxy {proxy} .* cannot be used.*NO_PROXY"):
        await chat(base_url="http://far.example/v1").check()


async def test_a_proxy_is_used_and_named_where_it_is_dead(server, chat, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    await chat(base_url="http://far.example/v1").check()
    assert server.paths == ["http://far.example/v1/chat/completions"]
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    with pytest.raises(ModelError, match=r"through the proxy http://127\.0\.0\.1:9 .*NO_PROXY"):
        await chat(base_url="http://far.example/v1").check()


async def test_a_wrong_scheme_is_named(server, chat):
    with pytest.raises(ModelError, match="does not speak https"):
        await chat(base_url=server.url.replace("http:", "https:")).check()
    server.always = body("The plain HTTP request was sent to HTTPS port", 400)
    with pytest.raises(ModelError, match="https://"):
        await chat().check()


@pytest.fixture
def certificate(tmp_path):
    """Of 127.0.0.1, signed by itself, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not there")
    file = tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key.pem", "-out", file]
    subprocess.run(
        [*made, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True
    )
    file.write_text(file.read_text() + (tmp_path / "key.pem").read_text())
    return file


async def test_a_server_of_https_is_told_from_one_of_http_and_has_its_certificate_checked(
    server, chat, certificate, monkeypatch
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.encrypts(context)
    with pytest.raises(ReplyError, match="does the server want https"):
        await chat().check()
    secure = server.url.replace("http:", "https:")
    with pytest.raises(ModelError, match=r"certificate of .* cannot be verified.*SSL_CERT_FILE"):
        await chat(base_url=secure).check()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    await chat(base_url=secure).check()


async def test_a_key_that_cannot_be_sent_is_named(server, chat):
    for key in ("sk-ключ", "sk-line\nbreak"):
        with pytest.raises(ModelError, match="characters that HTTP does not allow"):
            await chat(api_key=SecretStr(key)).check()
