"""``detailscribe batch --ray``."""

import os
import subprocess
import sys
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from detailscribe.agent.cli import app
from detailscribe.agent.records.rows import read_rows

from .conftest import MARK, processes_of


@pytest.mark.parametrize("option", [("--replicas", "2"), ("--gpus-per-replica", "1"), ("--store", "memory://x")])
def test_what_belongs_to_a_cluster_is_refused_without_one(option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["batch", "prompts.txt", *option])
    assert done.exit_code == 2
    assert "belong to --ray" in done.stderr


@pytest.mark.slow
def test_it_starts_a_cluster_and_says_so_and_ends_it(tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    (tmp_path / "prompts.txt").write_text("a cat holding a red umbrella\na xylophone\n")
    mark = uuid4().hex
    command = "batch prompts.txt --ray local --replicas 1 --steps 2 --policy best_of_n -p n=1 --out out"
    done = subprocess.run(
        [sys.executable, "-m", "detailscribe.agent.cli", *command.split()],
        cwd=tmp_path,
        env=os.environ | {MARK: mark},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "started a Ray cluster on this machine" in done.stderr
    assert "replica 1 is up on" in done.stderr
    assert "2 prompts: 1 done, 1 failed" in done.stdout
    assert {row.prompt: row.error for row in read_rows(tmp_path / "out")} == {
        "a cat holding a red umbrella": None,
        "a xylophone": "PromptError",
    }
    assert processes_of(mark) == []
