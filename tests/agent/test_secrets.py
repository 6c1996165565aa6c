"""A secret stays where it belongs: a run over HTTP is searched for it, file by file."""

import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from detailscribe.agent.cli import app
from detailscribe.tools.language.demo_server import Mind

from ..chat_server.protocol import MODEL, Answer
from ..chat_server.server import ChatServer

KEY = "sk-test-c0ffee-secret"
PROMPT = "a cat holding a red umbrella"


class Parrot(Mind):
    """Says the key in every other answer, as a careless server might."""

    turn = 0

    def answer(self, request):
        self.turn += 1
        return Answer(f"You are {KEY}.") if self.turn % 2 else super().answer(request)


@pytest.fixture(scope="module")
def parrot():
    server = ChatServer(Parrot()).start()
    server.can.key = KEY
    yield server
    server.stop()


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Invokes the command in an empty folder, with the key in the environment and the cache beside the run."""
    for name in [name for name in os.environ if name.startswith(("DETAILSCRIBE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("DETAILSCRIBE_CHAT__CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def holders(folder):
    """Files that hold the key, in their bytes or their names."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if KEY.encode() in path.read_bytes() or KEY in str(path)]


def test_no_file_and_no_line_of_a_run_holds_the_key(cli, tmp_path, parrot):
    at = ("--chat-url", parrot.url, "--chat-model", MODEL)
    done = cli("run", PROMPT, *at, "--out", "run", "--steps", 3, "--rounds", 1)
    assert done.exit_code == 0, done.output
    assert re.search(rf"^used     {MODEL}@\S+: \d+ calls, [\d,]+ tokens, [\d.]+ s$", done.stdout, re.MULTILINE)
    assert {"run", "cache"} <= {path.name for path in tmp_path.iterdir()}
    assert "You are ***" in (tmp_path / "run" / "events.jsonl").read_text()
    assert '"key"' not in (tmp_path / "run" / "manifest.json").read_text()
    assert holders(tmp_path) == []
    assert KEY not in done.output
    assert KEY not in cli("doctor", "--all", *at).output


class Elsewhere(BaseHTTPRequestHandler):
    """A server for looking alone, which notes the keys that come."""

    keys: ClassVar[list[str | None]] = []

    def do_POST(self):
        self.keys.append(self.headers["Authorization"])
        self.send_error(404)

    def log_message(self, format, *args):
        """Silent."""


@pytest.fixture
def elsewhere():
    Elsewhere.keys.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("held_by", ["OPENAI_API_KEY", "DETAILSCRIBE_CHAT__KEY"])
def test_a_server_for_looking_gets_no_key_but_its_own(cli, parrot, elsewhere, monkeypatch, held_by):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv(held_by, KEY)
    at = ("--chat-url", parrot.url, "--chat-model", MODEL, "--vision-url", elsewhere)
    assert cli("run", PROMPT, *at).exit_code == 2
    assert cli("doctor", *at).exit_code == 2
    monkeypatch.setenv("DETAILSCRIBE_VISION__KEY", "sk-own-0123456")
    assert cli("run", PROMPT, *at).exit_code == 2
    assert Elsewhere.keys == ["Bearer none", "Bearer none", "Bearer sk-own-0123456"]


def test_a_refused_key_is_not_repeated(cli, tmp_path, parrot, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}-mistyped")
    done = cli("run", PROMPT, "--chat-url", parrot.url, "--chat-model", MODEL)
    assert done.exit_code == 2
    assert KEY not in done.output
    assert not (tmp_path / "runs").exists()
