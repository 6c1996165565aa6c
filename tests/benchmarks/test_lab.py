"""The laboratory's figures, of runs that were made up for them."""

import pytest

from benchmarks.lab import POLICIES, figures_of, show

from ..experiments.small import image, row

RIGHT = image("00-00")


def rows(**special):
    """A run of every policy that is right at once, but for the given ones."""
    found = {label: [row(f"{label}, standard", "p", RIGHT)] for label in POLICIES} | special
    return [one for group in found.values() for one in group]


def test_what_is_right_at_once_is_right_everywhere_and_refines_nothing():
    figures = figures_of(rows())
    assert all(figures[f"{name}.all_correct"] == 1 for name in ("one_image", *POLICIES))
    assert all(figures[aspect] == 1 for aspect in ("presence", "attribute", "relation"))
    assert figures["fixed"] == figures["broken"] == figures["nothing"] == figures["best_older"] == 0


def test_refinements_are_counted_by_what_they_did_and_runs_by_whether_an_older_image_is_best():
    adaptive = row(
        "adaptive, standard",
        "p",
        image("00-00", "red holding"),
        image("01-00", "red", parent="00-00"),
        image("02-00", "red cat", parent="01-00"),
        image("03-00", "holding", parent="02-00"),
        image("04-00", "holding", parent="03-00"),
        best="01-00",
    )
    figures = figures_of(rows(adaptive=[adaptive, row("adaptive, standard", "q", RIGHT)]))
    assert [figures[what] for what in ("fixed", "broken", "both", "nothing")] == [0.25] * 4
    assert figures["best_older"] == 1
    assert figures["adaptive.all_correct"] == 0.5


def test_one_image_is_the_first_drawing_of_the_best_of_4():
    first = row("best_of_4, standard", "p", image("00-00", "red cat"), RIGHT.model_copy(update={"id": "00-01"}))
    figures = figures_of(rows(best_of_4=[first]))
    assert (figures["one_image.all_correct"], figures["best_of_4.all_correct"]) == (0, 1)
    assert figures["presence"] == pytest.approx(0.5)
    assert figures["attribute"] == 0


def test_the_table_has_a_column_for_each_complexity(capsys):
    figures = {f"k{k}.{name}": value for k in (1, 3) for name, value in figures_of(rows()).items()}
    show(figures, (1, 3))
    said = capsys.readouterr().out
    assert "k = 1" in said
    assert "k = 3" in said
    assert "_low" not in said
