"""Runs that are killed at every kind of moment go on to the end that they would have come to.

``python tests/agent/killing.py FOLDER 1`` takes every moment, in some minutes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process of its own for each run")


def kills(folder, stride):
    """Moments that a run has, after killing it at every ``stride``-th."""
    program = [sys.executable, "-W", "error", str(Path(__file__).with_name("killing.py")), str(folder), str(stride)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return int(done.stdout)


def test_a_run_killed_at_chosen_moments_twice_each_comes_to_the_same_end(tmp_path):
    assert kills(tmp_path, stride=31) > 100
