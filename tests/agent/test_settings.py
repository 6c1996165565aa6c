"""Settings: which source goes before which, what is told of each value, and what is refused."""

import json
import os
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from detailscribe.agent import run
from detailscribe.agent.settings.loading import known_names, load, load_settings, with_secrets
from detailscribe.agent.settings.presets import PRESETS
from detailscribe.agent.settings.settings import RunSettings, Settings
from detailscribe.state import Budget
from detailscribe.tools.errors import SettingsError

from .fakes import PROMPT, roles

SECRET = "sk-4f1c7b-very-secret"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder, and nothing of ours in the environment."""
    for name in [name for name in os.environ if name.startswith(("DETAILSCRIBE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(**run):
    return {"run": run}


def write(folder, text, name="detailscribe.toml"):
    (folder / name).write_text(text)
    return folder / name


def test_arguments_go_before_the_environment_that_before_the_file_and_that_before_the_preset(here, monkeypatch):
    write(here, "[run]\nseed = 1\nsteps = 11\nguidance = 1.5\n")
    monkeypatch.setenv("DETAILSCRIBE_RUN__SEED", "2")
    monkeypatch.setenv("DETAILSCRIBE_RUN__STEPS", "12")
    loaded = load(table(seed=3, preset="sd35-large"))
    run = loaded.settings.run
    assert (run.seed, run.steps, run.guidance, run.policy) == (3, 12, 1.5, "adaptive")
    assert loaded.settings.diffusion.model == "stabilityai/stable-diffusion-3.5-large"
    assert [loaded.source(f"run.{name}") for name in ("seed", "steps", "guidance", "policy")] == [
        "argument",
        "environment DETAILSCRIBE_RUN__STEPS",
        "file detailscribe.toml",
        "default",
    ]
    assert loaded.source("diffusion.model") == "preset sd35-large"


def test_a_file_that_is_named_is_read_in_place_of_the_one_that_lies_here(here):
    write(here, "run.seed = 1")
    assert load_settings().run.seed == 1
    assert load_settings(file=write(here, "run.steps = 9", "other.toml")).run.seed == 0


def test_a_preset_may_come_from_any_source(here, monkeypatch):
    write(here, 'run.preset = "sd35-large-turbo"')
    assert load_settings().diffusion.model == "stabilityai/stable-diffusion-3.5-large-turbo"
    monkeypatch.setenv("DETAILSCRIBE_RUN__PRESET", "paper")
    assert load_settings().run.policy == "paper"
    assert load_settings(table(preset="embedded")).is_embedded


def test_another_policy_takes_none_of_the_parameters_of_the_one_below(here):
    write(here, '[run]\npolicy = "best_of_n"\npolicy_args.n = 5\n')
    assert load_settings().run.policy_args == {"n": 5}
    assert load_settings(table(policy_args={"n": 2})).run.policy_args == {"n": 2}
    assert load_settings(table(policy="best_of_n")).run.policy_args == {"n": 5}
    assert load_settings(table(policy="single")).run.policy_args == {}


@pytest.mark.parametrize("given", [table(policy_args={"n": 2}), {}], ids=["argument", "environment"])
def test_parameters_are_kept_for_a_policy_that_is_named_elsewhere(monkeypatch, given):
    if not given:
        monkeypatch.setenv("DETAILSCRIBE_RUN__POLICY_ARGS", '{"n": 2}')
    loaded = load(given, table(policy="best_of_n"))
    assert loaded.settings.run.policy_args == {"n": 2}
    assert loaded.source("run.policy_args") != "default"


def test_parameters_that_are_dropped_have_no_source(here):
    write(here, '[run]\npolicy = "best_of_n"\npolicy_args.n = 5\n')
    assert load(table(policy="single")).source("run.policy_args") == "default"


def test_a_run_from_python_takes_plain_values():
    given = {"run": {"policy_args": {"n": 2}, "budget": {"images": 4}}}
    done = run(PROMPT, policy="best_of_n", settings=given, **roles({}))
    assert len(done.images) == 2


def test_tables_are_put_together_bound_by_bound(here):
    write(here, "[run.budget]\nimages = 4\nrounds = 2\n")
    assert load_settings(table(budget={"rounds": 1})).run.budget == Budget(rounds=1, images=4)


def test_an_object_is_the_callers_last_word(here, monkeypatch):
    write(here, "run.seed = 1")
    monkeypatch.setenv("DETAILSCRIBE_RUN__STEPS", "12")
    settings = load_settings(Settings(run=RunSettings(preset="embedded", seed=9)))
    assert (settings.run.seed, settings.run.steps) == (9, PRESETS["embedded"].settings["run"]["steps"])


def test_what_was_loaded_can_be_loaded_again_with_another_preset(monkeypatch):
    monkeypatch.setenv("DETAILSCRIBE_RUN__SEED", "5")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    large = load(table(preset="sd35-large"))
    turbo = load(large, table(preset="sd35-large-turbo"))
    assert (turbo.settings.run.seed, turbo.settings.run.steps) == (5, None)
    assert turbo.settings.diffusion.model != large.settings.diffusion.model
    assert turbo.settings.chat.key == SecretStr(SECRET)
    assert turbo.source("run.seed") == "environment DETAILSCRIBE_RUN__SEED"


def test_a_key_lying_about_chooses_no_chat_model(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    loaded = load()
    assert loaded.settings.is_embedded
    assert (loaded.settings.chat.key, loaded.settings.chat.url) == (None, None)


def test_other_programs_names_of_key_and_url_are_understood_below_our_own(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://theirs/v1")
    monkeypatch.setenv("DETAILSCRIBE_CHAT__URL", "http://ours/v1")
    loaded = load({"chat": {"model": "m"}})
    chat = loaded.settings.chat_settings()
    assert (chat.base_url, chat.api_key) == ("http://ours/v1", SecretStr(SECRET))
    assert loaded.source("chat.key") == "environment OPENAI_API_KEY"
    assert loaded.source("chat.url") == "environment DETAILSCRIBE_CHAT__URL"


@pytest.mark.parametrize("section", ["vision", "images"])
def test_a_key_is_never_sent_to_another_server(section):
    chat = {"model": "m", "url": "http://one/v1", "key": SECRET}

    def key_at(url):
        settings = load_settings({"chat": chat, "diffusion": {"model": "i"}, section: {"url": url} if url else {}})
        return getattr(settings, f"{section}_settings")().api_key

    assert key_at(None) == key_at("http://one/v1") == SecretStr(SECRET)
    assert key_at("http://two/v1") is None


KEYS = [
    ("chat", "DETAILSCRIBE_CHAT__KEY", "--chat-url"),
    ("chat", "OPENAI_API_KEY", "--chat-url"),
    ("vision", "DETAILSCRIBE_VISION__KEY", "--vision-url"),
    ("images", "DETAILSCRIBE_IMAGES__KEY", "DETAILSCRIBE_IMAGES__URL ="),
]


@pytest.mark.parametrize(("section", "variable", "way"), KEYS)
def test_a_file_that_lies_here_cannot_send_a_key_elsewhere(here, monkeypatch, section, variable, way):
    monkeypatch.setenv(variable, SECRET)
    write(here, f'chat.model = "m"\n{section}.url = "http://evil.example/v1"\n')
    with pytest.raises(SettingsError, match=rf"evil\.example.*{way} http://evil\.example/v1") as caught:
        load()
    assert SECRET not in str(caught.value)


def test_a_key_goes_to_a_server_that_the_user_named(here, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    text = '[chat]\nmodel = "m"\nurl = "http://mine.example/v1"\n'
    named = write(here, text, "mine.toml")
    assert load(file=named).settings.chat.key == SecretStr(SECRET)
    write(here, text)
    assert load({"chat": {"url": "http://mine.example/v1"}}).settings.chat.key == SecretStr(SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://mine.example/v1")
    assert load().settings.chat.key == SecretStr(SECRET)
    write(here, f'{text}key = "in-the-file"')
    assert load().settings.chat.key == SecretStr("in-the-file")
    write(here, '[chat]\nmodel = "m"\nurl = "https://api.openai.com/v1"\n')
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert load().settings.chat.key == SecretStr(SECRET)


def test_a_file_that_lies_here_cannot_name_code_to_run(here):
    write(here, 'run.policy = "subprocess:Popen"')
    with pytest.raises(SettingsError, match="subprocess:Popen: name it yourself with --policy"):
        load()
    assert load(table(policy="single")).settings.run.policy == "single"
    assert load(file=here / "detailscribe.toml").settings.run.policy == "subprocess:Popen"


def test_a_recorded_run_gets_the_keys_of_today_for_a_server_that_the_user_named(monkeypatch):
    recorded = load_settings(Settings(), {"chat": {"model": "m", "url": "http://theirs.example/v1"}})
    recorded = Settings.model_validate_json(recorded.model_dump_json())
    assert with_secrets(recorded) == recorded
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(SettingsError, match=r"theirs\.example, which the recorded run names.*--chat-url"):
        with_secrets(recorded)
    assert with_secrets(recorded, "http://theirs.example/v1").chat.key == SecretStr(SECRET)
    moved = with_secrets(recorded, "http://moved.example/v1").chat
    assert (moved.url, moved.key) == ("http://moved.example/v1", SecretStr(SECRET))
    monkeypatch.setenv("DETAILSCRIBE_CHAT__URL", "http://theirs.example/v1")
    assert with_secrets(recorded).chat.key == SecretStr(SECRET)
    assert with_secrets(load_settings(Settings())).is_embedded


def test_headers_and_query_go_where_the_key_goes():
    secrets = {"headers": {"api-key": SECRET}, "query": {"api-version": "2026"}}
    chat = {"model": "m", "url": "http://one/v1", **secrets}
    settings = load_settings({"chat": chat, "vision": {"model": "v"}})
    assert settings.vision_settings().headers == {"api-key": SecretStr(SECRET)}
    elsewhere = load_settings({"chat": chat, "vision": {"url": "http://two/v1"}}).vision_settings()
    assert (elsewhere.headers, elsewhere.query) == ({}, {})
    assert SECRET not in settings.model_dump_json() + repr(settings)


def test_vision_takes_from_chat_what_it_does_not_have():
    settings = load_settings({"chat": {"model": "m", "url": "http://one/v1", "timeout": 7}, "vision": {"model": "v"}})
    vision = settings.vision_settings()
    assert (vision.model, vision.base_url, vision.timeout) == ("v", "http://one/v1", 7)


def test_a_price_is_of_one_model_alone():
    chat = {"model": "m", "input_price": 1, "output_price": 2}

    def prices(**vision):
        looks = load_settings({"chat": chat, "vision": vision}).vision_settings()
        return looks.input_price, looks.output_price

    assert prices() == (1, 2)
    assert prices(input_price=3) == (3, 2)
    assert prices(model="v") == prices(url="http://two/v1") == (None, None)
    assert prices(model="v", output_price=4) == (None, 4)


@pytest.mark.parametrize("off", ["false", '"off"', '""'])
def test_the_cache_can_be_switched_off(here, off):
    assert load_settings().chat.cache is not None
    write(here, f"chat.cache = {off}")
    assert load_settings().chat.cache is None


def test_every_setting_can_be_told_and_is_documented():
    names = known_names()
    assert {"run.budget.rounds", "chat.key", "vision.votes", "diffusion.precision", "images.price"} <= {*names}
    loaded = load()
    assert {loaded.source(name) for name in names} == {"default", "preset embedded"}


def test_whatever_is_no_secret_and_not_about_speed_or_cost_decides_about_pictures():
    """By name, so that a new setting counts unless somebody says otherwise."""
    facts, harmless = (
        load_settings({}).facts(),
        {name.partition(".")[2] for name in {*known_names()} - {*load_settings({}).facts()}},
    )
    assert facts.keys() <= {*known_names()}
    assert harmless == {
        *("key", "headers", "query", "price", "input_price", "output_price"),
        *("cache", "checkpoints", "compiled", "concurrency", "device", "max_batch", "offload", "out"),
        *("picture_hosts", "requests_per_minute", "timeout", "transport_retries"),
    }


def test_the_file_in_the_docs_can_be_used(here):
    page = (Path(__file__).parents[2] / "docs" / "full-size-models.md").read_text()
    [text] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    settings = load_settings(file=write(here, text))
    assert settings.chats
    assert settings.run.budget.money == 0.5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("seed = 3", r"no setting 'seed'; did you mean 'run.seed'\? \(file detailscribe.toml\)"),
        ("[run]\nsed = 3", "no setting 'run.sed'; did you mean 'run.seed'"),
        ("[run.budget]\nimage = 3", "no setting 'run.budget.image'; did you mean 'run.budget.images'"),
        ("[chatt]\nmodel = 'm'", "no setting 'chatt'; did you mean 'chat'"),
        ("[run]\nsteps = 0", r"run.steps: Input should be greater .* \(file detailscribe.toml\)"),
        ("run = 3", "run: this should be a table of settings"),
        ("[run]\nbudget = 3", "run.budget: Input should be a valid dictionary"),
        ("[vision]\nvotes = 'x'", "vision.votes"),
        ("[chat]\nurl = 'localhost:8000'", "chat.url: .*should read like http://localhost:8000/v1"),
        ("[chat]\nurl = 'http://localhost:8000/v1'", "no chat model is named for http://localhost:8000/v1"),
        ("[vision]\nmodel = 'm'", "give --chat-model"),
        ("[run]\npreset = 'sd35-lrge'", "did you mean 'sd35-large'"),
        ("[run]\npreset = 'diffusers'", "--diffusion"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_way_out(here, text, complaint):
    write(here, text)
    with pytest.raises(SettingsError, match=complaint):
        load()


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("DETAILSCRIBE_SEED", "3", "DETAILSCRIBE_SEED: no setting 'seed'; did you mean 'run.seed'"),
        ("DETAILSCRIBE_RUN__SED", "3", "did you mean 'run.seed'"),
        ("DETAILSCRIBE_RUN__SEED", "x", r"run.seed: .* \(environment DETAILSCRIBE_RUN__SEED\)"),
        ("DETAILSCRIBE_RUN", "{", "run"),
    ],
)
def test_a_variable_that_cannot_be_used_is_refused(monkeypatch, name, value, complaint):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=complaint):
        load()


@pytest.mark.parametrize(
    "chat",
    [
        {"model": "m", "url": f"http://user:{SECRET}@host/v1"},
        {"model": "m", "url": f"http://host/v1?key={SECRET}"},
        {"model": "m", "key": [SECRET]},
        {"model": "m", "key": SECRET, "timeout": "soon"},
    ],
    ids=["password", "query", "list", "other"],
)
def test_no_complaint_repeats_a_secret(chat):
    with pytest.raises(SettingsError) as caught:
        load({"chat": chat})
    told = [str(caught.value), repr(caught.value), repr(caught.value.__cause__), repr(caught.value.__context__)]
    assert SECRET not in "".join(told)


def test_a_section_of_the_environment_that_is_no_json_is_not_repeated(monkeypatch):
    monkeypatch.setenv("DETAILSCRIBE_CHAT", f'{{"key": "{SECRET}"')
    with pytest.raises(SettingsError) as caught:
        load()
    assert SECRET not in str(caught.value)


def test_secrets_are_neither_dumped_nor_shown():
    loaded = load({"chat": {"model": "m", "key": SECRET}, "vision": {"key": SECRET}, "images": {"key": SECRET}})
    settings = loaded.settings
    assert settings.chat.key == SecretStr(SECRET)
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json() + str(settings.model_dump())
    assert all("key" not in section for section in settings.model_dump(mode="json").values())


def test_a_layer_does_not_show_its_secret():
    assert SECRET not in repr(load({"chat": {"model": "m", "key": SECRET}}))


def test_a_run_from_python_reads_what_the_command_reads_below_its_arguments(here, monkeypatch):
    write(here, "[run]\nguidance = 2.0\nsteps = 5\nbudget.images = 3\n")
    monkeypatch.setenv("DETAILSCRIBE_RUN__STEPS", "6")
    done = run(PROMPT, seed=4, settings={"run": {"seed": 3, "policy": "single"}}, budget=Budget(rounds=1), **roles({}))
    manifest = json.loads((done.folder / "manifest.json").read_text())
    chosen = manifest["settings"]["run"]
    assert (chosen["seed"], chosen["steps"], chosen["guidance"]) == (4, 6, 2.0)
    assert chosen["budget"] == Budget(rounds=1).model_dump()
    assert manifest["policy"].startswith("Single(")
    assert manifest["sources"]["run.steps"] == "environment DETAILSCRIBE_RUN__STEPS"


def test_a_run_with_settings_as_an_object_reads_nothing_else(here, monkeypatch):
    write(here, "run.seed = 1")
    monkeypatch.setenv("DETAILSCRIBE_RUN__PRESET", "paper")
    done = run(PROMPT, settings=Settings(run=RunSettings(policy="single", steps=9)), **roles({}))
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert (manifest["seed"], manifest["settings"]["run"]["steps"]) == (0, 9)
    assert manifest["settings"]["run"]["preset"] == "embedded"
