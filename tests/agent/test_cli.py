"""The command line: what it prints, and how it says no."""

import asyncio
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from detailscribe.agent.cli import app
from detailscribe.agent.cli.common import reported
from detailscribe.agent.cli.runs import EMBEDDED
from detailscribe.agent.settings import presets
from detailscribe.agent.settings.models import Models
from detailscribe.tools.blocking import blocking, on_ctrl_c
from detailscribe.tools.errors import ModelError

from .fakes import PROMPT, FakeDecomposer, FakeDiffusion, ScriptedCritic, stand_in

CHAT = {"model": "m", "url": "http://localhost:1/v1"}
SCRIPT = {"00-00": "red", "00-01": "cat umbrella", "01-00": ""}


async def nothing_to_see(models):
    """In place of the look at models that are not there."""


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Invokes the command in an empty folder, with fakes for the preset's models."""
    for name in [name for name in os.environ if name.startswith(("DETAILSCRIBE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    stand_in(FakeDecomposer, FakeDiffusion, lambda: ScriptedCritic(SCRIPT), monkeypatch.setattr)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_run_tells_what_happens_and_where_things_are(cli, tmp_path):
    done = cli("run", PROMPT, "--out", "fox", "--seed", 7)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"prompt   {PROMPT}"
    assert "round 0  drawing 00-01" in lines
    assert "round 0  00-00: 4 of 5 checks pass" in lines
    assert "round 0  00-00: refine (few_checks_fail): 00-00 fails red" in lines
    assert "round 1  01-00: 5 of 5 checks pass; 1 fixed, 0 broken" in lines
    assert re.search(r"\*\s+01-00\s+refine\s+00-00\s+5/5\s+stop\s+all_pass", done.stdout)
    assert lines[-3:] == ["folder   fox", "best     fox/images/01-00.png", "report   fox/report.html"]
    assert (tmp_path / "fox" / "report.html").exists()


def test_choosing_nothing_says_that_it_is_embedded_and_offline(cli, monkeypatch):
    lines = cli("run", PROMPT).stdout.splitlines()
    assert [line for line in lines if line.startswith("models ")] == [EMBEDDED]
    assert "offline" in EMBEDDED
    monkeypatch.setitem(presets.PRESETS, "mine", replace(presets.PRESETS["embedded"], settings={"chat": CHAT}))
    monkeypatch.setattr(Models, "check", nothing_to_see)
    assert EMBEDDED not in cli("run", PROMPT, "--preset", "mine", "--out", "mine").stdout


def test_models_can_be_named_by_options(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(Models, "check", nothing_to_see)
    models = ("--chat-url", "http://one/v1", "--chat-model", "m", "--vision-url", "http://two/v1")
    models += ("--vision-model", "v", "--diffusion", "some/folder", "--guidance", 2.5)
    done = cli("run", PROMPT, *models, "--out", "run")
    assert done.exit_code == 0, done.output
    settings = json.loads((tmp_path / "run" / "manifest.json").read_text())["settings"]
    assert (settings["chat"]["url"], settings["chat"]["model"]) == ("http://one/v1", "m")
    assert (settings["vision"]["url"], settings["vision"]["model"]) == ("http://two/v1", "v")
    assert (settings["diffusion"]["model"], settings["run"]["guidance"]) == ("some/folder", 2.5)


def test_the_manifest_says_where_each_setting_came_from(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("DETAILSCRIBE_RUN__BUDGET__IMAGES", "3")
    (tmp_path / "detailscribe.toml").write_text("run.guidance = 2.0")
    assert cli("run", PROMPT, "--seed", 7, "--out", "run").exit_code == 0
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["sources"] == {
        "run.steps": "preset embedded",
        "run.seed": "argument",
        "run.out": "argument",
        "run.budget.images": "environment DETAILSCRIBE_RUN__BUDGET__IMAGES",
        "run.guidance": "file detailscribe.toml",
    }


def test_help_groups_the_options(cli):
    text = cli("run", "--help").stdout
    for panel in ("Which models take part", "How the run decides", "What it reads and writes"):
        assert panel in text


def test_the_module_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "detailscribe.agent.cli", "--version"], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.startswith(b"detailscribe ")


def test_piped_output_holds_no_escape_codes(cli):
    assert "\x1b" not in cli("run", PROMPT).stdout


def test_quiet_prints_the_folder_alone(cli):
    assert cli("run", PROMPT, "--out", "fox", "--quiet").stdout == "fox\n"


def test_markup_in_a_prompt_is_printed_as_it_is(cli):
    done = cli("run", "a [red]cat[/red] [/] [link=file:///]here")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("prompt   a [red]cat[/red] [/] [link=file:///]here\n")


def test_options_go_before_the_settings_file(cli, tmp_path):
    (tmp_path / "s.toml").write_text('[run]\npolicy = "best_of_n"\nseed = 3\npolicy_args.n = 5\nbudget.images = 4\n')
    manifest = tmp_path / "a" / "manifest.json"
    assert cli("run", PROMPT, "--settings", "s.toml", "--out", "a", "--rounds", 1).exit_code == 0
    text = manifest.read_text()
    assert '"policy": "BestOfN(n=5,' in text
    assert re.search(r'"budget": {\s+"rounds": 1,\s+"images": 4,', text)
    assert cli("run", PROMPT, "--settings", "s.toml", "--out", "b", "-p", "n=2", "--seed", 9).exit_code == 0
    assert '"policy": "BestOfN(n=2,' in (tmp_path / "b" / "manifest.json").read_text()
    assert '"seed": 9' in (tmp_path / "b" / "manifest.json").read_text()
    assert cli("run", PROMPT, "--settings", "s.toml", "--out", "c", "--policy", "single").exit_code == 0
    assert '"policy": "Single(' in (tmp_path / "c" / "manifest.json").read_text()


def test_a_policy_of_the_users_own_is_found_beside_them(cli, tmp_path):
    (tmp_path / "my_policy.py").write_text(
        "from detailscribe.agent.policies import stop\n"
        "def lazy(population):\n"
        "    return [stop(image, 'lazy', 'why bother') for image in population.pending()]\n"
    )
    done = cli("run", PROMPT, "--policy", "my_policy:lazy")
    assert done.exit_code == 0, done.output
    assert re.search(r"00-00\s+generate\s+4/5\s+stop\s+lazy", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([""], "the prompt is empty"),
        (["a" * 10_000], "10000 characters"),
        (["a cat\x07"], "U+0007"),
        (["a xylophone"], "xylophone"),
        ([PROMPT, "--policy", "adaptve"], "did you mean 'adaptive'"),
        ([PROMPT, "--policy", "nowhere:Name"], "cannot import 'nowhere'"),
        ([PROMPT, "-p", "images=0"], "images: Input should be greater"),
        ([PROMPT, "-p", "images"], "should read key=value"),
        ([PROMPT, "-p", "imges=2"], "it takes images, width"),
        ([PROMPT, "--seed", "-1"], "seed: Input should be greater"),
        ([PROMPT, "--seed", str(2**40)], "seed: Input should be less"),
        ([PROMPT, "--images", "0"], "budget.images: Input should be greater"),
        ([PROMPT, "--rounds", "-1"], "budget.rounds: Input should be greater"),
        ([PROMPT, "--steps", "0"], "steps: Input should be greater"),
        ([PROMPT, "--out", "full"], "not empty"),
        ([PROMPT, "--out", "full/file/below"], "cannot write"),
        ([PROMPT, "--out", "/proc/nowhere"], "cannot write"),
        ([PROMPT, "--settings", "absent.toml"], "No such file"),
        ([PROMPT, "--settings", "full"], "Is a directory"),
        ([PROMPT, "--settings", "full/file"], "no TOML"),
        ([PROMPT, "--settings", "full/binary"], "no TOML"),
        ([PROMPT, "--settings", "full/unknown.toml"], "no setting 'sed'; did you mean 'run.seed'?"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_leaves_nothing(cli, tmp_path, arguments, complaint):
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("seed = = 3")
    (full / "binary").write_bytes(b"\xff\xfe\x00")
    (full / "unknown.toml").write_text("sed = 3")
    done = cli("run", *arguments)
    assert done.exit_code == 2
    assert done.stdout == "" or "decompose failed: PromptError" in done.stdout  # the graph reads the prompt
    assert complaint in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["binary", "file", "full", "unknown.toml"]


def test_missing_weights_are_one_line_and_leave_nothing(cli, tmp_path, monkeypatch):
    def missing():
        raise ModelError("no model.safetensors in weights;\ninstall the package again")

    stand_in(FakeDecomposer, missing, lambda: ScriptedCritic(SCRIPT), monkeypatch.setattr)
    done = cli("run", PROMPT)
    assert (done.exit_code, done.stderr) == (2, "error: no model.safetensors in weights; install the package again\n")
    assert list(tmp_path.iterdir()) == []


def test_the_graph_is_printed_as_mermaid(cli):
    drawing = cli("graph").stdout
    for name in ("decompose", "generate", "critique", "refine", "finish", "plan", "reseed", "stop"):
        assert name in drawing


def test_the_version_is_the_distributions(cli):
    assert re.fullmatch(r"detailscribe \d+\.\d+\.\d+\S*\n", cli("--version").stdout)


def test_help_is_printed_at_once(tmp_path):
    """The best of three, because other processes may press this one out of its caches."""
    code = (
        "import time; from detailscribe.agent.cli import app\ntry: app(['--help'])\nfinally: print(time.process_time())"
    )
    seconds = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
            ).stdout.splitlines()[-1]
        )
        for _ in range(3)
    ]
    assert min(seconds) < 0.3


ENDLESS = """
import asyncio, sys
sys.path.insert(0, sys.argv.pop(1))
from fakes import *
from detailscribe.agent.cli import main

class Endless(FakeDiffusion):
    async def draw(self, attempt, store, *, source=None, progress=None):
        made = await super().draw(attempt, store, source=source, progress=progress)
        if attempt.round:
            print("drawing", flush=True)
            await asyncio.sleep(60)
        return made

stand_in(FakeDecomposer, Endless, lambda: ScriptedCritic(lambda image: "cat"))
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_a_second_ctrl_c_ends_at_once_and_keeps_what_was_drawn(tmp_path):
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", ENDLESS, here, "run", PROMPT, "--out", "run"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while process.stdout.readline() != "drawing\n":
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "stopping after this step; Ctrl-C again stops at once\n"
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(20) == 130
        finally:
            process.kill()
        said = process.stderr.read()
    assert said.splitlines()[-1] == "interrupted", said
    assert (tmp_path / "run" / "images" / "00-00.png").exists()
    last = (tmp_path / "run" / "events.jsonl").read_text().splitlines()[-1]
    assert '"type":"error"' in last
    assert "Cancelled" in last or "KeyboardInterrupt" in last


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
@pytest.mark.parametrize("in_a_notebook", [False, True])
def test_a_second_ctrl_c_cancels_what_runs_and_does_not_raise_inside_its_event_loop(in_a_notebook):
    events = []

    def press():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    async def wait(*, control=None):
        try:
            press()
            await asyncio.sleep(0.5)
            events.append(control.drain_requested)
            press()
            events.append("not raised")
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    async def cell():
        blocking(wait)()

    with on_ctrl_c(), pytest.raises(KeyboardInterrupt):
        asyncio.run(cell()) if in_a_notebook else blocking(wait)()
    assert events == [True, "not raised", "cancelled"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(capsys, number):
    with pytest.raises(typer.Exit) as ended, reported():
        raise OSError(number, "full")
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err.startswith("error: the disk is full")
