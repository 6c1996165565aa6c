"""Successive halving: previews are judged at each rung, the better part goes on, the rest is dropped with its price."""

import pytest

from detailscribe.agent.graph.judge import sends
from detailscribe.agent.policies import Halving, resolve_policy
from detailscribe.state import Budget, Plan
from detailscribe.tools.errors import SettingsError

from .fakes import STEPS, concepts, critique, population, record
from .simulation import simulate

QUALITY = {"00-00": "cat red", "00-01": "red", "00-02": "cat red alone", "00-03": "red alone"}


def origin(image, people):
    """The id of the first drawing that an image comes from."""
    above = people.ancestors(image)
    return above[-1].id if above else image.id


def run(policy, budget=None):
    """Seeds differ in what they fail, at every step alike; a whole image of the best one fails nothing once refined."""
    looks = {}

    def look(image):
        fails = QUALITY.get(image.id) or looks[image.parent]
        looks[image.id] = "" if image.prompt == "a corrected prompt" else fails
        return critique(image.id, looks[image.id])

    return simulate(policy, look, budget).population


def test_the_better_half_goes_on_and_the_best_is_refined():
    people = run(Halving(n=4))
    assert [(i.id, origin(i, people), i.start_step, i.stop_step) for i in people.images.values()] == [
        ("00-00", "00-00", 0, 10),
        ("00-01", "00-01", 0, 10),
        ("00-02", "00-02", 0, 10),
        ("00-03", "00-03", 0, 10),
        ("01-00", "00-01", 10, 18),
        ("01-01", "00-00", 10, 18),
        ("02-00", "00-01", 18, None),
        ("03-00", "00-01", 4, None),
    ]
    assert people.best().id == "03-00"
    assert {id: d.rule for id, d in people.decisions.items()} == {
        "00-00": "promoted",
        "00-01": "promoted",
        "00-02": "halved_out",
        "00-03": "halved_out",
        "01-00": "promoted",
        "01-01": "halved_out",
        "02-00": "next_round",
        "03-00": "all_pass",
    }


def test_what_is_dropped_is_told_with_its_price():
    decisions = {d.image: d for d in run(Halving(n=4)).decisions.values()}
    assert decisions["00-02"].reason == "dropped at step 10 of 28, which spares 36 evaluations"


def test_a_preview_goes_on_as_if_it_had_never_stopped():
    preview = record("00-00", stop_step=10, trajectory={10: "latents/x"}, seed=3)
    people = population([preview], {"00-00": "red"})
    [decision] = Halving(rungs=(10,)).judge(people)
    [work] = sends([decision], people, Plan())
    request = work.arg["attempt"]
    assert (request.operator, request.start_step, request.stop_step) == ("resume", 10, None)
    assert (request.prompt, request.seed) == (preview.prompt, 3)


def test_halving_costs_less_than_all_seeds_to_the_end():
    halved = run(Halving(n=4, rounds=0)).spend.evaluations
    assert halved == 2 * (4 * 10 + 2 * 8 + 10) < 4 * 2 * STEPS


def test_without_rungs_it_draws_every_seed_to_the_end():
    assert all(i.stop_step is None for i in run(Halving(n=4, rungs=())).images.values())


def test_a_preview_is_never_the_best_where_a_whole_image_is_there():
    preview, whole = record("00-00", stop_step=10, trajectory={10: "x"}), record("00-01")
    assert population([preview, whole], {"00-01": "cat red"}).best() == whole
    assert population([preview], {}).best() == preview


def test_where_the_budget_ends_at_a_rung_the_best_preview_is_what_there_is():
    people = run(Halving(n=4), Budget(rounds=0))
    assert people.best().id == "00-01"
    assert {d.rule for d in people.decisions.values()} == {"budget_rounds", "halved_out"}


def test_the_plan_stops_at_the_first_rung():
    assert Halving(n=6).plan(concepts()) == Plan(images=6, stop_step=10)
    assert Halving(n=6, rungs=()).plan(concepts()) == Plan(images=6)


@pytest.mark.parametrize("wrong", [{"rungs": [9, 3]}, {"rungs": [3, 3]}, {"rungs": [0]}, {"share": 1}, {"share": 0}])
def test_rungs_that_do_not_ascend_and_shares_that_drop_nothing_are_clear_errors(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        resolve_policy("halving", **wrong)
