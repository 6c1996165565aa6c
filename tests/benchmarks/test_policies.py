"""The figures of policies against best-of-N, and what is kept of an experiment."""

import re

import pytest

from benchmarks.keep import keep
from benchmarks.policies import BOUNDS, adaptive, best_of_n, figures_of, frontier
from detailscribe.agent.experiments.load import load_experiment
from detailscribe.agent.experiments.write import write_results

from ..experiments.small import image, row

RIGHT, WRONG = image("00-00"), image("00-00", "red")


def rows(label: str, right: int):
    return [row(label, f"p{n}", RIGHT if n < right else WRONG) for n in range(20)]


def test_gains_are_paired_and_the_one_at_equal_cost_is_where_there_is_room_for_it():
    found = [*rows(best_of_n(112), 14), *rows(best_of_n(224), 16), *rows(best_of_n(448), 19)]
    found += [r for bound, right in zip(BOUNDS, (17, 19, 20), strict=True) for r in rows(adaptive(bound), right)]
    figures = figures_of(found, 1.0)
    assert figures["half_gain_over_224"] == pytest.approx(1 / 20)
    assert figures["half_gain_over_448"] == pytest.approx(0)
    assert figures["half_gain"] == pytest.approx(0)
    assert [figures[f"room_over_{bound}"] for bound in BOUNDS] == pytest.approx([0.3, 0.2, 0.05])
    assert figures["equal_evaluations"] == 224
    assert figures["equal_gain"] == figures["equal_gain_over_224"] == pytest.approx(3 / 20)


def test_the_benchmark_runs_what_it_compares_from_the_experiment_that_ships():
    labels = {variant.label for variant in frontier(seeds=1, everything=False).variants}
    assert labels == {label(bound) for label in (adaptive, best_of_n) for bound in BOUNDS}
    assert labels < {variant.label for variant in frontier(seeds=1, everything=True).variants}


async def test_what_is_kept_is_replaced_but_for_what_others_put_there(tmp_path):
    done, kept = tmp_path / "done", tmp_path / "kept"
    text = 'question = "What?"\nprompts.texts = ["p0"]\npolicies = [{ policy = "single" }]\n'
    (tmp_path / "done.toml").write_text(text)
    found = [row("single", "p0", WRONG, image("01-00", "", "00-00"))]
    write_results(load_experiment(tmp_path / "done.toml"), found, done)
    (kept / "tables").mkdir(parents=True)
    (kept / "tables" / "old.csv").write_text("old")
    (kept / "mine.md").write_text("mine")
    keep(done, kept)
    names = {p.relative_to(kept).as_posix() for p in kept.rglob("*.*")}
    assert {"mine.md", "summary.md", "tables/summary.csv", "plots/rounds_chosen.png"} <= names
    assert "tables/old.csv" not in names
    links = re.findall(r"plots/[^)]*", (kept / "summary.md").read_text())
    assert links == [name for name in sorted(names) if name.startswith("plots/")] == ["plots/rounds_chosen.png"]
