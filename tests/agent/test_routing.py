"""The judge as a table: what a policy says becomes work for nodes, never more than the budget."""

import pytest

from detailscribe.agent.graph.guard import checked, within_budget
from detailscribe.agent.graph.routing import sends
from detailscribe.agent.policies import PolicyError, refine, reseed, stop
from detailscribe.state import Budget, Decision

from .fakes import PROMPT, population, record

ONE, TWO = record("00-00"), record("00-01")
PEOPLE = population([ONE, TWO], {"00-00": "red", "00-01": "cat"})


def refined(start_step=4):
    return Decision(
        image="00-00",
        action="refine",
        rule="r",
        reason="x",
        source="00-00",
        operator="inject",
        start_step=start_step,
        prompt="p",
        seed=3,
    )


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ([stop(ONE, "a", "b")], "gave no decision for 00-01"),
        ([stop(ONE, "a", "b"), stop(TWO, "a", "b"), stop(TWO, "c", "d")], "more than once about 00-01"),
        ([stop(ONE, "a", "b"), stop(record("03-00"), "a", "b")], "not pending: 03-00"),
        ([refined().model_copy(update={"source": "09-00"}), stop(TWO, "a", "b")], "do not exist: 09-00"),
        ([refined(29), stop(TWO, "a", "b")], "after the last step for 00-00"),
        (["stop", stop(TWO, "a", "b")], "returned 'stop'"),
    ],
)
def test_an_answer_that_cannot_be_carried_out_is_refused(answer, complaint):
    with pytest.raises(PolicyError, match=complaint):
        checked(answer, PEOPLE)


@pytest.mark.parametrize(
    ("budget", "rules"),
    [
        (Budget(), ["r", "s"]),
        (Budget(images=3), ["r", "budget_images"]),
        (Budget(images=2), ["budget_images", "budget_images"]),
        (Budget(rounds=0), ["budget_rounds", "budget_rounds"]),
        (Budget(evaluations=2 * 56 + 48), ["r", "budget_evaluations"]),
        (Budget(evaluations=2 * 56 + 48 + 56), ["r", "s"]),
        (Budget(evaluations=2 * 56 + 47), ["budget_evaluations", "budget_evaluations"]),
        (Budget(critic_calls=3), ["r", "budget_critic_calls"]),
        (Budget(seconds=0.74), ["budget_seconds", "budget_seconds"]),
        (Budget(seconds=0.75), ["r", "budget_seconds"]),
        (Budget(seconds=1.0), ["r", "s"]),
    ],
    ids=str,
)
def test_what_the_budget_does_not_reach_for_becomes_a_stop_that_names_it(budget, rules):
    people = PEOPLE.model_copy(update={"budget": budget})
    wanted = [refined(), reseed(people, TWO, "s", "x")]
    allowed = within_budget(wanted, people)
    assert [d.rule for d in allowed] == rules
    assert [d.image for d in allowed] == ["00-00", "00-01"]


def test_stops_pass_through_a_spent_budget_as_they_are():
    people = PEOPLE.model_copy(update={"budget": Budget(images=2)})
    stops = [stop(ONE, "a", "b"), stop(TWO, "c", "d")]
    assert within_budget(stops, people) == stops


def test_a_refinement_is_sent_with_its_source_and_the_steps_still_to_come():
    decision = refine(PEOPLE, TWO, "r", "x", source=ONE, operator="inject", start_step=2)
    [_, work] = sends([reseed(PEOPLE, ONE, "s", "y"), decision], PEOPLE, (1, 2, 4))
    request = work.arg["request"]
    assert (work.node, work.arg["decision"]) == ("refine", decision)
    assert (request.id, request.round, request.source, request.keep_steps) == ("01-01", 1, ONE, (2, 4))


def test_a_reseed_is_sent_to_generate_in_place_of_its_image():
    decision = reseed(PEOPLE, ONE, "r", "x", prompt=PROMPT)
    [work] = sends([decision], PEOPLE, (1,))
    request = work.arg["request"]
    assert (work.node, request.id, request.parent, request.prompt) == ("generate", "01-00", "00-00", PROMPT)
    assert (request.seed, request.keep_steps) == (decision.seed, (1,))


def test_a_stop_asks_for_no_work():
    with pytest.raises(PolicyError, match="asks for no work"):
        sends([stop(ONE, "a", "b")], PEOPLE, ())
