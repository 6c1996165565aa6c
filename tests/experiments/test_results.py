"""What is said of the shipped results stands in their tables."""

import re
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
SECTIONS = dict(
    re.findall(r"^## (\w+):.*?\n(.*?)(?=^## |\Z)", (RESULTS / "README.md").read_text(encoding="utf-8"), re.M | re.S)
)
FIGURE = re.compile(r"[+-]?\d+\.\d% \([+-]?\d+\.\d to [+-]?\d+\.\d\)")


@pytest.mark.parametrize("name", SECTIONS)
def test_every_figure_with_an_interval_stands_in_a_table(name):
    tables = "".join(path.read_text(encoding="utf-8") for path in (RESULTS / name).glob("*.md"))
    quoted = FIGURE.findall(SECTIONS[name])
    assert quoted
    assert [figure for figure in quoted if figure not in tables] == []


@pytest.mark.parametrize("name", SECTIONS)
def test_the_number_of_runs_is_that_of_the_tables(name):
    [runs] = re.findall(r"(\d+) runs\. \[Tables\]", SECTIONS[name])
    summary = (RESULTS / name / "summary.md").read_text(encoding="utf-8")
    assert f"{runs} runs. Judge: " in summary


def test_every_folder_of_results_is_told_of():
    assert {path.parent.name for path in RESULTS.glob("*/summary.md")} == set(SECTIONS)
