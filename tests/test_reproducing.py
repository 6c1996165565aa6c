"""The page on the paper's tables: every command in it is one that the command line takes, and its sums are right."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from detailscribe.agent.cli import app
from detailscribe.agent.policies import resolve_policy
from detailscribe.agent.policies.paper import PUBLISHED_SEEDS, PUBLISHED_STEPS
from detailscribe.agent.presets import preset_named
from detailscribe.agent.settings import Settings, load_settings
from detailscribe.tools.language.prices import LIST_OF_2025_08
from detailscribe.tools.metrics import METRICS

PAGE = (Path(__file__).parent.parent / "docs" / "reproducing-the-paper.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in PAGE.splitlines() if line.startswith("    detailscribe ")]


def parsed(line):
    """The innermost command's arguments, which is not run; an error if it takes others."""
    _, *words = shlex.split(line)
    command, name = typer.main.get_command(app), ""
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    return command.make_context(name, words).params


def test_the_page_shows_each_of_the_four_commands():
    assert {shlex.split(line)[1] for line in COMMANDS} >= {"data", "batch", "evaluate", "rate", "ratings"}


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_taken_as_it_stands(line):
    given = parsed(line)
    if given.get("preset"):
        settings = load_settings(Settings(), {"run": {"preset": given["preset"]}})
        resolve_policy(given.get("policy") or settings.run.policy)
        assert preset_named(given["preset"]).summary
    if given.get("metrics"):
        assert set(given["metrics"].split(",")) <= set(METRICS)


def test_a_command_that_does_not_exist_would_be_noticed():
    with pytest.raises(Exception, match="No such option: --colour"):
        parsed("detailscribe evaluate runs --metrics judge --colour red")
    with pytest.raises(KeyError):
        parsed("detailscribe conjure")


def test_methods_have_the_same_names_for_metrics_and_for_people():
    full_size = [line for line in COMMANDS if "sd35=" in line]
    named = [re.findall(r"([\w-]+)=runs/", line) for line in full_size]
    assert len(named) == 2
    assert named[0] == named[1]
    outs = {re.search(r"--out (\S+)", line)[1] for line in COMMANDS if " batch " in line}
    assert {f"runs/{name}" for name in named[0]} <= outs


def test_evaluations_are_those_of_the_published_schedule():
    settings = load_settings(Settings(), {"run": {"preset": "paper"}}).run
    drawing = 2 * settings.steps
    refinements = sum(2 * (settings.steps - k) for k in PUBLISHED_STEPS)
    most = len(PUBLISHED_SEEDS) * drawing + refinements
    assert f"= {most} at most" in PAGE
    assert f"{drawing} + {2 * drawing} + {drawing} + {most} + {most} = {4 * drawing + 2 * most}" in PAGE
    assert f"--seed {PUBLISHED_SEEDS[0]}" in PAGE


def test_dollars_follow_from_the_tokens_and_the_price_list():
    price = LIST_OF_2025_08["gpt-4o"]
    decomposing, look, whole, correction, rewriting, rating = (
        round(price.of(*tokens), 4)
        for tokens in ((1200, 400), (1650, 450), (1400, 60), (600, 100), (400, 100), (1200, 80))
    )
    assert (decomposing, look, correction) == (0.007, 0.0086, 0.0025)
    assert f"{rewriting:.3f} |" in PAGE
    assert f"6 × ({whole} + {correction}) = {6 * (whole + correction):.3f} at most" in PAGE
    assert f"{decomposing} + 6 × (2 × {look} + {correction}) = {decomposing + 6 * (2 * look + correction):.3f}" in PAGE
    assert f"at {rating} dollars each {12000 * rating:.0f}" in PAGE
