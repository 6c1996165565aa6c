"""A run whose checkpoints lie on a Postgres server goes on after a kill, tells its steps, and can be forked."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from detailscribe.agent import arun, fork, history, read_run, resume, run
from detailscribe.state import Budget
from detailscribe.tools.errors import SettingsError

from .fakes import PROMPT, FakeDiffusion, roles
from .postgres import NoServerError, postgres_server

psycopg = pytest.importorskip("psycopg")

SCRIPT = {"00-00": "red holding", "00-01": "cat umbrella alone", "01-00": "red", "02-00": "red holding"}

KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from fakes import PROMPT, FakeDiffusion, roles
from detailscribe.agent import run
from detailscribe.state import Budget

class Dying(FakeDiffusion):
    async def draw(self, attempt, store, *, source=None, progress=None):
        if attempt.id == "02-00":
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().draw(attempt, store, source=source, progress=progress)

chosen = roles(eval(sys.argv[4]), diffusion=Dying(writes_latents=True))
run(PROMPT, out=sys.argv[2], seed=7, budget=Budget(rounds=2), settings={"run": {"checkpoints": sys.argv[3]}}, **chosen)
"""


@pytest.fixture(scope="module")
def url():
    try:
        with postgres_server() as url:
            yield url
    except NoServerError as missing:
        pytest.skip(f"needs a Postgres server of its own: {missing}")


def drawing(**changes):
    return roles(SCRIPT, diffusion=FakeDiffusion(writes_latents=True)) | changes


def begun(folder, url, **changes):
    settings = {"run": {"checkpoints": url}}
    return run(PROMPT, out=folder, seed=7, budget=Budget(rounds=2), settings=settings, **drawing(**changes))


@pytest.fixture
def whole(tmp_path):
    """The same run with its checkpoints in its folder."""
    return run(PROMPT, out=tmp_path / "whole", seed=7, budget=Budget(rounds=2), **drawing())


def test_a_killed_run_goes_on_from_the_server(url, whole, tmp_path):
    program = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path / "run"), url, repr(SCRIPT)]
    killed = subprocess.run(program, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    diffusion = FakeDiffusion(writes_latents=True)
    again = resume(tmp_path / "run", **drawing(diffusion=diffusion))
    assert [request.id for request in diffusion.requests] == ["02-00"]
    assert (again.decisions, again.result.images, again.stop) == (whole.decisions, whole.result.images, whole.stop)
    assert read_run(tmp_path / "run").status == "finished"
    assert not (tmp_path / "run" / "checkpoints.sqlite").exists()


def test_its_steps_are_told_and_forked(url, whole, tmp_path):
    done = begun(tmp_path / "run", url)
    told, known = history(done.folder), history(whole.folder)
    assert [(step.number, step.next, step.best) for step in told] == [(s.number, s.next, s.best) for s in known]
    again = fork(done.folder, 3, edits={"00-00.red": "pass", "00-00.holding": "pass"}, out=tmp_path / "f", **drawing())
    assert (again.stop, again.best.record.id) == ("all_pass", "00-00")
    assert [step.next for step in history(again.folder)][-1] == ()
    assert len(history(done.folder)) == len(told)


async def test_runs_that_meet_in_an_empty_database_do_not_disturb_each_other(url, tmp_path):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE meeting")
    settings = {"run": {"checkpoints": url.replace("/postgres", "/meeting")}}
    runs = (arun(PROMPT, out=tmp_path / f"{n}", settings=settings, **drawing()) for n in range(6))
    done = await asyncio.gather(*runs)
    assert len({run.decisions for run in done}) == 1


def test_a_server_that_does_not_answer_is_told_in_one_line(tmp_path):
    with pytest.raises(SettingsError, match=r"the checkpoints on postgresql://127\.0\.0\.1:1/runs cannot be used"):
        begun(tmp_path / "run", "postgresql://127.0.0.1:1/runs")
    assert not (tmp_path / "run").exists()
