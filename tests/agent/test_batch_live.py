"""The lines of a batch, whatever the prompts and the servers of others say."""

import pytest

from detailscribe.agent.batch.live import told
from detailscribe.agent.batch.rows import Row
from detailscribe.state import Budget

CLEAR = "\x1b[2J"
"""Clears a terminal."""


@pytest.mark.parametrize("status", ["done", "failed"])
def test_no_word_of_anybodys_commands_the_terminal(status):
    row = Row(
        id=f"fox{CLEAR}",
        status=status,
        prompt="a fox",
        seed=0,
        policy="Single()",
        budget=Budget(),
        error="ModelError",
        message=f"the server says {CLEAR}",
    )
    assert "fox" in told(row)
    assert told(row).isprintable()
