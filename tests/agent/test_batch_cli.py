"""``detailscribe batch``: what it prints, with which status it ends, and how it says no."""

import io
import json
import os
import re
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from detailscribe.agent import run_batch
from detailscribe.agent.cli import app
from detailscribe.agent.records.events import Denoising, NodeStarted, RunStarted
from detailscribe.agent.records.rows import Progress, Tally, read_rows
from detailscribe.agent.views.live import BatchLive
from detailscribe.state import Budget
from detailscribe.tools.errors import ModelError

from .fakes import FakeDecomposer, FakeDiffusion, ScriptedCritic, roles, stand_in

GOOD = '{"prompt": "a cat", "id": "first"}\n{"prompt": "a dog", "id": "second", "seed": 3}\n'


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Invokes the command in an empty folder, with fakes for the preset's models."""
    for name in [name for name in os.environ if name.startswith(("DETAILSCRIBE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    stand_in(FakeDecomposer, FakeDiffusion, lambda: ScriptedCritic({"00-00": "red"}), monkeypatch.setattr)

    def invoke(*arguments, stdin=None):
        return CliRunner().invoke(app, ["batch", *(str(a) for a in arguments)], input=stdin)

    return invoke


def test_each_prompt_has_a_line_and_all_have_a_summary(cli, tmp_path):
    (tmp_path / "p.jsonl").write_text(GOOD)
    done = cli("p.jsonl", "--policy", "single", "--concurrency", 1)
    assert done.exit_code == 0, done.output
    first, one, two, total, results = done.stdout.splitlines()
    assert first == "2 prompts; folder runs/p"
    assert re.fullmatch(r"1/2  done    first  5 of 5 checks pass  2 images  \d+\.\d s  all_pass", one)
    assert re.fullmatch(r"2/2  done    second  5 of 5 checks pass  2 images  \d+\.\d s  all_pass", two)
    assert re.fullmatch(r"2 prompts: 2 done, 0 failed; all correct 100\.0%; 4 images, \d+ evaluations; \d+ s", total)
    assert results == "results  runs/p/results.jsonl"
    assert [row.id for row in read_rows(tmp_path / "runs" / "p")] == ["first", "second"]


def test_a_failed_prompt_is_a_line_and_the_status_is_1(cli, tmp_path):
    (tmp_path / "p.txt").write_text("a xylophone\na cat\n")
    done = cli("p.txt", "--out", "out")
    assert done.exit_code == 1
    assert re.search(r"failed  xylophone-\w{8}  PromptError: it does not know these words: xylophone", done.stdout)
    assert "2 prompts: 1 done, 1 failed" in done.stdout
    again = cli("p.txt", "--out", "out")
    assert (again.exit_code, again.stdout.splitlines()[0]) == (1, "2 prompts, 2 of them before this start; folder out")


def test_options_hold_for_every_prompt_that_says_nothing_else(cli, tmp_path):
    (tmp_path / "p.jsonl").write_text(GOOD)
    options = ("--policy", "best_of_n", "-p", "n=2", "--seed", 5, "--images", 7, "--rounds", 1, "--guidance", 2.5)
    assert cli("p.jsonl", *options).exit_code == 0
    first, second = sorted(read_rows(tmp_path / "runs" / "p"), key=lambda row: row.id)
    assert (first.seed, second.seed) == (5, 3)
    assert first.policy == second.policy == "BestOfN(n=2, seeds=())"
    assert first.budget == second.budget == Budget(images=7, rounds=1)
    manifest = json.loads((tmp_path / "runs" / "p" / "batch.json").read_bytes())
    assert (manifest["source"], manifest["settings"]["run"]["guidance"]) == ("p.jsonl", 2.5)
    assert manifest["models"]["diffusion"] == "fake@0"


def test_prompts_can_come_down_a_pipe(cli, tmp_path):
    done = cli("-", "--quiet", stdin="a cat\na dog\n")
    assert done.exit_code == 0, done.output
    folder = done.stdout.strip()
    assert folder.startswith("runs/batch-")
    assert len(list(read_rows(tmp_path / folder))) == 2


def test_rows_alone_can_be_kept(cli, tmp_path):
    (tmp_path / "p.txt").write_text("a cat\n")
    assert cli("p.txt", "--no-runs").exit_code == 0
    assert list((tmp_path / "runs" / "p" / "runs").iterdir()) == []


def test_failed_prompts_are_run_again_on_demand(cli, tmp_path, monkeypatch):
    (tmp_path / "p.txt").write_text("a cat\na dog\n")
    with monkeypatch.context() as patch:
        stand_in(FakeDecomposer, lambda: FakeDiffusion(breaks_at="00-00"), lambda: ScriptedCritic({}), patch.setattr)
        assert cli("p.txt").exit_code == 1
    assert cli("p.txt").exit_code == 1, "they are not run again unasked"
    assert cli("p.txt", "--retry-failed").exit_code == 0
    assert [row.status for row in read_rows(tmp_path / "runs" / "p")] == ["done", "done"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["absent.txt"], "cannot read absent.txt: No such file"),
        (["bad.jsonl"], "line 1 of bad.jsonl is no JSON"),
        (["twice.jsonl"], "line 2 of twice.jsonl has the id 'x', which line 1 of twice.jsonl has already"),
        (["good.txt", "--policy", "adaptve"], "did you mean 'adaptive'"),
        (["good.txt", "-p", "images"], "should read key=value"),
        (["good.txt", "--seed", "-1"], "seed: Input should be greater"),
        (["good.txt", "--out", "full"], "is not empty and holds no batch"),
        (["good.txt", "--out", "good.txt"], "cannot write to the folder"),
        (["good.txt", "--settings", "absent.toml"], "No such file"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_leaves_nothing(cli, tmp_path, arguments, complaint):
    (tmp_path / "bad.jsonl").write_text("{")
    (tmp_path / "twice.jsonl").write_text('{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}')
    (tmp_path / "good.txt").write_text("a cat")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    before = sorted(tmp_path.rglob("*"))
    done = cli(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_that_breaks_on_the_way_says_how_to_go_on(cli, tmp_path, monkeypatch):
    class Mortal(FakeDiffusion):
        async def draw(self, attempt, store, *, source=None, progress=None):
            if len(self.requests) >= 2:
                raise ModelError("the server is gone:\nstart it again")
            return await super().draw(attempt, store, source=source, progress=progress)

    (tmp_path / "p.txt").write_text("a cat\na dog\na pig\na hen\n")
    stand_in(FakeDecomposer, Mortal, lambda: ScriptedCritic({}), monkeypatch.setattr)
    done = cli("p.txt", "--policy", "single", "--concurrency", 1)
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        "2 of 4 prompts have a row; the same command with --out runs/p goes on",
        "error: the server is gone: start it again",
    ]
    stand_in(FakeDecomposer, Mortal, lambda: ScriptedCritic({}), monkeypatch.setattr)
    again = cli("p.txt", "--policy", "single", "--concurrency", 1)
    assert again.exit_code == 0, "a new process has a server again"
    assert again.stdout.splitlines()[0] == "4 prompts, 2 of them before this start; folder runs/p"


def test_a_terminal_sees_a_table_that_goes_with_the_batch(tmp_path):
    told = io.StringIO()
    with BatchLive(Console(file=told, force_terminal=True, width=120, height=40)) as live:
        run_batch(
            ["a cat [red]", "a xylophone", "a dog"],
            out=tmp_path / "out",
            **roles({}),
            on_event=live.on_event,
            on_progress=live.on_progress,
        )
        told_by_then = told.getvalue()
        table = Console(file=io.StringIO(), width=120)
        table.print(live._table())
    assert "3 prompts; folder" in told_by_then
    assert "PromptError" in told_by_then, "what failed stays above the table"
    assert "done    cat" not in told_by_then
    assert re.search(
        r"prompts\s+done\s+failed\s+running\s+all correct\s+images\s+evaluations/s\s+left\n"
        r"\s*3/3\s+2\s+1\s+0\s+100\.0%\s+4\s+\d+\s+0 s\s*\n",
        table.file.getvalue(),
    )


def test_the_table_says_what_each_run_in_flight_does_and_when_it_will_end(tmp_path):
    now = [100.0]
    live = BatchLive(Console(file=io.StringIO(), width=120), clock=lambda: now[0])
    progress = Progress(tmp_path, 10, 8, Tally(done=2))
    live.on_progress(progress, None)
    live.on_event(RunStarted(run="one", prompt="p", seed=0, policy="P", budget=Budget()))
    live.on_event(RunStarted(run="two", prompt="p", seed=0, policy="P", budget=Budget()))
    live.on_event(NodeStarted(run="one", node="critique", round=1, task="t"))
    live.on_event(Denoising(run="two", image="00-01", done=3, steps=28))
    table = Console(file=io.StringIO(), width=120)
    table.print(live._table())
    text = table.file.getvalue()
    assert "one  round 1: looking at the images" in text
    assert "two  denoising 00-01, step 3 of 28" in text
    assert live.remaining is None
    [row] = run_batch(["a cat"], out=tmp_path / "out", **roles({})).rows()
    now[0] += 10
    live.on_progress(progress, row)
    assert live.remaining == 70
