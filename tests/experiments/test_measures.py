"""What a run is worth: each measure on runs that were made up for it."""

from math import isnan

import pytest

from detailscribe.agent.evaluation.statistics import mean_interval, ratio_interval
from detailscribe.agent.experiments.measures import (
    MEASURES,
    by_label,
    by_prompt,
    differences,
    effects,
    frame,
    newest,
    pairs,
    passed_of,
    until,
)
from detailscribe.agent.experiments.spec import CriticSettings
from detailscribe.agent.experiments.summary import against_baseline, rounds, summary, tables_of, trajectories
from detailscribe.tools.world.critic import EmbeddedCritic
from detailscribe.tools.world.scene import Scene

from ..agent.fakes import ScriptedCritic
from ..world.worlds import ExactDetector
from .small import image, row, small


def measured(name: str, *images, **changes) -> float:
    return MEASURES[name](row("x", "p", *images, **changes))


DRIFTED = (image("00-00", "red holding"), image("01-00", "", "00-00"), image("02-00", "red", "01-00"))
"""Wrong, right, and wrong again."""


def test_quality_is_that_of_the_chosen_image_in_the_judges_eyes():
    chosen = image("00-00", "red", critic="")
    assert measured("all_correct", chosen) == 0
    assert measured("checks", chosen) == pytest.approx(4 / 5)
    assert measured("critic_all_correct", chosen) == 1


def test_without_a_judge_the_critic_is_believed():
    alone = image("00-00", critic="red", judge=None)
    assert measured("checks", alone) == pytest.approx(4 / 5)


def test_peak_retention_and_efficiency_of_a_run_that_drifts():
    assert measured("peak", *DRIFTED) == 1
    assert measured("retention", *DRIFTED) == pytest.approx(4 / 5)
    assert measured("retention", *DRIFTED, best="01-00") == 1
    assert measured("efficiency", *DRIFTED) == pytest.approx(2 / 3)
    assert measured("efficiency", DRIFTED[0]) == 1


def test_what_refinements_keep_of_what_was_right():
    def kept(*fails):
        images = [image(f"{n:02d}-00", f, f"{n - 1:02d}-00" if n else None) for n, f in enumerate(fails)]
        refined = [i.model_copy(update={"operator": "inject"} if i.parent else {}) for i in images]
        return measured("kept", *refined)

    assert kept("red", "holding") == pytest.approx(3 / 4)
    assert kept("red", "holding", "") == pytest.approx(7 / 8)
    assert isnan(kept("red"))
    assert isnan(measured("kept", image("00-00"), image("01-00", "red", "00-00")))  # drawn anew, not refined


def test_previews_count_for_cost_but_not_for_quality():
    preview = image("00-00", "", stop_step=10)
    whole = image("01-00", "red", "00-00")
    assert measured("peak", preview, whole) == pytest.approx(4 / 5)
    assert measured("first_all_correct", preview, whole) == 0
    assert (measured("images", preview, whole), measured("previews", preview, whole)) == (1, 1)
    assert effects([row("x", "p", preview, whole)]) == {}


def test_each_round_has_the_image_that_would_be_chosen_and_the_newest():
    run = row("x", "p", *DRIFTED, best="01-00")
    assert [until(run, n).id for n in range(3)] == ["00-00", "01-00", "01-00"]
    assert [newest(run, n).id for n in range(3)] == ["00-00", "01-00", "02-00"]


def test_what_a_round_fixed_and_broke_is_counted_against_the_parents():
    mixed = (image("00-00", "red"), image("01-00", "holding", "00-00"), image("02-00", "holding", "01-00"))
    assert effects([row("x", "p", *DRIFTED), row("x", "q", *mixed)]) == {
        1: {"fixed": 1, "both": 1},
        2: {"broken": 1, "unchanged": 1},
    }


def test_checks_are_grouped_by_aspect():
    run = row("x", "p", image("00-00", "cat holding"))
    shares = {aspect: passed_of(run, aspect) for aspect in run.checks.values()}
    assert shares == {"presence": 0.5, "attribute": 1.0, "relation": 0.0, "nothing_else": 1.0}
    assert isnan(passed_of(run, "count"))


RIGHT, WRONG = image("00-00"), image("00-00", "red")


def test_seeds_of_a_prompt_are_one_sample():
    rows = [row("x", "p", RIGHT, seed=n) for n in range(9)] + [row("x", "q", WRONG)]
    found = mean_interval(by_prompt(frame(rows), "all_correct"))
    assert found is not None
    assert found.value == 0.5
    assert (found.low, found.high) == (0.0, 1.0)


def test_differences_are_paired_by_prompt_and_seed():
    ours = [row("a", "p", RIGHT), row("a", "p", WRONG, seed=1), row("a", "only here", RIGHT)]
    theirs = [row("b", "p", WRONG, seed=1), row("b", "p", WRONG), row("b", "only there", RIGHT)]
    assert differences(pairs(frame(ours), frame(theirs)), "all_correct") == [0.5]
    assert differences(pairs(frame(ours), frame([])), "all_correct") == []


def test_what_survives_is_the_share_of_the_critics_gain_that_the_judge_sees():
    flattered = (image("00-00", "red"), image("01-00", "red", "00-00", critic=""))
    mended = (image("00-00", "red"), image("01-00", "", "00-00"))
    rows = [row("x", f"p{n}", *(flattered if n % 4 == 0 else mended)) for n in range(40)]
    found = _surviving(rows)
    assert found is not None
    assert found.value == pytest.approx(0.75)
    assert found.low < 0.75 < found.high < 1
    assert _surviving([row("x", f"p{n}", RIGHT) for n in range(5)]) is None


def _surviving(rows):
    runs = frame(rows)
    judge, critic = (by_prompt(runs, f"{eyes}all_correct", f"{eyes}first_all_correct") for eyes in ("", "critic_"))
    return ratio_interval(judge, critic)


def test_failed_runs_are_counted_and_left_out():
    rows = [row("x", "p", RIGHT), row("x", "q", RIGHT).model_copy(update={"error": "it broke", "images": ()})]
    [(label, done, failed, quality, *_)] = summary(rows).rows
    assert (label, done, failed) == ("x", "1", "1")
    assert quality.value == 1


def test_the_table_against_the_baseline_has_signs_wins_and_adjusted_p_values():
    rows = [row("base", f"p{n}", WRONG) for n in range(20)]
    rows += [row("better", f"p{n}", RIGHT) for n in range(20)]
    rows += [row("same", f"p{n}", WRONG) for n in range(20)]
    table = against_baseline(rows, "base")
    better, same = table.rows
    assert (better[0], better[2], better[5]) == ("better", "+", "20 / 0 / 0")
    assert better[1].value == 1
    assert better[3] < 0.01
    assert (same[0], same[2], same[3], same[5]) == ("same", "0", 1.0, "0 / 20 / 0")


def test_previews_have_a_column_where_there_are_any():
    plain, previewed = row("plain", "p", RIGHT), row("halved", "p", image("00-00", stop_step=10), image("01-00"))
    assert "previews" not in [column.name for column in summary([plain]).columns]
    table = summary([plain, previewed])
    place = [column.name for column in table.columns].index("previews")
    assert [line[place] for line in table.rows] == [0.0, 1.0]
    assert "the honest cost" in table.note


def test_variants_are_compared_with_the_baselines_policy_on_equal_terms():
    grid = {"budget.evaluations": [112, 224]}
    policies = [{"policy": "best_of_n", "grid": grid}, {"policy": "adaptive", "grid": grid}, {"policy": "single"}]
    rows = [row("best_of_n budget.evaluations=112", f"p{n}", WRONG) for n in range(20)]
    rows += [row("best_of_n budget.evaluations=224", f"p{n}", RIGHT) for n in range(20)]
    rows += [row(f"adaptive budget.evaluations={bound}", f"p{n}", RIGHT) for n in range(20) for bound in (112, 224)]
    rows += [row("single", f"p{n}", RIGHT) for n in range(20)]
    variants = small(policies=policies).variants
    table = tables_of(rows, "best_of_n budget.evaluations=224", variants)["on_equal_terms"]
    assert table.title == "Against best_of_n at the same budget.evaluations"
    assert [(line[0], line[1].value) for line in table.rows] == [
        ("adaptive budget.evaluations=112", 1.0),
        ("adaptive budget.evaluations=224", 0.0),
    ]
    assert "on_equal_terms" not in tables_of(rows, "single", variants)


def test_every_table_can_be_made_of_any_rows():
    rows = [row("a", "p", *DRIFTED, scenario="functional"), row("b", "p", RIGHT, scenario="functional")]
    assert set(tables_of(rows, "b")) == {
        *("summary", "against_baseline", "trajectories", "rounds", "by_scenario", "by_kind_of_check")
    }
    assert [line[1] for line in rounds(rows).rows] == ["0", "1", "2", "0"]
    assert len(trajectories(rows).rows) == len(by_label(rows)) == 2
    assert tables_of([], "b") == {}


def test_settings_of_a_critic_make_it_unreliable_voting_or_leave_it_as_it_is():
    critic = ScriptedCritic({})
    assert CriticSettings().applied(critic) is critic
    assert "flip=0.2" in CriticSettings(flip=0.2).applied(critic).model
    assert CriticSettings(flip=0.2, votes=3).applied(critic).model.startswith("vote of")
    assert "(whole)" in CriticSettings(checklist="whole").applied(critic).model


def test_settings_of_a_critic_say_how_explicit_the_embedded_one_is():
    critic = EmbeddedCritic(ExactDetector(Scene("snow", ())), "pose")
    assert CriticSettings().applied(critic) is critic
    applied = CriticSettings(corrections="place", flip=0.2).applied(critic)
    assert applied.critic.corrections == "place"
    assert "(corrections=place) (flip=0.2" in applied.model
