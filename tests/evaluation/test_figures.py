"""Means, deviations, standard errors and win rates, against figures worked out by hand."""

import math

import pytest

from detailscribe.agent.evaluation.figures import costs_of, figures_of, long_table, reasons, wide_table
from detailscribe.agent.evaluation.measure import Measurement
from detailscribe.agent.evaluation.tables import latex, markdown
from detailscribe.state import Spend


def measured(method: str, prompt: str, value: float | None, scenario: str = "s", metric: str = "m", **more: object):
    fields = {"method": method, "prompt": prompt, "value": value, "scenario": scenario, "metric": metric}
    fields |= {"subclass": "", "run": prompt, "image": "00-00", "seed": 0}
    return Measurement(**fields, reason=None if value is not None else str(more.pop("reason", "blurred")), **more)


def values(method: str, *found: float | None, scenario: str = "s", metric: str = "m"):
    return [measured(method, f"p{n}", value, scenario, metric) for n, value in enumerate(found)]


def figure(measurements, method: str, scenario: str = "all", baseline: str | None = None):
    [found] = [f for f in figures_of(measurements, baseline) if (f.method, f.scenario) == (method, scenario)]
    return found


def test_mean_deviation_and_standard_error_of_a_sample():
    found = figure(values("a", 1, 2, 3, 6), "a")
    assert found.mean == 3
    assert found.deviation == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))
    assert found.error == pytest.approx(found.deviation / 2)


def test_images_of_one_prompt_are_averaged_first():
    """Many seeds of one prompt are no more evidence of other prompts than one."""
    several = [measured("a", "p0", value) for value in (0.0, 1.0, 1.0, 0.0)]
    found = figure([*several, measured("a", "p1", 1.0)], "a")
    assert (found.mean, found.prompts, found.images) == (0.75, 2, 5)
    assert found.deviation == pytest.approx(math.sqrt(0.125))


def test_a_single_prompt_has_no_deviation():
    found = figure(values("a", 1.0), "a")
    assert (found.mean, found.deviation, found.error) == (1.0, None, None)


def test_wins_are_counted_prompt_by_prompt_a_tie_as_half():
    both = values("base", 1, 2, 3, 4) + values("ours", 2, 2, 1, 5)
    assert (figure(both, "ours").win_rate, figure(both, "ours").pairs) == (2.5 / 4, 4)
    assert figure(both, "base").win_rate is None
    assert figure(both, "base", baseline="ours").win_rate == 1.5 / 4


def test_ties_within_rounding_are_ties():
    both = values("base", 0.1 + 0.2) + values("ours", 0.3)
    assert figure(both, "ours").win_rate == 0.5


def test_only_prompts_that_both_have_a_value_for_are_compared():
    both = [
        *values("base", 1, None, 3),
        measured("ours", "p1", 9),
        measured("ours", "p2", 4),
        measured("ours", "p7", 0),
    ]
    found = figure(both, "ours")
    assert (found.win_rate, found.pairs, found.prompts) == (1.0, 1, 3)


def test_what_is_missing_is_counted_and_lowers_no_mean():
    found = figure(values("a", 4, None, None, 2), "a")
    assert (found.mean, found.prompts, found.missing) == (3, 2, 2)
    nothing = figure(values("a", None), "a")
    assert (nothing.mean, nothing.missing) == (None, 1)


def test_scenarios_are_told_apart_and_all_comes_last():
    named = [measured("a", f"p{value}", value, scenario) for value, scenario in ((1, "x"), (3, "y"), (8, ""))]
    found = [(f.scenario, f.mean) for f in figures_of(named)]
    assert found == [("x", 1), ("y", 3), ("all", 4)]


def test_one_scenario_needs_no_row_of_its_own():
    assert [f.scenario for f in figures_of(values("a", 1, 2))] == ["all"]


def test_tables_escape_what_their_format_reads():
    found = figures_of(values("a_b|c & 50%", 1, 2) + values("d", 3, None))
    table = long_table(found)
    assert r"a_b\|c & 50%" in markdown(table)
    assert r"a\_b|c \& 50\%" in latex(table)
    rows = [line for line in markdown(table).splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1
    assert latex(table).count(r"\\") == 3
    assert r"100.0\% of 1" in latex(table)


def test_reasons_are_counted_the_commonest_first():
    rows = [*values("a", None, None, 1), measured("a", "p3", None, reason="no answer")]
    assert reasons(rows) == ["m: 3 missing; 2 x blurred; 1 x no answer"]
    assert reasons(values("a", 1)) == []


def test_a_wide_table_has_a_row_for_each_method_and_a_column_for_each_metric():
    found = figures_of(
        [
            *values("base", 1, 3, metric="m"),
            *values("base", 5, None, metric="n"),
            *values("ours", 2, 4, metric="m"),
        ]
    )
    table = wide_table(found)
    assert [column.name for column in table.columns] == ["scenario", "method", "m", "n", "prompts", "missing"]
    assert table.texts == [
        ["all", "base", "2.000 ± 1.000", "5.000", "1-2", "0-1"],
        ["all", "ours", "3.000 ± 1.000, 100%", "-", "2", "0"],
    ]
    assert r"3.000 $\pm$ 1.000, 100\% & -" in latex(table)
    assert r"\begin{tabular}{llrrrr}" in latex(table)


def test_costs_are_means_over_the_runs_of_a_method():
    spent = [("a", Spend(images=1, money=0.5)), ("b", Spend(evaluations=56)), ("a", Spend(images=4, tokens=10))]
    table = costs_of(spent)
    assert [(row["method"], row["runs"], row["critic_calls"]) for row in table.records] == [("a", 2, 0), ("b", 1, 0)]
    assert table.texts == [
        ["a", "2", "2.50", "0.0", "0.00", "5", "0.2500", "0.00"],
        ["b", "1", "0.00", "56.0", "0.00", "0", "0.0000", "0.00"],
    ]
    assert markdown(table).startswith("| method | runs | images |")
    assert r"\midrule" not in latex(table).partition(r"\midrule")[2]
