"""The server itself, met with OpenAI's own client: it keeps to the protocol, and fails as it is told."""

import base64
import json
import math

import openai
import pytest
from openai import OpenAI

from detailscribe.tools.language import demo_server
from detailscribe.tools.language.demo_server import opened
from detailscribe.tools.world.critic import EmbeddedCritic
from detailscribe.tools.world.decomposer import EmbeddedDecomposer

from .faults import FAULTS, fault_sequence
from .pictures import PROMPT, picture
from .protocol import MODEL
from .server import NamingMind

RIGHT, WRONG = picture(), picture(without="cat")
CAT = "Is there any cat in the picture?"


@pytest.fixture
def client(server):
    with OpenAI(base_url=server.url, api_key="any", max_retries=0, timeout=30) as client:
        yield client


def asked(client, text="", *pictures, schema=None, **more):
    """One request about the prompt, with pictures as data URLs."""
    images = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png).decode()}"}}
        for png in pictures
    ]
    content = [{"type": "text", "text": f"<prompt>\n{PROMPT}\n</prompt>\n{text}"}, *images]
    if schema:
        more["response_format"] = {"type": "json_schema", "json_schema": {"name": schema, "schema": {}}}
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}], **more)


def content(reply):
    return json.loads(reply.choices[0].message.content)


async def test_it_lists_its_model_and_reads_prompts_as_the_embedded_decomposer_does(client):
    assert [model.id for model in client.models.list()] == [MODEL]
    graph = await EmbeddedDecomposer().decompose(PROMPT)
    said = content(asked(client, schema="concept_graph"))
    assert said["entities"] == [entity.model_dump(mode="json") for entity in graph.entities]
    assert said["interactions"] == [interaction.model_dump(mode="json") for interaction in graph.interactions]


async def test_it_sees_what_the_embedded_critic_sees(client):
    graph = await EmbeddedDecomposer().decompose(PROMPT)
    checks = "\n".join(f"{check.id}: {check.question}" for check in graph.checks)
    truth = EmbeddedCritic.load().examine(opened(WRONG), "a picture", graph)
    answers = content(asked(client, f"<checks>\n{checks}\n</checks>", WRONG, schema="critique"))["answers"]
    assert [answer["check"] for answer in answers] == [check.id for check in graph.checks]
    for answer, verdict in zip(answers, truth.verdicts, strict=True):
        if verdict.settled_by is None:
            assert answer["answer"] == {"pass": "yes", "fail": "no", "unknown": "unclear"}[verdict.answer]
            assert answer["evidence"].startswith(verdict.evidence)
    failed = "\n".join(f"{a['check']}: - {a['evidence']}" for a in answers if a["answer"] == "no")
    refined = content(asked(client, f"<failures>\n{failed}\n</failures>", schema="refined_prompt"))
    assert refined["prompt"] == truth.refined_prompt


def test_it_forgets_pictures_that_were_shown_long_ago(client, server, monkeypatch):
    monkeypatch.setattr(demo_server, "_REMEMBERED", 2)
    monkeypatch.setattr(server, "mind", NamingMind())
    critiques = [
        asked(client, "<checks>\nodd: Is it odd?\n</checks>", picture(seed=n), schema="critique") for n in range(3)
    ]
    seen = [content(reply)["answers"][0]["evidence"] for reply in critiques]
    first, *others = (f"<failures>\nodd: Is it odd? - {evidence}\n</failures>" for evidence in seen)
    for failures in others:
        assert content(asked(client, failures, schema="refined_prompt"))["prompt"]
    with pytest.raises(openai.BadRequestError, match="never shown"):
        asked(client, first, schema="refined_prompt")


def test_it_compares_two_pictures_in_the_order_of_showing(client):
    assert content(asked(client, "", RIGHT, WRONG, schema="comparison"))["better"] == "first"
    assert content(asked(client, "", WRONG, RIGHT, schema="comparison"))["better"] == "second"
    assert content(asked(client, "", RIGHT, RIGHT, schema="comparison"))["better"] == "equal"


@pytest.mark.parametrize(("png", "word"), [(RIGHT, "yes"), (WRONG, "no")])
def test_it_says_how_likely_yes_is(client, png, word):
    reply = asked(client, CAT, png, logprobs=True, top_logprobs=20, max_tokens=1)
    [token] = reply.choices[0].logprobs.content
    chances = {c.token: math.exp(c.logprob) for c in token.top_logprobs}
    assert sum(p for t, p in chances.items() if t.strip().lower() == word) > 0.9
    assert sum(chances.values()) == pytest.approx(1)


def test_a_stream_says_the_same_as_a_whole_reply(client):
    whole = asked(client, schema="concept_graph")
    *parts, last = asked(client, schema="concept_graph", stream=True, stream_options={"include_usage": True})
    said = "".join(part.choices[0].delta.content or "" for part in parts)
    assert said == whole.choices[0].message.content
    assert last.usage == whole.usage
    assert len(parts) > 5


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_tokens_ends_the_reply(client, name):
    reply = asked(client, schema="concept_graph", **{name: 5})
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 5


@pytest.mark.parametrize(
    ("cannot", "error"),
    [
        ({"key": "secret"}, openai.AuthenticationError),
        ({"sees": False}, openai.BadRequestError),
        ({"schemas": False}, openai.BadRequestError),
    ],
)
def test_what_it_cannot_do_it_refuses(client, server, cannot, error):
    for name, value in cannot.items():
        setattr(server.can, name, value)
    with pytest.raises(error):
        asked(client, CAT, RIGHT, schema="critique")


@pytest.mark.parametrize("pictures", [(), (b"no picture",), (RIGHT, WRONG)])
def test_a_critique_wants_one_picture_that_can_be_opened(client, pictures):
    with pytest.raises(openai.BadRequestError):
        asked(client, f"<checks>\ncat: {CAT}\n</checks>", *pictures, schema="critique")


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model="gpt-0", messages=[{"role": "user", "content": "hello"}])


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_shows(client, server, fault):
    """Each makes another reply, or another error, than honesty does."""

    def outcome(patience):
        options = client.with_options(timeout=patience)
        try:
            parts = []
            for more in ({"schema": "critique"}, {"logprobs": True, "top_logprobs": 20}):
                reply = asked(options, f"<checks>\ncat: {CAT}\nnone: what?\n</checks>", RIGHT, **more)
                parts.append(reply if isinstance(reply, str) else reply.model_dump_json(exclude={"id"}))
            return parts
        except (openai.OpenAIError, ValueError) as error:
            return repr(error)

    honest = outcome(30)
    server.always(fault)
    broken = outcome(0.5 if fault == "slow" else 30)
    server.hurry.set()
    assert broken != honest
    assert {served.fault for served in server.served[-1:]} == {fault}


def test_a_seed_names_a_sequence_that_has_every_fault():
    def first(seed):
        return [fault for fault, _ in zip(fault_sequence(seed), range(1000), strict=False)]

    assert first(1) == first(1) != first(2)
    assert set(first(1)) == {None, *FAULTS}
    assert 250 < first(1).count(None) < 350
