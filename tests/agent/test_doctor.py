"""What doctor finds, and what a run looks at before it spends anything."""

import json
import os
import re
import sys

import httpx
import pytest
from typer.testing import CliRunner

from detailscribe.agent.cli import app
from detailscribe.tools.diffusion import memory
from detailscribe.tools.diffusion.memory import Memory
from detailscribe.tools.language import demo_server, local

from ..chat_server.protocol import MODEL

KEY = "sk-test-9a0c-secret"
PROMPT = "a cat holding a red umbrella"
LARGE = "stabilityai/stable-diffusion-3.5-large"


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Invokes the command in an empty folder, with a clean environment."""
    for name in [name for name in os.environ if name.startswith(("DETAILSCRIBE_", "OPENAI_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DETAILSCRIBE_CHAT__CACHE", "off")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def at(server, monkeypatch):
    """Options that name the server, with its key in the environment."""
    server.can.key = KEY
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return "--chat-url", server.url, "--chat-model", MODEL


def told(done) -> dict[str, tuple[str, str]]:
    """Status and text by topic."""
    return {f["topic"]: (f["status"], f["text"]) for f in json.loads(done.stdout)["findings"]}


def hub_that_answers(monkeypatch, answer):
    def head(url, **_):
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer[0], headers={"X-Error-Code": answer[1]}, request=httpx.Request("HEAD", url))

    monkeypatch.setattr(httpx, "head", head)


def test_choosing_nothing_is_well_and_offline(cli, monkeypatch):
    hub_that_answers(monkeypatch, AssertionError("nobody may ask the hub"))
    done = cli("doctor", "--json")
    assert done.exit_code == 0, done.output
    findings = told(done)
    assert {status for status, _ in findings.values()} == {"ok"}
    assert findings["chat"][1] == "none: the embedded decomposer and critic, offline"
    assert re.fullmatch(r"needs about [\d.]+ GB of RAM; [\d.]+ GB of RAM are free", findings["memory"][1])


def test_each_setting_is_told_with_its_source_and_secrets_as_set(cli, at, monkeypatch):
    monkeypatch.setenv("DETAILSCRIBE_CHAT__HEADERS", json.dumps({"api-key": KEY}))
    done = cli("doctor", "--json", *at)
    settings = {s["name"]: (s["value"], s["source"]) for s in json.loads(done.stdout)["settings"]}
    assert settings["chat.key"] == ("set", "environment OPENAI_API_KEY")
    assert settings["chat.headers"] == ("api-key=set", "environment DETAILSCRIBE_CHAT__HEADERS")
    assert settings["chat.model"] == (MODEL, "argument")
    assert settings["chat.cache"] == (None, "environment DETAILSCRIBE_CHAT__CACHE")
    assert settings["run.seed"] == ("0", "default")
    assert settings["vision.key"] == (None, "default")
    assert KEY not in done.output


def test_a_terminal_shows_what_was_chosen_and_counts_the_rest(cli, at):
    done = cli("doctor", *at)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "ready to run"
    assert re.search(r"chat\.key +set +environment OPENAI_API_KEY", done.stdout)
    assert "vision.votes" not in done.stdout
    assert re.search(r"\d+ settings are at their defaults; --all shows them", done.stdout)
    assert re.search(r"vision\.votes +1 +default", cli("doctor", "--all", *at).stdout)
    assert KEY not in done.output


def test_a_server_that_answers_and_sees_is_well(cli, at, server):
    findings = told(cli("doctor", "--json", *at))
    assert findings["chat"][0] == "ok"
    assert re.fullmatch(rf"{MODEL}@127.0.0.1:\d+ answers in [\d.e-]+ s", findings["chat"][1])
    assert findings["vision"] == ("ok", f"{MODEL}@{server.url.split('/')[2]} sees pictures")


def test_a_model_that_reads_something_else_may_be_blind(cli, at, monkeypatch):
    monkeypatch.setattr(demo_server, "NUMBER", "42")
    done = cli("doctor", "--json", *at)
    assert done.exit_code == 0
    assert told(done)["vision"][0] == "warning"
    assert "read 7315 as '42'" in told(done)["vision"][1]


def test_a_model_without_sight_is_a_problem(cli, at, server):
    server.can.sees = False
    done = cli("doctor", "--json", *at)
    assert done.exit_code == 2
    assert told(done)["chat"][0] == "ok"
    assert told(done)["vision"][0] == "problem"
    assert json.loads(done.stdout)["status"] == "problem"


def test_a_key_on_its_way_over_open_wire_is_a_warning(cli, monkeypatch):
    monkeypatch.setenv("DETAILSCRIBE_CHAT__KEY", KEY)
    monkeypatch.setenv("DETAILSCRIBE_CHAT__TIMEOUT", "0.2")
    done = cli("doctor", "--json", "--chat-url", "http://models.invalid/v1", "--chat-model", "m")
    findings = json.loads(done.stdout)["findings"]
    assert "the key goes to models.invalid unencrypted: use https" in [f["text"] for f in findings]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ((401, "GatedRepo"), "is gated: accept its licence at https://huggingface.co/stabilityai"),
        ((403, ""), "is gated"),
        ((401, "RepoNotFound"), "the hub has no model"),
        ((404, ""), "the hub has no model"),
        ((404, "EntryNotFound"), "no diffusers model"),
        ((503, ""), "try again later"),
        (httpx.ConnectError("no route"), r"the hub cannot be reached \(no route\): .* --diffusion FOLDER"),
    ],
)
def test_what_the_hub_does_not_give_is_told_with_the_way_out(cli, monkeypatch, answer, complaint):
    hub_that_answers(monkeypatch, answer)
    done = cli("doctor", "--json", "--diffusion", LARGE)
    assert done.exit_code == 2
    status, text = told(done)["diffusion"]
    assert status == "problem"
    assert re.search(complaint, text)


@pytest.mark.parametrize(
    ("chosen", "status", "text"),
    [
        (("--diffusion", LARGE), "ok", f"{LARGE}, not downloaded: the first run fetches 27.6 GB"),
        (("--preset", "qwen-image-24gb"), "ok", "Qwen/Qwen-Image, not downloaded: the first run fetches 57.7 GB"),
        (
            ("--preset", "z-image-turbo", "--set", "diffusion.t5=drop"),
            "problem",
            "diffusion.t5 has no effect on a model of another family than SD3: leave it out, or choose another preset",
        ),
    ],
)
def test_of_a_known_model_the_download_is_known_and_what_has_no_effect_on_it(cli, monkeypatch, chosen, status, text):
    hub_that_answers(monkeypatch, (302, ""))
    assert told(cli("doctor", "--json", *chosen))["diffusion"] == (status, text)


def test_too_little_memory_is_told_with_what_is_needed(cli, monkeypatch):
    hub_that_answers(monkeypatch, (302, ""))
    monkeypatch.setattr(memory, "free_memory", lambda device=None: Memory(None, int(8e9)))
    status, text = told(cli("doctor", "--json", "--diffusion", LARGE))["memory"]
    assert status == "problem"
    assert re.search(r"needs about [\d.]+ GB of memory and 8.0 GB are free", text)


@pytest.mark.parametrize(
    ("free", "advice"),
    [(24e9, "; or use --preset sd35-large-24gb"), (12e9, "; or use --preset sd35-large-12gb"), (2e9, "")],
)
def test_too_little_memory_names_the_settings_and_the_preset_that_would_do(cli, monkeypatch, free, advice):
    hub_that_answers(monkeypatch, (302, ""))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(memory, "free_memory", lambda device=None: Memory(int(free), int(64e9)))
    status, text = told(cli("doctor", "--json", "--preset", "sd35-large"))["memory"]
    assert status == "problem"
    assert text.endswith(advice or "use a smaller model or another machine")
    assert ('set diffusion.precision = "' in text) == bool(advice)


@pytest.mark.parametrize(
    ("free", "loaded", "status", "says"),
    [
        (48e9, False, "ok", "29.5 GB and 64.0 GB of RAM are free beside a chat model of 18.5 GB"),
        (40e9, False, "problem", "21.5 GB are free beside a chat model of 18.5 GB; set diffusion"),
        (30e9, True, "ok", "30.0 GB and 64.0 GB of RAM are free"),
    ],
)
def test_a_chat_model_in_this_process_shares_the_card_until_it_is_loaded(cli, monkeypatch, free, loaded, status, says):
    hub_that_answers(monkeypatch, (302, ""))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(memory, "free_memory", lambda device=None: Memory(int(free), int(64e9)))
    monkeypatch.setattr(local, "look_at", lambda name: (True, True, int(17.5e9)))
    monkeypatch.setattr(local, "any_loaded", lambda: loaded)
    found = told(cli("doctor", "--json", "--preset", "z-image-turbo", "--chat-url", "local"))
    assert (found["memory"][0], says in found["memory"][1]) == (status, True), found["memory"]
    assert "18.5 GB beside" in found["chat"][1]


@pytest.mark.parametrize("policy", ["adaptive", "best_of_n"])
def test_what_draws_and_does_not_refine_wants_a_policy_that_does_not(cli, tmp_path, policy):
    (tmp_path / "model").mkdir()
    index = {"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "PNDMScheduler"]}
    (tmp_path / "model" / "model_index.json").write_text(json.dumps(index))
    arguments = ("--preset", "diffusers", "--diffusion", "model", "--set", f"run.policy={policy}")
    status, text = told(cli("doctor", "--json", *arguments))["diffusion"]
    assert status == ("ok" if policy == "best_of_n" else "problem")
    assert ("use --policy best_of_n" in text) == (policy == "adaptive")


def test_a_family_that_cannot_be_refined_is_told_from_its_index(cli, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text('{"_class_name": "FluxImg2ImgPipeline"}')
    status, text = told(cli("doctor", "--json", "--preset", "diffusers", "--diffusion", "model"))["diffusion"]
    assert status == "problem"
    assert "name a text-to-image pipeline" in text


@pytest.mark.parametrize(
    ("chosen", "complaint"),
    [
        ({"diffusion.t5": "drop"}, "diffusion.t5 has no effect on a FluxPipeline"),
        ({"diffusion.t5": "drop", "diffusion.swap_pooled": False}, "diffusion.swap_pooled have no effect"),
        (
            {"diffusion.kind": "endpoint", "diffusion.precision": "bf16"},
            "precision has no effect on an images endpoint",
        ),
    ],
)
def test_a_setting_without_effect_is_refused(cli, tmp_path, chosen, complaint):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    lines = [f"{name} = {json.dumps(value)}" for name, value in chosen.items()]
    (tmp_path / "own.toml").write_text("\n".join(['diffusion.model = "model"', 'run.policy = "best_of_n"', *lines]))
    status, text = told(cli("doctor", "--json", "--settings", "own.toml"))["diffusion"]
    assert (status, complaint in text) == ("problem", True), text


def test_what_an_absent_gpu_would_have_to_hold_is_told_all_the_same(cli, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    hub_that_answers(monkeypatch, (302, ""))
    findings = told(cli("doctor", "--json", "--preset", "paper"))
    assert findings["device"][0] == "problem"
    assert "needs an NVIDIA GPU" in findings["device"][1]
    assert re.fullmatch(r"needs about [\d.]+ GB of GPU memory and [\d.]+ GB of RAM; not here", findings["memory"][1])


def test_an_index_that_cannot_be_read_is_no_model(cli, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("[]")
    status, text = told(cli("doctor", "--json", "--preset", "diffusers", "--diffusion", "model"))["diffusion"]
    assert status == "problem"
    assert "no model_index.json that can be read" in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--preset", "sd35-large"], "there is no key for gpt-4o at api.openai.com: set OPENAI_API_KEY"),
        (["--chat-url", "http://127.0.0.1:1/v1", "--chat-model", "m"], "127.0.0.1:1 cannot be reached"),
        (["--chat-url", "127.0.0.1:1", "--chat-model", "m"], "chat.url: "),
        (["--chat-url", "http://127.0.0.1:1/v1"], "give --chat-model NAME"),
        (["--diffusion", "nowhere/at/all"], "there is no diffusers model in nowhere/at/all"),
        (["--preset", "paper", "--chat-url", "http://127.0.0.1:1/v1"], "GPU"),
        (["--preset", "sd35-medium", "--chat-url", "http://127.0.0.1:1/v1"], "of memory and 1.0 GB are free"),
        (["--preset", "images-endpoint", "--chat-url", "http://127.0.0.1:1/v1", "--policy", "single"], "best_of_n"),
    ],
    ids=["key", "unreachable", "url", "model", "folder", "gpu", "memory", "policy"],
)
def test_a_run_ends_at_once_in_one_line_and_leaves_nothing(cli, tmp_path, monkeypatch, arguments, complaint):
    hub_that_answers(monkeypatch, (302, ""))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(memory, "free_memory", lambda device=None: Memory(None, int(1e9)))
    assert_refused(cli("run", PROMPT, *arguments), complaint, tmp_path)


@pytest.mark.parametrize(
    ("ability", "value", "complaint"),
    [("sees", False, "pictures"), ("key", "another", "set OPENAI_API_KEY")],
)
def test_a_server_that_will_not_do_is_told_before_a_picture_is_drawn(
    cli, tmp_path, at, server, ability, value, complaint
):
    setattr(server.can, ability, value)
    assert_refused(cli("run", PROMPT, *at), complaint, tmp_path)
    assert len(server.served) == 1


def assert_refused(done, complaint, folder):
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(folder.iterdir()) == []


def test_presets_are_listed_with_the_memory_they_need(cli):
    done = cli("presets")
    assert done.exit_code == 0, done.output
    assert re.search(r"sd35-large +31 GB +28 GB ", done.stdout)
    assert re.search(r"embedded +- +- ", done.stdout)


@pytest.mark.parametrize(("free", "status"), [(70e9, "ok"), (40e9, "problem")])
def test_a_model_that_edits_here_shares_the_card(cli, monkeypatch, free, status):
    hub_that_answers(monkeypatch, (302, ""))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(memory, "free_memory", lambda device=None: Memory(int(free), int(64e9)))
    monkeypatch.setenv("DETAILSCRIBE_EDIT__KIND", "pipeline")
    monkeypatch.setenv("DETAILSCRIBE_EDIT__MODEL", LARGE)
    found = told(cli("doctor", "--json", "--preset", "z-image-turbo"))["memory"]
    assert (found[0], " beside a model that edits of 30.8 GB" in found[1]) == (status, True), found
