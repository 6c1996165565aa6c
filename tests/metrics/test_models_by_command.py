"""``detailscribe evaluate`` with models of the real classes and with a chat server: from the command to the table."""

import asyncio
import json
import math

import pytest
from typer.testing import CliRunner

from detailscribe.agent import run
from detailscribe.agent.cli import app
from detailscribe.agent.evaluation.measure import read_measurements
from detailscribe.tools.files import Store
from detailscribe.tools.metrics import Sample
from detailscribe.tools.metrics.local import BlipVqa, ClipScore

from ..agent.fakes import FakeDiffusion
from ..chat_server.protocol import MODEL

PROMPT = "a cat to the left of a red umbrella"


@pytest.fixture
def evaluate(tmp_path, monkeypatch, server):
    """Evaluates a run of the bare model, which took nothing apart, and gives the measurements."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    run(PROMPT, preset="embedded+base", out="bare", diffusion=FakeDiffusion(), seed=5)

    def called(*arguments: object):
        done = CliRunner().invoke(app, ["evaluate", "bare", "--out", "all.jsonl", *map(str, arguments)])
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]

    return called


def chat(server) -> tuple[str, ...]:
    return "--chat-url", server.url, "--chat-model", MODEL


def asked(server) -> list[str | None]:
    return [served.request.schema_name for served in server.served]


def bare() -> Sample:
    from detailscribe.agent.records.reader import read_run

    recorded = read_run("bare")
    return Sample(recorded.images["00-00"], PROMPT, Store(recorded.folder))


def test_clipscore_is_that_of_its_model(evaluate, clip_folder):
    [one] = evaluate("--metrics", "clipscore", "--weights", f"clipscore={clip_folder}")
    [alone] = asyncio.run(ClipScore(str(clip_folder)).score_all([bare()]))
    assert one["value"] == pytest.approx(alone.value, abs=1e-6)


def test_a_prompt_that_no_run_took_apart_has_noun_phrases_all_the_same(evaluate, blip_folder):
    [one] = evaluate("--metrics", "blip_vqa", "--weights", f"blip_vqa={blip_folder}")
    each = BlipVqa(str(blip_folder)).probabilities(bare(), ("a cat", "a red umbrella"))
    assert one["value"] == pytest.approx(math.prod(each), abs=1e-6)
    assert one["note"].startswith("a cat ")


def test_a_chat_model_may_list_the_noun_phrases(evaluate, blip_folder, server):
    options = ("--weights", f"blip_vqa={blip_folder}", "--phrases", "chat", *chat(server))
    [one] = evaluate("--metrics", "blip_vqa", *options)
    assert one["value"] is not None
    assert asked(server) == ["noun_phrases"]
    assert evaluate("--metrics", "blip_vqa", *options) == [one]
    assert asked(server) == ["noun_phrases"]


def test_phrases_of_a_chat_model_want_one(evaluate, blip_folder):
    options = ["--metrics", "blip_vqa", "--phrases", "chat", "--weights", f"blip_vqa={blip_folder}"]
    done = CliRunner().invoke(app, ["evaluate", "bare", *options])
    assert done.exit_code == 2
    assert "--chat-model" in done.stderr


def test_rubrics_and_vqascore_are_asked_of_the_server(evaluate, server):
    found = evaluate("--metrics", "interactions,layout,vqascore", *chat(server))
    assert [one["metric"] for one in found] == ["interactions", "layout", "vqascore"]
    assert all(one["value"] in (1, 2, 3, 4, 5) for one in found[:2])
    assert 0 <= found[2]["value"] < 0.5
    assert asked(server) == ["rating", "rating", None]


def test_a_rating_that_cannot_be_read_is_counted_and_its_reason_shown(evaluate, server, tmp_path):
    server.always("not_json")
    [one] = evaluate("--metrics", "layout", *chat(server), "--markdown")
    assert one["value"] is None
    assert one["reason"]


def test_questions_of_a_benchmark_need_a_critic_that_reads_them(tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": "a fox on a red car", "questions": [{"question": "Is there a fox?"}]}))
    done = CliRunner().invoke(app, ["batch", str(prompts), "--out", str(tmp_path / "own"), "--checklist", "own"])
    assert (done.exit_code, "name a --chat-model" in done.output) == (2, True)
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("checklist", ["own", "decomposed"])
def test_only_own_lets_the_loop_see_what_the_benchmark_asks(tmp_path, monkeypatch, server, checklist):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    question = "Does the fox look at a balloon?"
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": "a fox on a red car", "questions": [{"question": question}]}))
    words = ["batch", str(prompts), "--out", str(tmp_path / "own"), "--checklist", checklist, *chat(server)]
    done = CliRunner().invoke(app, [*words, "--steps", "2"])
    assert done.exit_code == 0, done.output
    assert any(question in served.request.text for served in server.served) == (checklist == "own")
    about = ["evaluate", str(tmp_path / "own"), "--metrics", "checklist", *chat(server)]
    done = CliRunner().invoke(app, [*about, "--json"])
    assert done.exit_code == 0, done.output
    assert list(json.loads(done.stdout)["checklists"].values()) == [checklist]
    for suffix in ("csv", "jsonl", "parquet"):
        file = tmp_path / f"scores.{suffix}"
        done = CliRunner().invoke(app, [*about, "--out", str(file)])
        assert f"own: {checklist}" in done.output
        assert [one.checklist for one in read_measurements(file)] == [checklist]
