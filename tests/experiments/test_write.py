"""Tables, plots and the page."""

import csv
import io
import re
import sys
import xml.etree.ElementTree as ET

import pytest

from detailscribe.agent.evaluation.statistics import Interval
from detailscribe.agent.evaluation.tables import Column, Table, for_terminal, markdown
from detailscribe.agent.experiments import plots, write
from detailscribe.agent.experiments.plots import figures_of
from detailscribe.agent.experiments.rows import read_experiment_rows
from detailscribe.agent.experiments.run import arun_experiment
from detailscribe.agent.experiments.write import wins_and_losses, write_results

from .small import Fakes, image, row, small

TABLE = Table(
    "Some figures",
    (Column("name"), Column("share", "share"), Column("gain", "points"), Column("p", "p"), Column("count", "number")),
    (("a | b", Interval(0.5, 0.25, 0.75), Interval(0.1, -0.05, 0.2), 0.0004, 3.0), ("c", None, None, 0.25, None)),
    "A note.",
)


def test_a_table_as_markdown():
    assert markdown(TABLE).splitlines() == [
        "## Some figures",
        "",
        "| name   |                share |                   gain |      p | count |",
        "| ------ | -------------------: | ---------------------: | -----: | ----: |",
        "| a \\| b | 50.0% (25.0 to 75.0) | +10.0% (-5.0 to +20.0) | <0.001 |   3.0 |",
        "| c      |                    - |                      - |  0.250 |     - |",
        "",
        "A note.",
    ]


def test_a_table_as_plain_numbers():
    lines = list(csv.reader(io.StringIO(TABLE.frame.to_csv(index=False, lineterminator="\n"))))
    assert lines[0] == ["name", "share", "share low", "share high", "gain", "gain low", "gain high", "p", "count"]
    assert lines[1] == ["a | b", "0.5", "0.25", "0.75", "0.1", "-0.05", "0.2", "0.0004", "3.0"]
    assert lines[2] == ["c", "", "", "", "", "", "", "0.25", ""]


def test_a_table_on_the_terminal_takes_labels_as_they_are():
    from rich.console import Console

    out = io.StringIO()
    table = Table("[red]", (Column("name"),), (("[bold]x",),))
    Console(file=out, width=80).print(for_terminal(table))
    assert "[bold]x" in out.getvalue()
    assert "[red]" in out.getvalue()


GRID = [{"policy": "multi_round", "grid": {"rounds": [1, 2]}}]


def test_figures_are_drawn_along_grids_and_rounds():
    experiment = small(policies=GRID)
    line = (image("00-00", "red"), image("01-00", "", "00-00"))
    rows = [row("multi_round rounds=1", "p", line[0]), row("multi_round rounds=2", "p", *line)]
    figures = {figure.name: figure for figure in figures_of(rows, experiment.variants)}
    assert set(figures) == {
        *("frontier_evaluations", "frontier_images", "frontier_critic_calls", "frontier_seconds"),
        *("sweep_policy_rounds", "rounds_chosen", "rounds_newest"),
    }
    points = figures["frontier_evaluations"].points
    assert points[["name", "x", "value"]].values.tolist() == [["multi_round", 56.0, 0.0], ["multi_round", 112.0, 1.0]]
    assert list(figures["sweep_policy_rounds"].points["x"]) == [1.0, 2.0]
    points = figures["rounds_chosen"].points
    assert list(points[points["name"] == "rounds=2"]["value"]) == [0.0, 1.0]


def test_what_differs_by_words_is_not_joined():
    experiment = small(
        policies=[{"policy": "single", "grid": {"operator": ["inject", "resume"], "start_step": [0, 4]}}]
    )
    rows = [row(v.label, "p", *[image("00-00")] * n) for n, v in enumerate(experiment.variants, 1)]
    frontier, *_ = figures_of(rows, experiment.variants)
    assert frontier.points[["name", "x"]].values.tolist() == [
        ["single operator=inject", 56.0],
        ["single operator=inject", 112.0],
        ["single operator=resume", 168.0],
        ["single operator=resume", 224.0],
    ]


def test_a_plot_is_the_same_each_time_and_names_its_curves():
    experiment = small(policies=GRID)
    rows = [row("multi_round rounds=1", "p", image("00-00")), row("multi_round rounds=2", "p", *[image("00-00")] * 2)]
    figure = figures_of(rows, experiment.variants)[0]
    drawn = plots.draw(figure).decode()
    assert drawn == plots.draw(figure).decode()
    assert ET.fromstring(drawn).tag.endswith("svg")
    assert "multi_round" in drawn
    assert "all correct, %" in drawn


def test_many_curves_have_a_panel_for_each_policy():
    grid = {"budget.evaluations": [100, 200, 300]}
    names = ("best_of_n", "multi_round", "adaptive", "random")
    experiment = small(policies=[{"policy": name, "grid": grid} for name in names])
    rows = [row(v.label, "p", image("00-00"), image("01-00", "", "00-00")) for v in experiment.variants]
    figure = next(f for f in figures_of(rows, experiment.variants) if f.name == "rounds_chosen")
    assert figure.points.groupby(["group", "name"]).ngroups == 12 > plots.MOST_CURVES
    drawn = plots.draw(figure).decode()
    texts = [element.text for element in ET.fromstring(drawn).iter() if element.tag.endswith("}text")]
    assert [texts.count(name) for name in names] == [1, 1, 1, 1]
    assert [texts.count(f"budget.evaluations={bound}") for bound in (100, 200, 300)] == [1, 1, 1]


def test_the_largest_wins_and_losses_are_shown_once_a_prompt():
    bad, worse, good = image("00-00", "red"), image("00-00", "red cat"), image("00-00")
    rows = [row("base", "p", worse), row("base", "q", good), row("base", "r", bad)]
    rows += [row("x", "p", good), row("x", "q", bad), row("x", "r", bad), row("y", "p", bad)]
    wins, losses = wins_and_losses(rows, "base")
    assert [(ours.label, ours.prompt, theirs.label) for ours, theirs in wins] == [("x", "p", "base")]
    assert [(ours.prompt, ours.chosen.judge["red"]) for ours, _ in losses] == [("q", "fail")]


def test_the_largest_win_comes_first_whatever_else_its_prompt_has():
    rows = [row("base", p, image("00-00", "red cat holding")) for p in "pq"]
    rows += [
        row("x", "p", image("00-00")),
        row("x", "q", image("00-00", "cat")),
        row("y", "p", image("00-00", "red cat")),
    ]
    wins, _ = wins_and_losses(rows, "base")
    assert [(ours.label, ours.prompt) for ours, _ in wins] == [("x", "p"), ("x", "q")]


@pytest.fixture
async def left(tmp_path):
    """A small experiment that has left all it leaves."""
    fakes, experiment = Fakes(), small(policies=[{"policy": "single"}, {"policy": "best_of_n", "args": {"n": 1}}])
    fakes.judge.script = lambda seen: "red" if seen.round == 0 and seen.seed % 2 else ""
    rows = await arun_experiment(experiment, tmp_path / "<out>", *fakes.models(experiment))
    write_results(experiment, rows, tmp_path / "<out>")
    return tmp_path / "<out>", rows


async def test_an_experiment_leaves_tables_plots_rows_and_a_page(left):
    out, rows = left
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if "runs" not in path.parts}
    assert {"summary.md", "page.html", "images.csv", "rows.jsonl", "manifest.json", "experiment.toml"} <= names
    assert {"tables/summary.csv", "tables/against_baseline.csv", "plots/frontier_evaluations.svg"} <= names
    assert read_experiment_rows(out / "rows.jsonl") == rows
    assert (out / "summary.md").read_text().startswith("# small\n\nIs refining better than drawing?")
    table = list(csv.DictReader(io.StringIO((out / "images.csv").read_text())))
    assert len(table) == sum(len(row.images) for row in rows)
    assert sum(line["chosen"] == "True" for line in table) == len(rows)


async def test_the_page_needs_nothing_else(left):
    page = (left[0] / "page.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) > 5
    assert all(source.startswith("data:") for source in sources)
    assert "Largest losses against single" in page


async def test_hostile_text_is_shown_as_text(tmp_path):
    experiment = small(question="<script>alert(1)</script>", prompts={"texts": ["a <b>cat</b> | here"]})
    rows = await arun_experiment(experiment, tmp_path / "out", *Fakes().models(experiment))
    write_results(experiment, rows, tmp_path / "out")
    page = (tmp_path / "out" / "page.html").read_text()
    assert "<script>" not in page
    assert "<b>cat" not in page


async def test_without_matplotlib_everything_but_the_plots_is_there(left, monkeypatch):
    out, rows = left
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    experiment = small(policies=[{"policy": "single"}, {"policy": "best_of_n", "args": {"n": 1}}])
    write_results(experiment, rows, out / "again")
    assert (out / "again" / "page.html").exists()
    assert not (out / "again" / "plots").exists()


async def test_labels_are_drawn_as_they_are(tmp_path):
    experiment = small(
        policies=[{"policy": "single", "label": "a $x_ label, 50$"}, {"policy": "best_of_n", "label": "$"}]
    )
    rows = [row(v.label, "p", image("00-00"), image("01-00", "", "00-00")) for v in experiment.variants]
    write_results(experiment, rows, tmp_path)
    assert "a $x_ label, 50$" in (tmp_path / "plots" / "rounds_chosen.svg").read_text()


def test_a_plot_that_cannot_be_drawn_takes_nothing_else_along(tmp_path, monkeypatch):
    def broken(figure):
        if figure.name.startswith("rounds"):
            raise ValueError("no such font")
        return b"<svg/>"

    monkeypatch.setattr(write, "draw", broken)
    experiment = small(policies=[{"policy": "single"}])
    write_results(experiment, [row("single", "p", image("00-00"), image("01-00", "", "00-00"))], tmp_path)
    assert (tmp_path / "tables" / "summary.csv").exists()
    for name in ("summary.md", "page.html"):
        text = (tmp_path / name).read_text()
        assert "no such font" in text
        assert "Quality and cost" in text


def test_rows_and_tables_are_written_before_any_plot(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "draw", lambda figure: sys.exit(9))
    rows = [row("single", "p", image("00-00"), image("01-00", "", "00-00"))]
    with pytest.raises(SystemExit):
        write_results(small(policies=[{"policy": "single"}]), rows, tmp_path)
    assert read_experiment_rows(tmp_path / "rows.jsonl") == rows
    assert {"summary.md", "images.csv", "tables"} <= {path.name for path in tmp_path.iterdir()}


def test_tables_with_missing_runs_say_so_at_their_head(tmp_path):
    rows = [row("single", "p", image("00-00")), row("single", "q", image("00-00"))]
    rows[1] = rows[1].model_copy(update={"error": "it broke", "images": ()})
    tables = write_results(small(policies=[{"policy": "single"}]), rows, tmp_path)
    assert {table.title.rpartition(": ")[2] for table in tables.values()} == {"1 of 2 runs are missing"}
    assert "1 of 2 runs are missing" in (tmp_path / "page.html").read_text()


async def test_an_experiment_with_nothing_done_still_says_so(tmp_path):
    tables = write_results(small(), [], tmp_path)
    assert tables == {}
    assert "0 prompts" in (tmp_path / "summary.md").read_text()
