"""What the terminal shows while a run goes on."""

import io

import pytest

from detailscribe.agent.records.events import Advised, Compared, Denoising, Failed, ImageMade, Resumed
from detailscribe.agent.views.live import Live
from detailscribe.agent.views.terminal import PlainConsole
from detailscribe.state import Advice, Choice, Comparison

from .fakes import record


@pytest.fixture
def terminal():
    return PlainConsole(file=io.StringIO(), force_terminal=True, width=100, highlight=False)


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


CHOICES = (Choice(image="00-00", action="refine", reason="x"), Choice(image="00-01", action="stop", reason="y"))
PAIR = Comparison(first="00-00", second="00-01", better="00-01", reason="it has \x1b]0;title\x07 a fox")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Advised(run="r", round=0, advice=Advice(round=0, choices=CHOICES)), "advice: refine 00-00, stop 00-01"),
        (Advised(run="r", round=0, advice=Advice(round=0, silence="no answer came")), "advice: no answer came"),
        (Compared(run="r", round=0, comparison=PAIR), "compared 00-00 and 00-01: 00-01 is better: it has"),
        (Resumed(run="r"), "going on with r"),
    ],
)
def test_advice_comparisons_and_a_second_start_are_told(terminal, event, line):
    with Live(terminal) as live:
        live(event)
    assert line in terminal.file.getvalue()


def test_no_text_of_a_model_commands_the_terminal(terminal):
    Live(terminal)(Compared(run="r", comparison=PAIR))
    assert "title" in terminal.file.getvalue()
    assert "\x1b]0;" not in terminal.file.getvalue()
