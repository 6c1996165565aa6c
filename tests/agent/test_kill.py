"""Runs that are killed at every kind of moment go on to the end that they would have come to.

``python tests/agent/killing.py FOLDER 1`` takes every moment, in some minutes; ``python
tests/agent/killing_embedded.py FOLDER 100 0 runs batches`` takes as many random ones of the embedded models.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process of its own for each run")


def told(script, *arguments):
    """What a script beside this file prints."""
    program = [sys.executable, "-W", "error", str(Path(__file__).with_name(script)), *map(str, arguments)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_a_run_killed_at_chosen_moments_twice_each_comes_to_the_same_end(tmp_path):
    assert int(told("killing.py", tmp_path, 31)) > 100


@pytest.mark.slow
def test_runs_and_batches_of_the_embedded_models_go_on_after_a_kill_at_random(tmp_path):
    lines = told("killing_embedded.py", tmp_path, 2, 5, "runs", "batches").splitlines()
    assert [line.split()[0] for line in lines] == ["runs", "runs", "batches", "batches"]
