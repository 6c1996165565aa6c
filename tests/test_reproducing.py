"""The page on the paper's tables: every command in it is one that the command line takes, and its sums are right."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from detailscribe.agent.cli import app
from detailscribe.agent.cli.batch import load_methods
from detailscribe.agent.policies import resolve_policy
from detailscribe.agent.policies.baselines import PUBLISHED_STEPS
from detailscribe.agent.settings.loading import load_settings
from detailscribe.agent.settings.presets import PUBLISHED_SEEDS, preset_named
from detailscribe.agent.settings.settings import Settings
from detailscribe.tools.language.settings import ChatSettings, cost_of
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


def section(title):
    """The commands under a heading."""
    lines = PAGE.partition(f"## {title}")[2].partition("\n## ")[0].splitlines()
    return [line.strip() for line in lines if line.startswith("    detailscribe ")]


@pytest.mark.parametrize("title", ["With full-size models", "Today, on a laptop"])
def test_four_commands_make_the_tables_and_a_fifth_reads_what_people_answered(title):
    words = [shlex.split(line)[1] for line in section(title)]
    assert words[:4] == ["data", "batch", "evaluate", "rate"]
    assert words[4:] in ([], ["ratings"])


def test_each_command_takes_what_the_one_before_it_leaves():
    for title in ("With full-size models", "Today, on a laptop"):
        data, batch, evaluate, rate = (parsed(line) for line in section(title)[:4])
        assert batch["prompts"] == str(data["out"])
        assert evaluate["runs"] == rate["runs"] == [str(batch["out"])]
        assert evaluate["against"] in (None, *batch["methods"].split(","))
        if title.startswith("With"):
            ratings = parsed(section(title)[4])
            assert ratings["scores"] == [evaluate["out"]]
            assert ratings["key"] == rate["out"].with_suffix(".key.json")
            assert ratings["against"] == evaluate["against"]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_taken_as_it_stands(line):
    given = parsed(line)
    if given.get("preset"):
        settings = load_settings(Settings(), {"run": {"preset": given["preset"]}})
        resolve_policy(given.get("policy") or settings.run.policy)
        assert preset_named(given["preset"]).summary
    if given.get("methods"):
        names, run = given["methods"].split(","), {"preset": given["preset"] or "embedded"}
        assert list(load_methods(names, {"run": run}, Path("runs"), None)) == names
    if given.get("metrics"):
        assert set(given["metrics"].split(",")) <= set(METRICS)


def test_a_command_that_does_not_exist_would_be_noticed():
    with pytest.raises(Exception, match="No such option: --colour"):
        parsed("detailscribe evaluate runs --metrics judge --colour red")
    with pytest.raises(KeyError):
        parsed("detailscribe conjure")


def test_every_method_of_the_commands_is_told_of():
    table = PAGE.partition("| method | what it does without |")[2].partition("\n\n")[0]
    told = {re.sub("-by-.*", "-by-METRIC", name) for name in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)}
    used = {name for line in COMMANDS if (listed := parsed(line).get("methods")) for name in listed.split(",")}
    assert {re.sub("^best-.*by-.*", "best-by-METRIC", name) for name in used} <= told


def test_the_measured_table_has_a_row_for_each_method_of_its_command():
    measured = PAGE.partition("## Today, on a laptop")[2].partition("\n## ")[0]
    batch = next(parsed(line) for line in section("Today, on a laptop") if " batch " in line)
    rows = re.findall(r"^\| `([^`]+)` \| \d", measured, re.MULTILINE)
    assert sorted(rows) == sorted(batch["methods"].split(","))


def test_evaluations_are_those_of_the_published_schedule():
    settings = load_settings(Settings(), {"run": {"preset": "paper"}}).run
    drawing = 2 * settings.steps
    refinements = sum(2 * (settings.steps - k) for k in PUBLISHED_STEPS)
    sweep, pair = drawing + refinements, 2 * drawing
    assert f"= {sweep} |" in PAGE
    total = f"{drawing} + {pair} + {drawing} + {pair} + {sweep} + {sweep} = {2 * (drawing + pair + sweep)}"
    assert total in PAGE
    assert all(str(seed) in PAGE for seed in PUBLISHED_SEEDS)


def test_dollars_follow_from_the_tokens_and_the_price_list():
    chat = ChatSettings(model="gpt-4o")
    decomposing, look, whole, correction, rewriting, rating = (
        round(cost_of(chat, *tokens), 4)
        for tokens in ((1200, 400), (1650, 450), (1400, 60), (600, 100), (400, 100), (1200, 80))
    )
    assert (decomposing, look, correction) == (0.007, 0.0086, 0.0025)
    assert f"{rewriting:.3f} |" in PAGE
    for images in (2, 5):
        assert f"{images} × ({whole} + {correction}) = {images * (whole + correction):.3f} at most" in PAGE
    assert f"{decomposing} + 5 × (2 × {look} + {correction}) = {decomposing + 5 * (2 * look + correction):.3f}" in PAGE
    assert f"at {rating} dollars each {14000 * rating:.0f}" in PAGE
