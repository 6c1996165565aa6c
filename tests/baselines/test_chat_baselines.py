"""Baselines over a chat model: what they ask, what they leave out, and that it is counted."""

import asyncio
import json

import pytest

from detailscribe.agent import run
from detailscribe.agent.settings.loading import load_settings
from detailscribe.agent.settings.models import Models
from detailscribe.agent.settings.settings import Settings
from detailscribe.tools.errors import ReplyError, SettingsError
from detailscribe.tools.language.chat import ChatModel
from detailscribe.tools.language.rewriting import ChatRewriter
from detailscribe.tools.language.settings import ChatSettings
from detailscribe.tools.roles import ready

from ..agent.fakes import PROMPT, FakeDiffusion
from ..chat_server.protocol import MODEL
from ..chat_server.server import ChatServer
from ..language.scripted import Said
from ..language.scripted import Server as Scripted

DETAILED = f"{PROMPT}. The cat's paw grips the handle."


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with Scripted() as started:
        yield started


@pytest.fixture
def knowing(monkeypatch):
    """A server that knows the embedded world."""
    monkeypatch.setenv("NO_PROXY", "*")
    server = ChatServer().start()
    yield server
    server.stop()


def chat_section(server):
    return {"model": "m", "url": server.url, "cache": "off", "input_price": 1.0, "output_price": 2.0}


def models_of(preset, server):
    return Models(load_settings(Settings(), {"run": {"preset": preset}, "chat": chat_section(server)}))


def drawn(preset, server, tmp_path, policy):
    """A run over what the server says, whose pictures a fake paints."""
    made = models_of(preset, server)
    parts = {"decomposer": asyncio.run(ready(made.decomposer)), "critic": asyncio.run(ready(made.critic))}
    return run(PROMPT, policy=policy, out=tmp_path / "run", diffusion=FakeDiffusion(), **parts)


def rewriter(server, **how):
    return ChatRewriter(ChatModel(ChatSettings(model="m", base_url=server.url, transport_retries=0, attempts=1)), **how)


def test_the_rewrite_asks_once_sees_no_picture_and_is_counted(scripted, tmp_path):
    scripted.says(json.dumps({"prompt": DETAILED}))
    done = drawn("embedded+rewrite", scripted, tmp_path, "best_of_n")
    [asked] = scripted.requests
    assert "image_url" not in json.dumps(asked)
    assert {image.record.prompt for image in done.images} == {DETAILED}
    assert (done.spend.tokens, done.spend.critic_calls) == (110, 0)
    assert done.spend.money == pytest.approx((100 * 1.0 + 10 * 2.0) / 1e6)


async def test_a_rewrite_keeps_the_users_words_and_the_length(scripted):
    scripted.says(json.dumps({"prompt": "The cat's paw grips the handle. " + "It stands there. " * 40}))
    found = await rewriter(scripted, words=20).rewrite(PROMPT)
    assert found.prompt.startswith(f"{PROMPT}. The cat's paw grips the handle. It stands there.")
    assert len(found.prompt.split()) <= 20


async def test_a_reply_that_is_no_prompt_is_an_error_and_never_the_bare_prompt(scripted):
    scripted.always = Said("I would rather not.")
    with pytest.raises(ReplyError):
        await rewriter(scripted).rewrite(PROMPT)


async def test_a_prompt_that_fills_the_words_is_left_alone(scripted):
    found = await rewriter(scripted, words=6).rewrite(PROMPT)
    assert (found.prompt, scripted.requests) == (f"{PROMPT}.", [])


def test_a_template_that_cannot_be_used_is_told(scripted, tmp_path):
    (tmp_path / "rewrite.txt").write_text("says nothing of what it should")
    with pytest.raises(SettingsError, match=r"template 'rewrite' .* has other variables"):
        rewriter(scripted, templates=tmp_path)


def test_a_choice_by_a_rubric_is_paid_for_as_everything_else(scripted, tmp_path):
    scripted.always = Said(json.dumps({"reason": "", "rating": 2}))
    done = drawn("embedded+best-by-interactions", scripted, tmp_path, "best_of_n")
    assert len(scripted.requests) == 4
    assert (done.spend.images, done.spend.critic_calls, done.spend.tokens) == (4, 4, 440)
    assert done.spend.money == pytest.approx(4 * (100 * 1.0 + 10 * 2.0) / 1e6)


def answered(answer):
    return json.dumps({"answers": [{"check": "whole", "evidence": "the paw is empty", "answer": answer}]})


@pytest.mark.parametrize("baseline", ["refine", "undecomposed"])
def test_refinement_without_decomposition_asks_one_question_and_refines(scripted, tmp_path, baseline):
    scripted.says(answered("no"), json.dumps({"prompt": DETAILED}), answered("yes"))
    done = drawn(f"embedded+{baseline}", scripted, tmp_path, "single")
    assert [check.question for check in done.concepts.checks] == [
        "Does the picture show everything that the prompt asks for, just as it asks for it?"
    ]
    assert [image.record.prompt for image in done.images] == [PROMPT, DETAILED]
    assert [decision.rule for decision in done.decisions] == ["first_critique", "all_pass"]
    assert (done.spend.critic_calls, done.spend.tokens) == (2, 330)
    assert len(scripted.requests) == 3


def test_the_settings_of_a_server_are_all_that_a_rewrite_needs(knowing, tmp_path):
    done = run(
        "a cat holding a red umbrella",
        preset="embedded+rewrite",
        settings={"chat": {"model": MODEL, "url": knowing.url, "cache": "off"}},
        diffusion=FakeDiffusion(),
        out=tmp_path / "run",
    )
    assert done.best.record.prompt.startswith("a cat holding a red umbrella. Placed ")
