"""What the terminal shows while a run goes on."""

import io

import pytest
from rich.console import Console

from detailscribe.agent.traces.events import Denoising, Failed, ImageMade
from detailscribe.agent.traces.live import Live

from .fakes import record


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=100, highlight=False)


def step(done):
    return Denoising(run="r", image="00-00", done=done, steps=28)


def test_a_bar_follows_the_denoising_of_each_image(terminal):
    with Live(terminal) as live:
        live(step(14))
    assert "denoising 00-00" in terminal.file.getvalue()
    assert "14/28" in terminal.file.getvalue()


def test_a_step_told_after_its_image_brings_no_bar_back(terminal):
    with Live(terminal) as live:
        live(step(27))
        live(ImageMade(run="r", image="00-00", record=record("00-00")))
        terminal.file.truncate(0)
        live(step(28))
    assert "denoising" not in terminal.file.getvalue()


def test_a_failure_is_told_in_one_line(terminal):
    with Live(terminal) as live:
        live(Failed(run="r", node="refine", round=1, error="ModelError", message="[/] no weights"))
    assert "round 1  refine failed: ModelError" in terminal.file.getvalue()
