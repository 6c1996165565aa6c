"""The commands, and a whole experiment with the models inside the package."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from detailscribe.agent.cli import app

TINY = """
question = "Is a second drawing better than a refinement?"
seeds = 1
settings.run.steps = 4

[prompts]
texts = ["a cat holding a red balloon"]

[[policies]]
policy = "best_of_n"
args = { n = 2 }

[[policies]]
policy = "single"
"""


@pytest.fixture
def cli(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("DETAILSCRIBE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tiny.toml").write_text(TINY)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_tiny_experiment_from_the_file_to_the_comparison(cli, tmp_path):
    done = cli("experiment", "tiny.toml")
    assert done.exit_code == 0, done.output
    assert "2 of 2 runs" in done.stdout
    assert "Against best_of_n" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["results  runs/tiny/summary.md", "page     runs/tiny/page.html"]
    assert "embedded-judge@" in (tmp_path / "runs/tiny/summary.md").read_text()
    again = cli("experiment", "tiny.toml")
    assert "2 of 2 runs are there already" in again.stdout
    compared = cli("compare", "runs/tiny", "runs/tiny", "--a", "best_of_n", "--b", "single", "--markdown")
    assert compared.exit_code == 0, compared.output
    assert "## single against best_of_n: 1 pairs of runs" in compared.stdout
    replayed = cli("replay", "runs/tiny/runs", "--policy", "best_of_n", "-p", "n=2")
    assert replayed.exit_code == 0, replayed.output
    assert "1 of 2 runs would have gone the same way" in replayed.stdout


def test_a_plan_is_told_and_nothing_is_run(cli, tmp_path):
    done = cli("experiment", "tiny.toml", "--check")
    assert done.stdout.splitlines()[-4:] == ["1 prompts, 1 seed(s), 2 variants:", "  best_of_n", "  single", "2 runs"]
    assert not (tmp_path / "runs").exists()


def test_trees_are_recorded_and_any_policy_is_scored_on_them(cli, tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY + "\n[tree]\ndrawings = 1\nrounds = 1\nstart_steps = [1]\n")
    told = cli("experiment", "tiny.toml", "--exhaustive", "--check")
    assert told.stdout.splitlines()[-1] == "1 prompts, 1 seed(s): 1 trees of at most 5 images"
    done = cli("experiment", "tiny.toml", "--exhaustive")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "  detailscribe replay runs/tiny-trees --policy NAME"
    scored = cli("replay", "runs/tiny-trees", "--policy", "best_of_n", "-p", "n=1")
    assert scored.exit_code == 0, scored.output
    assert "It never left a tree" in scored.stdout
    left = cli("replay", "runs/tiny-trees", "--policy", "best_of_n", "-p", "n=2")
    assert "a first drawing, seed" in left.stdout
    assert "record them with wider bounds" in left.stdout
    bounded = cli("replay", "runs/tiny-trees", "--policy", "best_of_n", "-p", "n=2", "-b", "images=1")
    assert "It never left a tree" in bounded.stdout
    wrong = cli("replay", "runs/tiny-trees", "--policy", "best_of_n", "-b", "pictures=1")
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("error: --bound pictures")


def test_failed_runs_are_reported_by_the_exit_status(cli, tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY.replace("a red balloon", "a xylophone"))
    done = cli("experiment", "tiny.toml")
    assert done.exit_code == 1
    assert "failed: single: a cat holding a xylophone: PromptError" in done.stdout
    assert "2 of 2 runs are missing" in (tmp_path / "runs/tiny/summary.md").read_text()


def test_a_full_disk_is_one_line_and_the_next_start_goes_on(cli, tmp_path, monkeypatch):
    def full(self, line):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("detailscribe.tools.files.JsonLines.append", full)
        done = cli("experiment", "tiny.toml")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("error: the disk is full: make room")
    assert cli("experiment", "tiny.toml").exit_code == 0


def test_every_mistake_of_a_file_is_one_line(cli, tmp_path):
    (tmp_path / "bad.toml").write_text(TINY.replace('"single"', '"singel"').replace("seeds", "seds"))
    done = cli("experiment", "bad.toml")
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        "error: bad.toml: seds: there is no such setting; did you mean 'seeds'?",
    ]
    (tmp_path / "bad.toml").write_text(TINY.replace('"single"', '"singel"'))
    [line] = cli("experiment", "bad.toml").stderr.splitlines()
    assert line.startswith("error: bad.toml: policies: singel: no policy 'singel'")


def test_nothing_to_compare_is_one_line(cli, tmp_path):
    done = cli("compare", ".", "none")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: . holds no finished experiment, batch or run")
    assert len(done.stderr.splitlines()) == 1


SLOW = """
import asyncio, sys
sys.path.insert(0, sys.argv.pop(1))
from tests.agent.fakes import *
from detailscribe.agent.cli import main

class Slow(FakeDiffusion):
    async def draw(self, attempt, store, **how):
        made = await super().draw(attempt, store, **how)
        print("drawn", flush=True)
        await asyncio.sleep(0.05)
        return made

stand_in(FakeDecomposer, Slow, lambda: ScriptedCritic(lambda image: "cat"))
main()
"""
SLOW_FILE = """
question = "What?"
seeds = 20
judge.kind = "critic"
prompts.texts = ["a cat", "a dog"]
policies = [{ policy = "best_of_n", args = { n = 1 } }]
"""


@pytest.mark.skipif(os.name == "nt", reason="sends SIGKILL")
def test_a_killed_process_goes_on_where_it_was(tmp_path):
    """The real process, killed in the middle; a second start brings all rows, the first ones as they were."""
    (tmp_path / "slow.toml").write_text(SLOW_FILE)
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    options = ("experiment", "slow.toml", "--out", "out", "--concurrency", "2")
    command = [sys.executable, "-c", SLOW, root, *options]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(15):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    kept = (tmp_path / "out" / "judged.jsonl").read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    assert 1 <= kept.count(b"\n") < 40
    time.sleep(0.1)
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    drawn = again.stdout.count("drawn\n")
    judged = (tmp_path / "out" / "judged.jsonl").read_bytes()
    assert judged.startswith(kept)
    assert judged.count(b"\n") == 40
    assert drawn <= 40 - kept.count(b"\n")
