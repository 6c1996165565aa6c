"""Whatever a server replies, a question ends with an answer or a typed error, in bounded memory."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest

from detailscribe.tools.errors import ModelError, ReplyError
from detailscribe.tools.language.failures import CHAT
from detailscribe.tools.language.question import Question

from .scripted import Colour, Said, Server

QUESTION = Question("colour", "", "Which colour?")
YES = [{"token": "yes", "logprob": -0.1, "top_logprobs": [{"token": "yes", "logprob": -0.1}]}]
BOMB = b'{"choices": "' + bytes(4 * CHAT.most_bytes)
"""What a server may unpack from a reply of a few kilobytes."""


def bare_deflate(data: bytes) -> bytes:
    packing = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packing.compress(data) + packing.flush()


PACKED = {
    "plain": ("", bytes),
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare_deflate),
}


async def ended(model: Any, *, likely: bool = False) -> str:
    """How the question ends, in words; any error that is not a typed one of one line fails the test."""
    try:
        return str(await model.likelihood(QUESTION)) if likely else (await model.ask(QUESTION, Colour)).value.colour
    except (ReplyError, ModelError) as error:
        words = str(error)
    assert "\n" not in words
    assert len(words) < 1200
    return words


@pytest.mark.parametrize("packing", PACKED)
async def test_a_packed_reply_is_read_and_a_bomb_is_not(server, chat, packing):
    name, pack = PACKED[packing]
    headers = {"content-encoding": name} if name else {}
    server.says(Said(body=pack(Said().encoded()), headers=headers), Said(body=pack(BOMB), headers=headers))
    assert await ended(chat()) == "red"
    tracemalloc.start()
    assert "larger than 16 MiB" in await ended(chat(transport_retries=2))
    assert tracemalloc.get_traced_memory()[1] < 5 * CHAT.most_bytes
    tracemalloc.stop()
    assert len(server.requests) == 2, "it is not asked again"


@pytest.mark.parametrize("packing", ["br", "zstd", "gzip, gzip", "compress", "none at all"])
async def test_what_was_not_asked_for_is_not_unpacked(server, chat, packing):
    server.says(Said(body=gzip.compress(gzip.compress(b"{}")), headers={"content-encoding": packing}))
    assert "not asked for" in await ended(chat())
    assert server.headers[0]["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
async def test_a_damaged_packing_is_no_answer(server, chat, packing):
    server.says(Said(headers={"content-encoding": packing}))
    assert "no usable answer" in await ended(chat())


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("charset", ["zlib_codec", "hex", "rot13", "idna", "punycode", "utf-7", "unicode_escape", "x"])
async def test_a_reply_is_read_as_utf8_whatever_charset_it_names(server, chat, charset, status):
    server.says(Said(status=status, headers={"content-type": f"application/json; charset={charset}"}))
    end = await ended(chat())
    assert end == "red" if status == 200 else "red" in end


def changed(**fields: str) -> bytes:
    """A usable completion with fields, at any depth, replaced by raw JSON."""
    text = Said().encoded().decode()
    body = json.loads(text)
    places = {"content": body["choices"][0]["message"], "usage": body, "logprobs": body["choices"][0]}
    for name, raw in fields.items():
        places.get(name, body)[name] = f"RAW {name}"
        text = json.dumps(body).replace(f'"RAW {name}"', raw)
        body = json.loads(json.dumps(body))
    return text.encode()


@pytest.mark.parametrize("levels", [60, 300, 980, 100_000])
@pytest.mark.parametrize("place", ["whole", "content", "usage", "logprobs", "extra", "error", "choices", "id"])
async def test_deep_json_is_no_answer(server, chat, place, levels):
    raw = "[" * levels + "]" * levels
    server.always = Said(body=raw.encode() if place == "whole" else changed(**{place: raw}))
    end = await ended(chat(attempts=1))
    assert levels == 60 or end != "red"


@pytest.mark.parametrize("levels", [60, 300, 980, 100_000])
@pytest.mark.parametrize("marks", ["[]", "{}", "()"])
async def test_a_deep_answer_is_told_to_the_model(server, chat, marks, levels):
    inner = {"[]": "[" * levels + "]" * levels, "{}": '{"a":' * levels + "1" + "}" * levels}
    server.says(inner.get(marks, f"{{'a': {'(' * levels}{')' * levels}}}"))
    assert await ended(chat()) == "red"
    assert levels != 300 or marks == "()" or "more than 64 levels" in str(server.requests[1])


NUMBERS = ["1" + "0" * 400, "1" + "0" * 5000, "1e999", "-1e999", "NaN", "-5", '"7"', "[7]", "null", "true"]


@pytest.mark.parametrize("number", NUMBERS)
async def test_odd_numbers_are_no_trouble(server, chat, number):
    usage = f'{{"prompt_tokens": {number}, "completion_tokens": {number}, "total_tokens": {number}}}'
    logprobs = json.dumps({"content": YES}).replace("-0.1", number)
    server.says(Said(body=changed(usage=usage)), Said(body=changed(logprobs=logprobs)))
    model = chat(input_price=2.0, output_price=3.0, attempts=1)
    await ended(model)
    await ended(model, likely=True)


async def test_no_call_is_sent_on_to_another_server(server, chat):
    with Server() as other:
        there = Said(status=307, headers={"location": f"{other.url}/chat/completions"})
        server.says(there, Said(), there)
        model = chat()
        assert "sends the call on to another server" in await ended(model)
        assert await ended(model) == "red"
        assert "gave no usable answer" in await ended(model), "a server that has answered is not misconfigured"
        assert not other.requests


async def test_a_server_may_send_a_call_on_to_itself(server, chat):
    here = Said(status=308, headers={"location": "/v1/chat/completions?again"})
    server.says(here, Said())
    assert await ended(chat()) == "red"
    assert len(server.requests) == 2
    server.always = here
    await asyncio.wait_for(ended(chat()), 5)


@pytest.mark.parametrize(
    "said",
    [
        Said("a" * 2**20),
        Said(refusal="no\n" * 2**18),
        Said(json.dumps({"b" * 2**18: 1})),
        Said(finish="length", text="b" * 2**20),
    ],
)
async def test_a_long_reply_is_kept_in_part(server, chat, said):
    server.always = said
    with pytest.raises(ReplyError) as caught:
        await chat(attempts=2).ask(QUESTION, Colour)
    assert all(len(exchange.reply) <= 200_000 for exchange in caught.value.exchanges)
    assert len(caught.value.raw) <= 200_000
    assert len(str(caught.value)) < 1200
    assert "\n" not in str(caught.value)
