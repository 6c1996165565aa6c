"""Folders, settings files and URLs of strangers, tried in every way under every command.

Nothing that a folder names is imported, no key goes to a server that it names, and nothing outside it is read or
written.
"""

import io
import json
import os
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from detailscribe.agent import Adaptive, aresume, arun, run, run_batch
from detailscribe.agent.cli import app
from detailscribe.agent.evaluation.collect import collect
from detailscribe.agent.graph.checkpoints import CACHE, TaskCache, serializer
from detailscribe.agent.records.events import RunFinished, read_events
from detailscribe.agent.records.manifest import command_line
from detailscribe.agent.settings.loading import load, with_secrets
from detailscribe.agent.settings.settings import Settings
from detailscribe.tools.errors import DetailScribeError, OutsideError, SettingsError
from detailscribe.tools.files import Store
from detailscribe.tools.text import without_secrets

from .fakes import PROMPT, roles

KEY = "sk-of-the-user-0123456789"
PIXEL = (1, 2, 3)
LINES = [
    ["show", "RUN"],
    ["show", "RUN", "--json"],
    ["show", "RUN", "--images"],
    ["report", "RUN"],
    ["report", "."],
    ["history", "RUN"],
    ["fork", "RUN", "--at", "1"],
    ["resume", "RUN"],
    ["reproduce", "RUN", "00-00"],
    ["replay", "RUN", "--policy", "single"],
    ["compare", "RUN", "RUN"],
    ["rate", "RUN"],
]
"""Every command that reads a run folder."""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("DETAILSCRIBE_", "OPENAI_", "PG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A run that came to its end, made once."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    run(PROMPT, out=folder, policy=Adaptive(images=1), **roles({}))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, recorded):
    """The working directory, with a copy of the run; beside it lies what is the user's own."""
    place, home = tmp_path / "here", tmp_path / "home"
    shutil.copytree(recorded, place / "run")
    home.mkdir()
    (home / "folder").mkdir()
    (home / "folder" / "00-00.png").write_bytes(own_picture())
    (home / "secret.png").write_bytes(own_picture())
    (home / "notes.txt").write_text("the user's own notes\n")
    monkeypatch.chdir(place)
    return place


def own_picture() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), PIXEL).save(data, "PNG")
    return data.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def call(*arguments: object) -> Any:
    """One command, which ends in at most one line of complaint, and searches the working directory for no code."""
    done = CliRunner().invoke(app, ["run" if argument == "RUN" else str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code in (0, 2), done.output
    assert len(done.stderr.splitlines()) <= 1, done.stderr
    assert str(Path.cwd()) not in sys.path
    return done


def rewrite(path: Path, **changes: Any) -> None:
    """Change what a JSON file says, by dotted name."""
    table = json.loads(path.read_text())
    for place, value in changes.items():
        *sections, name = place.split("__")
        inner = table
        for section in sections:
            inner = inner[section]
        inner[name] = value
    path.write_text(json.dumps(table))


def unfinished(run: Path) -> None:
    """As a kill before the end leaves it, so that it can be resumed."""
    events = [event for event in read_events(run / "events.jsonl") if not isinstance(event, RunFinished)]
    (run / "events.jsonl").write_text("".join(f"{event.model_dump_json()}\n" for event in events))
    (run / "result.json").unlink()


# Code

CODE = ["subprocess:Popen", "trap:Policy", "os:system", "trap:", ":", "trap.inner:Policy", "antigravity:fly", "a:b:c"]


@pytest.fixture
def trap(here):
    """A module in the working directory that notes that it was imported."""
    mark = here / "imported"
    (here / "trap.py").write_text(f"open({str(mark)!r}, 'w')\nclass Policy:\n    plan = judge = print\n")
    yield mark
    assert not mark.exists()
    assert not {"trap", "antigravity"} & sys.modules.keys()


@pytest.mark.parametrize("code", CODE)
@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_no_code_that_a_run_names_is_imported(here, trap, line, code):
    unfinished(here / "run")
    arguments = {"args": [["touch", "imported"]]} if code == "subprocess:Popen" else {}
    rewrite(here / "run" / "manifest.json", settings__run__policy=code, settings__run__policy_args=arguments)
    done = call(*line)
    if line[0] in ("resume", "fork"):
        assert done.exit_code == 2
        assert f"--policy {code}" in done.stderr


@pytest.mark.parametrize("code", CODE)
@pytest.mark.parametrize(
    "line",
    [
        ["doctor"],
        ["run", PROMPT],
        ["batch", "p.txt"],
        ["evaluate", "run", "--metrics", "all_correct"],
        ["experiment", "x.toml"],
    ],
    ids=" ".join,
)
def test_no_code_that_a_settings_file_of_the_folder_names_is_imported(here, trap, line, code):
    (here / "p.txt").write_text(PROMPT)
    (here / "x.toml").write_text(
        'question = "?"\nseeds = [0]\n[prompts]\ntexts = ["a cat"]\n[[policies]]\npolicy = "single"\n'
    )
    (here / "detailscribe.toml").write_text(f'[run]\npolicy = "{code}"\n')
    done = call(*line)
    assert done.exit_code == 2
    assert f"detailscribe.toml names code to run, the policy {code}" in done.stderr


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("settings__run__preset", "trap:Policy"),
        ("settings__diffusion__model", "trap:Policy"),
        ("settings__diffusion__kind", "trap:Policy"),
        ("settings__chat__body", {"critic": "trap:Policy"}),
        ("settings__chat__templates", "trap:Policy"),
        ("settings__run__policy_args", {"chat": "trap:Policy"}),
        ("settings__run__policy_args", {"judge": "trap:Policy"}),
        ("settings__critic", "trap:Policy"),
        ("settings__decomposer", "trap:Policy"),
        ("roles", "trap:Policy"),
        ("policy", "trap.Policy()"),
        ("models", {"critic": "trap:Policy", "diffusion": "trap:Policy"}),
    ],
)
@pytest.mark.parametrize("line", [["resume", "RUN"], ["fork", "RUN", "--at", "0"]], ids=" ".join)
def test_no_other_field_of_a_manifest_names_code(here, trap, line, field, value):
    unfinished(here / "run")
    rewrite(here / "run" / "manifest.json", **{field: value})
    assert call(*line).exit_code == 2


@pytest.mark.parametrize(
    "value",
    [
        {"lc": 2, "type": "constructor", "id": ["subprocess", "Popen"], "args": [["touch", "imported"]]},
        {"lc": 2, "type": "constructor", "id": ["trap", "Policy"]},
        {"lc": 1, "type": "secret", "id": ["OPENAI_API_KEY"]},
        {"lc": 1, "type": "constructor", "id": ["langchain_core", "prompts", "PromptTemplate"], "kwargs": {}},
    ],
)
def test_nothing_is_made_of_what_a_database_names(here, trap, monkeypatch, value):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(SettingsError, match="not written by DetailScribe"):
        serializer().loads_typed(("json", json.dumps(value).encode()))


def test_code_that_the_user_names_is_found_in_the_working_directory(here):
    (here / "mine_alone.py").write_text("from detailscribe.agent import Single\n\n\nclass Mine(Single):\n    pass\n")
    done = CliRunner().invoke(app, ["replay", "run", "--policy", "mine_alone:Mine"])
    assert done.exit_code == 0, done.output


# Keys

SERVERS = [
    "http://evil.example/v1",
    "https://evil.example/v1",
    "http://api.openai.com/v1",
    "https://api.openai.com:8443/v1",
    "https://api.openai.com.evil.example/v1",
    "https://evil.example/api.openai.com/v1",
    "http://10.0.0.1:8000/v1",
    "http://localhost:1/v1",
]
SECRET = {
    "OPENAI_API_KEY": KEY,
    "DETAILSCRIBE_CHAT__KEY": KEY,
    "DETAILSCRIBE_CHAT__HEADERS": json.dumps({"api-key": KEY}),
    "DETAILSCRIBE_CHAT__QUERY": json.dumps({"key": KEY}),
    "DETAILSCRIBE_VISION__KEY": KEY,
    "DETAILSCRIBE_IMAGES__KEY": KEY,
}


def secrets_at(settings: Settings, server: str) -> list[str]:
    """What would be sent to a server."""
    used = [settings.chat_settings(), settings.vision_settings(), settings.images_settings()]
    held = [secret for one in used if one.base_url == server for secret in (one.api_key, *one.headers.values())]
    held += [secret for one in used if one.base_url == server for secret in one.query.values()]
    return [secret.get_secret_value() for secret in held if secret is not None]


@pytest.mark.parametrize("variable", SECRET)
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("sections", [("chat",), ("vision",), ("images",), ("chat", "vision", "images")])
@pytest.mark.parametrize("place", ["a recorded run", "a file that lies here"])
def test_no_secret_goes_to_a_server_that_a_stranger_names(here, monkeypatch, variable, server, sections, place):
    monkeypatch.setenv(variable, SECRET[variable])
    table: dict[str, dict[str, Any]] = {"chat": {"model": "m"}, "diffusion": {"model": "d", "kind": "endpoint"}}
    for section in sections:
        table.setdefault(section, {})["url"] = server
    values = {name: "\n".join(f'{k} = "{v}"' for k, v in own.items()) for name, own in table.items()}
    if place != "a recorded run":
        Path("detailscribe.toml").write_text("".join(f"[{name}]\n{own}\n" for name, own in values.items()))
    complaint = ""
    try:
        settings = with_secrets(Settings.model_validate(table)) if place == "a recorded run" else load({}).settings
        assert not secrets_at(settings, server)
    except SettingsError as error:
        complaint = str(error)
    assert not complaint or server.split("/")[2] in complaint
    assert KEY not in complaint


@pytest.mark.parametrize("variable", [name for name in SECRET if "CHAT" in name or "OPENAI" in name])
def test_a_recorded_server_gets_the_key_once_the_user_names_it(here, monkeypatch, variable):
    monkeypatch.setenv(variable, SECRET[variable])
    recorded = Settings.model_validate({"chat": {"model": "m", "url": SERVERS[0]}, "diffusion": {"model": "d"}})
    with pytest.raises(SettingsError, match="--chat-url"):
        with_secrets(recorded)
    assert KEY in secrets_at(with_secrets(recorded, SERVERS[0]), SERVERS[0])


@pytest.mark.parametrize("line", [["resume", "RUN"], ["fork", "RUN", "--at", "0"], ["reproduce", "RUN", "00-00"]])
@pytest.mark.parametrize("section", ["chat", "vision", "images"])
def test_a_command_asks_for_the_server_and_names_its_host(here, monkeypatch, line, section):
    monkeypatch.setenv("DETAILSCRIBE_CHAT__KEY", KEY)
    monkeypatch.setenv("DETAILSCRIBE_VISION__KEY", KEY)
    monkeypatch.setenv("DETAILSCRIBE_IMAGES__KEY", KEY)
    unfinished(here / "run")
    own = json.loads((here / "run" / "manifest.json").read_text())["settings"][section]
    rewrite(here / "run" / "manifest.json", **{f"settings__{section}": own | {"url": "http://evil.example:9/v1"}})
    done = call(*line)
    assert done.exit_code == 2
    assert "evil.example:9" in done.stderr
    assert KEY not in done.output


@pytest.mark.parametrize("place", ["a recorded run", "a file that lies here"])
@pytest.mark.parametrize(("host", "refused"), [(None, True), ("other.example", True), ("db.example", False)])
def test_the_password_of_a_database_goes_to_its_own_server_alone(here, monkeypatch, place, host, refused):
    monkeypatch.setenv("PGPASSWORD", KEY)
    if host is not None:
        monkeypatch.setenv("PGHOST", host)
    url = "postgresql://db.example/runs"
    Path("detailscribe.toml").write_text(f'[run]\ncheckpoints = "{url}"\n' if place != "a recorded run" else "")
    recorded = Settings.model_validate({"run": {"checkpoints": url}})
    if refused:
        with pytest.raises(SettingsError, match=r"PGPASSWORD was not set for db\.example"):
            _ = with_secrets(recorded) if place == "a recorded run" else load({})
    else:
        assert (with_secrets(recorded) if place == "a recorded run" else load({}).settings).run.checkpoints == url


def test_a_recorded_run_writes_to_no_cache_of_its_choice(here, tmp_path):
    recorded = Settings.model_validate({"chat": {"model": "m", "cache": str(tmp_path / "home")}})
    assert with_secrets(recorded).chat.cache != tmp_path / "home"
    assert with_secrets(Settings.model_validate({"chat": {"model": "m", "cache": None}})).chat.cache is None


# Paths

LINKS = {
    "manifest.json": "notes.txt",
    "events.jsonl": "notes.txt",
    "result.json": "notes.txt",
    "report.html": "notes.txt",
    ".lock": "notes.txt",
    ".x.partial": "notes.txt",
    "checkpoints.sqlite": "notes.txt",
    "checkpoints.sqlite-wal": "notes.txt",
    "checkpoints.sqlite-journal": "absent.txt",
    "cache.sqlite": "notes.txt",
    "cache.sqlite-wal": "absent.txt",
    "images": "folder",
    "latents": "folder",
    "images/00-00.png": "secret.png",
    "images/x.png": "absent.txt",
    "a": "folder",
}
"""Links in a run folder, and what of the user's they lead to."""


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_link_out_of_a_run_is_neither_read_nor_written(here, line, link):
    if "wal" in link or "journal" in link or link.startswith("."):
        unfinished(here / "run")
    path, home = here / "run" / link, here.parent / "home"
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(home / LINKS[link])
    before = tree(home)
    done = call(*line)
    assert tree(home) == before
    assert own_picture() not in tree(here).values()
    assert done.exit_code == 2 or line == ["report", "."]


@pytest.mark.parametrize("name", ["manifest.json", "events.jsonl", "result.json", "cache.sqlite", "images/x.png"])
@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_pipe_ends_in_one_line_and_not_in_waiting(here, line, name):
    (here / "run" / name).unlink(missing_ok=True)
    os.mkfifo(here / "run" / name)
    assert call(*line).exit_code == 2 or line[0] == "report"


@pytest.mark.parametrize("reference", ["ABSOLUTE", "../../home/secret.png", "a/../../../home/secret.png", "\0", ""])
@pytest.mark.parametrize("line", [line for line in LINES if line[0] not in ("history", "fork")], ids=" ".join)
def test_a_picture_that_a_trace_names_outside_is_neither_shown_nor_copied(here, line, reference):
    home = here.parent / "home"
    reference = str(home / "secret.png") if reference == "ABSOLUTE" else reference
    for name in ("events.jsonl", "result.json"):
        text = (here / "run" / name).read_text()
        (here / "run" / name).write_text(text.replace('images/00-00.png"', json.dumps(reference)[1:]))
    before = tree(home)
    call(*line)
    assert tree(home) == before
    assert own_picture() not in tree(here).values()


@pytest.mark.parametrize("reference", ["../home/secret.png", "ABSOLUTE", "a/../../x", "link/x", "\0", "loop"])
@pytest.mark.parametrize("how", ["path", "read", "write"])
def test_a_store_refuses_what_leads_out_in_one_line(here, reference, how):
    (here / "link").symlink_to(here.parent / "home")
    (here / "loop").symlink_to(here / "loop")
    store = Store(here)
    reference = str(here.parent / "home/secret.png") if reference == "ABSOLUTE" else reference
    with pytest.raises(OutsideError) as raised:
        store.write(reference, b"x") if how == "write" else getattr(store, how)(reference)
    assert isinstance(raised.value, DetailScribeError)
    assert "\n" not in str(raised.value)


async def test_a_cached_picture_that_lies_outside_is_not_taken_over(here):
    """The cache of a run folder says where a drawn picture lies, and what else belongs to it."""
    folder, home = here / "run", here.parent / "home"
    unfinished(folder)
    with closing(TaskCache(folder / CACHE)) as cache:
        rows = cache._conn.execute("select key, encoding, val from cache").fetchall()
        for key, encoding, data in rows:
            value = serializer().loads_typed((encoding, data))
            if isinstance(value, tuple | list) and hasattr(value[0], "latent"):
                record = value[0].model_copy(update={"latent": str(home / "notes.txt"), "digest": ""})
                kind, changed = serializer().dumps_typed((record, *value[1:]))
                cache._conn.execute("update cache set val = ?, encoding = ? where key = ?", (changed, kind, key))
        cache._conn.commit()
    (folder / "checkpoints.sqlite").unlink()
    with pytest.raises(OutsideError):
        await aresume(folder, policy=Adaptive(images=1), **roles({}))
    assert b"the user's own notes\n" not in tree(here).values()


BATCH_LINKS = ["batch.json", "results.jsonl", "cache.sqlite", "cache.sqlite-wal", ".lock", "runs", "runs/RUN", "x"]


@pytest.mark.parametrize("link", BATCH_LINKS)
@pytest.mark.parametrize("target", ["notes.txt", "folder", "absent"])
def test_a_batch_that_is_started_again_follows_no_link_out_of_its_folder(here, link, target):
    made = {**roles({}), "policy": Adaptive(images=1), "concurrency": 1}
    folder, home = here / "batch", here.parent / "home"
    run_batch([PROMPT], out=folder, **made)
    link = link.replace("RUN", next((folder / "runs").iterdir()).name)
    path = folder / link
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(home / target)
    before = tree(home)
    if link.startswith("runs/"):
        (folder / "results.jsonl").write_text("")
    with pytest.raises(OutsideError):
        run_batch([PROMPT], out=folder, **made)
    assert tree(home) == before


def test_runs_that_rows_place_outside_are_not_measured(here):
    home = here.parent / "home"
    shutil.copytree(here / "run", home / "run")
    (here / "batch").mkdir()
    (here / "batch" / "run").symlink_to(home / "run")
    with pytest.raises(SettingsError, match="there is no run in"):
        collect([str(here / "batch")])


# Secrets of URLs

URLS = {
    "https://user:pass-word@host:80/a.txt?sig=s1gn#frag": "https://host:80/a.txt",
    "https://user:pa/ss-word@host/a.txt": "https://host/a.txt",
    "https://tok-en@host/a.txt": "https://host/a.txt",
    "https://host?sig=s1gn": "https://host",
    "HTTPS://user:pass-word@HOST/?sig=s1gn": "HTTPS://HOST/",
    "s3://key:pass-word@bucket/a.csv": "s3://bucket/a.csv",
    "zip://a.txt::https://user:pass-word@host/b.zip?sig=s1gn": "zip://a.txt::https://host/b.zip",
    "zip://a:b.txt::https://user:pass-word@host/b.zip": "zip://a:b.txt::https://host/b.zip",
    "simplecache::s3://k:pa/ss-word@b/x?sig=s1gn::filecache::https://u:p@c/d?sig=s1gn": (
        "simplecache::s3://b/x::filecache::https://c/d"
    ),
    "s3::https://a:pass-word@h/x?sig=s1::gn": "s3::https://h/x",
    "https://[::a1]:80/x?sig=s1gn": "https://[::a1]:80/x",
    "--store=s3://key:pass-word@bucket/runs?sig=s1gn": "--store=s3://bucket/runs",
    "403, url=https://host/x?sig=s1gn said so": "403, url=https://host/x said so",
    "hf://datasets/owner/name@main/a.csv": "hf://datasets/owner/name@main/a.csv",
    "http://localhost:8000/v1": "http://localhost:8000/v1",
    "prompts.txt": "prompts.txt",
    "a cat? a dog: me@home::here": "a cat? a dog: me@home::here",
}


@pytest.mark.parametrize("url", URLS)
def test_no_url_is_stored_or_printed_with_its_secrets(here, monkeypatch, url):
    assert without_secrets(url) == URLS[url]
    monkeypatch.setattr(sys, "argv", ["detailscribe", "batch", url])
    assert command_line()[2] == URLS[url]
    if "://" in url and not url.startswith("--"):
        done = call("batch", url, "--out", "out")
        for secret in ("pass-word", "ss-word", "s1gn", "tok-en", "s1::gn"):
            assert secret not in done.output


async def test_the_files_of_runs_and_batches_hold_no_secret_of_the_command_line(here, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["detailscribe", "batch", "https://u:pass-word@h/p.txt?sig=s1gn"])
    made = {**roles({}), "policy": Adaptive(images=1)}
    await arun(PROMPT, out="a", **made)
    (here / "p.txt").write_text(PROMPT)
    run_batch(str(here / "p.txt"), out="b", **made)
    for name, data in tree(here).items():
        assert b"pass-word" not in data, name
        assert b"s1gn" not in data, name


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://user:pass-word@localhost:1/v1/traces?key=s1gn",
        "http://user:pass/word@localhost:1/x",
        "user:pass-word@localhost:1",
        "http://user:pass-word@[/x?sig=s1gn",
        "pass-word",
    ],
)
def test_the_password_of_a_collector_is_not_printed(here, monkeypatch, caplog, endpoint):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.01")
    done = call("export", "run", "--endpoint", endpoint)
    assert done.exit_code == 2
    assert not any(secret in done.output + caplog.text for secret in ("pass-word", "pass/word", "s1gn"))
