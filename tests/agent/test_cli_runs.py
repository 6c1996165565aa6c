"""The commands that go on with runs: resume, history, fork, reproduce, and a person as the judge."""

import os
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from detailscribe.agent import read_run
from detailscribe.agent.cli import app

from .fakes import PROMPT, FakeDecomposer, FakeDiffusion, ScriptedCritic, stand_in

SCRIPT = {"00-00": "red holding", "00-01": "cat umbrella alone", "01-00": "red", "02-00": ""}


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """The command in an empty folder, over fakes; ``breaks_at`` names an image that cannot be drawn."""

    def call(*arguments, input="", breaks_at=None):
        diffusion = FakeDiffusion(breaks_at=breaks_at, writes_latents=True)
        stand_in(FakeDecomposer, lambda: diffusion, lambda: ScriptedCritic(SCRIPT), monkeypatch.setattr)
        return CliRunner().invoke(app, arguments, input=input)

    monkeypatch.chdir(tmp_path)
    return call


def test_a_run_that_failed_is_resumed_listed_forked_and_made_again(cli, tmp_path):
    assert cli("run", PROMPT, "--out", "run", breaks_at="02-00").exit_code == 1
    done = cli("resume", "run")
    assert (done.exit_code, read_run(tmp_path / "run").status) == (0, "finished")
    assert "best     run/images/02-00.png" in done.stdout
    listed = cli("history", "run").stdout.splitlines()
    assert listed[0].split() == ["step", "next", "images", "best", "so", "far"]
    assert listed[4].split() == ["3", "refine", "2", "00-00"]
    forked = cli("fork", "run", "--at", "3", "--policy", "best_of_n", "--out", "other", "-q")
    assert (forked.exit_code, forked.stdout) == (0, "other\n")
    assert read_run(tmp_path / "other").manifest.parent.step == 3
    again = cli("reproduce", "run", "01-00")
    assert again.stdout.splitlines() == [
        "image    01-00",
        "made     01-00",
        "model    fake@0",
        "pixels   identical",
    ]


def test_an_edit_reaches_the_drawing(cli, tmp_path):
    cli("run", PROMPT, "--out", "run")
    edits = ("--edit", "00-00.refined_prompt=a ruby umbrella", "--edit", "00-01.cat=pass")
    assert cli("fork", "run", "--at", "3", *edits, "--rounds", "1", "--out", "other").exit_code == 0
    other = read_run(tmp_path / "other")
    assert other.images["01-00"].prompt == "a ruby umbrella"
    assert other.critiques["00-01"].answers()["cat"] == "pass"
    assert other.manifest.settings.run.budget.rounds == 1


def test_a_person_decides_at_the_prompt(cli, tmp_path):
    done = cli("run", PROMPT, "--out", "run", "--interactive", input="s\n\n")
    assert done.exit_code == 0, done.stderr
    assert "00-00: decide" not in done.stdout
    assert "proposed: refine (few_checks_fail)" in done.stdout
    assert read_run(tmp_path / "run").decisions["00-00"].rule == "person"


def test_where_nobody_answers_the_run_can_be_resumed_with_somebody(cli, tmp_path):
    silent = cli("run", PROMPT, "--out", "run", "--interactive")
    assert silent.exit_code == 2
    assert "error: nobody answers" in silent.stderr
    assert cli("resume", "run", input="s\ns\n").exit_code == 0
    assert read_run(tmp_path / "run").stop == "person"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("resume", "absent"), "absent is no run folder: it holds no manifest.json"),
        (("history", "absent"), "absent is no run folder: it holds no manifest.json"),
        (("fork", "absent", "--at", "1"), "absent is no run folder: it holds no manifest.json"),
        (("fork", "run", "--at", "99"), "has no step 99, only 0 to "),
        (("fork", "run", "--at", "3", "--edit", "words"), "--edit 'words' should read [IMAGE.]NAME=VALUE"),
        (("reproduce", "run", "99-99"), "has no image '99-99'; it has 00-00, 00-01"),
        (("run", PROMPT, "--out", "run"), "the run folder run is not empty; name another with --out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_each_mistake_is_one_line(cli, arguments, complaint):
    cli("run", PROMPT, "--out", "run")
    failed = cli(*arguments)
    assert failed.exit_code == 2
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    assert complaint in failed.stderr


SLOW_DRAWING = """
import asyncio, sys
sys.path.insert(0, sys.argv.pop(1))
from fakes import *
from detailscribe.agent.cli import main

class Slow(FakeDiffusion):
    async def draw(self, attempt, store, *, source=None, progress=None):
        print("drawing", flush=True)
        await asyncio.sleep(0.5)
        return await super().draw(attempt, store, source=source, progress=progress)

stand_in(FakeDecomposer, lambda: Slow(writes_latents=True), lambda: ScriptedCritic(lambda image: "red"))
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_stops_after_the_step_and_says_how_to_go_on(cli, tmp_path):
    command = [sys.executable, "-c", SLOW_DRAWING, os.path.dirname(__file__), "run", PROMPT, "--out", "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.stdout.readline() != "drawing\n":
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == (
            "stopping after this step; Ctrl-C again stops at once\n"
            "stopped after this step; go on with: detailscribe resume run\n"
        )
    assert read_run(tmp_path / "run").images.keys() == {"00-00", "00-01"}
    assert cli("resume", "run").exit_code == 0
