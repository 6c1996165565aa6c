"""The learned policy: it takes what promises most for its cost, within what is left, and is learned from runs."""

import json

import pytest
from typer.testing import CliRunner

from detailscribe.agent import run
from detailscribe.agent.cli import app
from detailscribe.agent.experiments.learn import learn
from detailscribe.agent.policies import POLICIES, policy_name, resolve_policy
from detailscribe.agent.policies.value import Values, worth
from detailscribe.state import Budget
from detailscribe.tools.errors import SettingsError

from .fakes import STEPS, FakeDiffusion, population, record, roles

BAD = record("00-00")
WORSE = record("00-01", seed=8)


@pytest.fixture
def decide(tmp_path):
    """What ``value`` decides with these weights, about two first drawings that fail one check and three."""

    def decided(refinement=None, drawing=None, *, budget=None, decided=(), **parameters):
        file = tmp_path / "values.json"
        weights = {"refinement": {"always": -9.0} | (refinement or {}), "drawing": {"always": -9.0} | (drawing or {})}
        file.write_text(json.dumps({"card": {}} | weights))
        people = population(
            [BAD, WORSE], {"00-00": "red", "00-01": "cat red alone"}, decided=decided, budget=budget or Budget()
        )
        policy = resolve_policy("value", file=str(file), **parameters)
        return policy.judge(people)

    return decided


@pytest.mark.parametrize(
    ("weights", "way"),
    [
        ({"refinement": {"always": 1}}, ("00-00", 12)),  # all alike, so the cheapest is taken
        ({"refinement": {"always": 3, "start x always": -40}}, ("00-00", 1)),
        ({"refinement": {"failed share": 20, "start x always": -40}}, ("00-01", 1)),
        ({"drawing": {"always": 3}}, (None, 0)),
    ],
)
def test_the_attempt_with_most_promise_for_its_cost_is_made_on_any_image(decide, weights, way):
    best, other = decide(**weights)
    assert [(a.source, a.start_step) for a in best.attempts] == [way]
    assert (best.rule, other.rule, other.action) == ("best_index", "outranked", "stop")


def test_a_drawing_can_have_the_words_of_the_user(decide):
    assert decide(drawing={"always": 1})[0].attempts[0].prompt == "a corrected prompt"
    assert decide(drawing={"always": 1, "own words": 1})[0].attempts[0].prompt == "a cat holding a red umbrella"


def test_what_no_run_tried_promises_nothing():
    only = Values(card={}, refinement={"always": -5.0}, drawing={})
    assert only.gain({"always": 1.0, "own words": 0.0}) == 0 < only.gain({"always": 1.0})


def test_it_stops_where_nothing_is_worth_its_price(decide):
    assert decide(refinement={"always": -3})[0].action == "refine"
    assert decide(refinement={"always": -3}, price=0.5)[0].rule == "not_worth_it"


def test_only_what_the_evaluations_left_reach_for_is_considered(decide):
    spent = 2 * 2 * STEPS
    late = {"always": 3, "start x always": -20}
    assert decide(refinement=late, budget=Budget(evaluations=spent + 41))[0].attempts[0].start_step == 8
    assert decide(refinement=late, budget=Budget(evaluations=spent + 31))[0].rule == "not_worth_it"


def test_the_lot_can_decide_so_that_there_is_something_to_learn_from(decide):
    assert decide(refinement={"always": 3}, explore=1)[0].rule == "by_lot"
    assert decide(refinement={"always": 3}, explore=0)[0].rule == "best_index"


def test_values_that_cannot_be_read_are_clear_errors_and_others_are_another_policy(tmp_path):
    file = tmp_path / "values.json"
    with pytest.raises(SettingsError, match="cannot read the learned values"):
        resolve_policy("value", file=str(file))
    file.write_text("{}")
    with pytest.raises(SettingsError, match="holds no learned values"):
        resolve_policy("value", file=str(file))
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"card": {}, "refinement": {}, "drawing": {}}))
    assert policy_name(resolve_policy("value", file=str(other))) != policy_name(POLICIES["value"]())


def test_each_wrong_check_halves_what_an_image_is_worth():
    people = population([BAD, WORSE, record("00-02")], {"00-00": "red", "00-01": "cat red alone"})
    assert [worth(look.answers()) for look in people.critiques.values()] == [1 / 2, 1 / 8, 1]


def late_refinements_help(image):
    return "" if image.origin == "refine" and image.start_step >= 8 and image.seed % 3 else "red"


def test_runs_teach_what_works(tmp_path):
    for n in range(14):
        policy = resolve_policy("value", explore=1)
        given = roles(late_refinements_help, diffusion=FakeDiffusion(writes_latents=True))
        run(
            f"a cat holding red umbrella {n % 7}",
            **given,
            policy=policy,
            seed=n,
            budget=Budget(rounds=8, images=9),
            out=tmp_path / f"{n}",
        )
    assert CliRunner().invoke(app, ["learn", str(tmp_path), "--out", str(tmp_path / "own.json")]).exit_code == 0
    values = learn(tmp_path)
    assert resolve_policy("value", file=str(tmp_path / "own.json"))._values[0] == values
    ways = {
        step: values.gain({"always": 1, "failed share": 0.2, "attribute": 1, "start x always": step / STEPS}
                            | {"start squared": (step / STEPS) ** 2})
        for step in (1, 2, 4, 8, 12)
    }  # fmt: skip
    assert ways[12] > ways[8] > ways[1] + 0.05
    assert values.gain({"always": 1, "failed share": 0.2, "attribute": 1, "own words": 0.0}) < ways[8]
    assert values.card["runs"] == 14
    assert values.card["held-out area under the curve"] > 0.7


def test_too_few_runs_teach_nothing(tmp_path):
    run("a cat holding a red umbrella", **roles({}), out=tmp_path / "one")
    with pytest.raises(SettingsError, match="0 attempts after first drawings"):
        learn(tmp_path)
