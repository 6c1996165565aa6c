"""Runs that are killed at every kind of moment go on to the end that they would have come to.

``python tests/agent/killing.py FOLDER 1`` takes every moment, in some minutes; ``python
tests/agent/killing_embedded.py FOLDER 100 0 runs batches experiments`` takes as many random ones of the embedded
models.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process of its own for each run")


def printed(script, *arguments):
    """What a script beside this file prints."""
    program = [sys.executable, "-W", "error", str(Path(__file__).with_name(script)), *map(str, arguments)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_a_run_killed_at_chosen_moments_twice_each_comes_to_the_same_end(tmp_path):
    moments, repeated = map(int, printed("killing.py", tmp_path, 31).split())
    assert moments > 100
    assert repeated <= 2  # those that were killed between the end of a call and its record


@pytest.mark.slow
def test_the_embedded_models_go_on_after_a_kill_at_random(tmp_path):
    kinds = ["runs", "batches", "experiments"]
    lines = printed("killing_embedded.py", tmp_path, 2, 5, *kinds).splitlines()
    assert [line.split()[0] for line in lines] == [kind for kind in kinds for _ in range(2)]
