"""Servers that cannot do everything: the client does without, or says in one line what to change."""

import pytest
from pydantic import SecretStr

from detailscribe.tools.errors import ModelError
from detailscribe.tools.files import Store
from detailscribe.tools.vision.critic import ChatCritic
from detailscribe.tools.world.decomposer import concepts_of
from detailscribe.tools.world.grammar import parse

from ..agent.fakes import record
from .clients import chat
from .pictures import PROMPT, picture
from .protocol import MODEL, form_of

CONCEPTS = concepts_of(parse(PROMPT), PROMPT)
IMAGE = record("00-00")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.write(IMAGE.path, picture(without="umbrella"))
    return store


def looked(model, store, **options):
    return ChatCritic(model, **options).critique(IMAGE, CONCEPTS, store)


@pytest.mark.parametrize("cannot", [(), ("schemas",), ("schemas", "json_mode")])
async def test_without_schemas_it_asks_in_words_and_gets_the_same_verdicts(server, store, cannot):
    for ability in cannot:
        setattr(server.can, ability, False)
    critique = await looked(chat(server), store)
    answers = critique.answers()
    assert answers["presence:umbrella"] == answers["attribute:umbrella"] == "fail"
    assert answers["presence:cat"] == "pass"
    assert "unknown" not in answers.values()
    assert critique.refined_prompt.startswith(PROMPT)
    used = {form_of(served.request) for served in server.served if served.status == 200}
    assert used == {("json_schema", "json_object", "text")[len(cannot)]}


async def test_without_logprobs_words_decide_and_the_evidence_says_so(server, store):
    server.can.logprobs = False
    critique = await looked(chat(server), store, probabilities=True)
    assert critique.answers()["presence:cat"] == "pass"
    assert all(verdict.probability is None for verdict in critique.verdicts)
    assert "logprobs" in critique.verdicts[0].evidence


async def test_a_rate_limit_is_waited_out(server, store):
    server.fail("rate_limited_in_ms", "rate_limited_in_ms")
    critique = await looked(chat(server, transport_retries=2), store)
    assert "unknown" not in critique.answers().values()
    assert [served.status for served in server.served[:3]] == [429, 429, 200]


async def test_an_unusable_answer_is_asked_again_with_the_reason(server, store):
    server.fail("wrong_schema")
    critique = await looked(chat(server, attempts=2), store)
    assert "unknown" not in critique.answers().values()
    first, second = (served.request.text for served in server.served[:2])
    assert "colour" in second.replace(first, "")
    assert len(critique.exchanges) == len(server.served)


@pytest.mark.parametrize(
    ("cannot", "settings", "says"),
    [
        ({"sees": False}, {}, ("takes no pictures", "--chat-model")),
        ({"key": "right"}, {"api_key": "wrong"}, ("OPENAI_API_KEY", "detailscribe doctor")),
        ({"key": "right"}, {}, ("OPENAI_API_KEY", "detailscribe doctor")),
        ({}, {"model": "gpt-0"}, ("no model 'gpt-0'", "--chat-model")),
        ({}, {"base_url": "http://127.0.0.1:9/v1"}, ("cannot be reached", "--chat-url")),
    ],
)
async def test_what_the_user_must_mend_ends_at_once_in_one_line(server, store, cannot, settings, says):
    for ability, value in cannot.items():
        setattr(server.can, ability, value)
    with pytest.raises(ModelError) as error:
        await looked(chat(server, transport_retries=3, **settings), store)
    message = str(error.value)
    assert "\n" not in message
    assert all(words in message for words in says)
    assert len(server.served) <= 3


async def test_a_wrong_path_is_told_from_an_unknown_model(server, store):
    with pytest.raises(ModelError, match="ends in /v1"):
        await looked(chat(server, base_url=server.url.removesuffix("/v1")), store)


async def test_the_right_key_opens(server, store):
    server.can.key = "the-right-key"
    model = chat(server, api_key=SecretStr("the-right-key"))
    critique = await looked(model, store)
    assert "the-right-key" not in "".join(exchange.model_dump_json() for exchange in critique.exchanges).split()
    assert model.name.startswith(MODEL)
