"""The figures of policies against best-of-N, and what is kept of an experiment."""

import pytest

from benchmarks.keep import LARGEST, keep
from benchmarks.policies import BOUNDS, adaptive, best_of_n, figures_of, frontier

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


def test_what_is_kept_is_replaced_but_for_what_others_put_there(tmp_path):
    done, kept = tmp_path / "done", tmp_path / "kept"
    (done / "tables").mkdir(parents=True)
    (done / "tables" / "summary.csv").write_text("new")
    (done / "summary.md").write_text("new")
    (done / "page.html").write_bytes(b" " * (LARGEST + 1))
    (kept / "tables").mkdir(parents=True)
    (kept / "tables" / "old.csv").write_text("old")
    (kept / "page.html").write_text("old")
    (kept / "mine.md").write_text("mine")
    assert keep(done, kept) == ["summary.md", "tables"]
    assert sorted(p.relative_to(kept).as_posix() for p in kept.rglob("*.*")) == [
        *("mine.md", "summary.md", "tables/summary.csv")
    ]
