"""The judge as a table: what a policy says becomes work for nodes, never more than the budget."""

import pytest

from detailscribe.agent.graph.judge import checked, sends, within_budget
from detailscribe.agent.policies import PolicyError, drawing, refine, refinement, reseed, stop
from detailscribe.state import Attempt, Budget, Decision, Plan

from .fakes import PROMPT, population, record

ONE, TWO = record("00-00"), record("00-01")
PEOPLE = population([ONE, TWO], {"00-00": "red", "00-01": "cat"})


def refined(start_step=4, source="00-00"):
    attempt = Attempt(source=source, operator="inject", start_step=start_step, prompt="p", seed=3)
    return Decision(image="00-00", rule="r", reason="x", attempts=(attempt,))


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ([stop(ONE, "a", "b")], "gave no decision for 00-01"),
        ([stop(ONE, "a", "b"), stop(TWO, "a", "b"), stop(TWO, "c", "d")], "more than once about 00-01"),
        ([stop(ONE, "a", "b"), stop(record("03-00"), "a", "b")], "not pending: 03-00"),
        ([refined(source="09-00"), stop(TWO, "a", "b")], "do not exist: 09-00"),
        ([refined(29), stop(TWO, "a", "b")], "after the last step for 00-00"),
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
    [_, work] = sends([reseed(PEOPLE, ONE, "s", "y"), decision], PEOPLE, Plan(keep_steps=(1, 2, 4)))
    attempt = work.arg["attempt"]
    assert (work.node, work.arg["decision"], work.arg["source"]) == ("refine", decision, ONE)
    assert (attempt.id, attempt.round, attempt.parent, attempt.keep_steps) == ("01-01", 1, ONE.id, (2, 4))


def test_a_reseed_is_sent_to_generate_in_place_of_its_image():
    decision = reseed(PEOPLE, ONE, "r", "x", prompt=PROMPT)
    [work] = sends([decision], PEOPLE, Plan(keep_steps=(1,)))
    attempt = work.arg["attempt"]
    assert (work.node, attempt.id, attempt.parent, attempt.prompt) == ("generate", "01-00", "00-00", PROMPT)
    assert (attempt.seed, attempt.keep_steps) == (decision.attempts[0].seed, (1,))


def test_one_decision_asks_for_attempts_of_any_kind():
    attempts = (
        refinement(PEOPLE, TWO, operator="inject", start_step=4, prompt="at night"),
        refinement(PEOPLE, ONE, operator="inject", start_step=8, guidance=7.0),
        drawing(PEOPLE, TWO, prompt="in the snow"),
        Attempt(prompt="by the sea", steps=50),
    )
    decision = Decision(image="00-01", rule="many", reason="all at once", attempts=attempts)
    work = sends([stop(ONE, "a", "b"), decision], PEOPLE, Plan())
    made = [w.arg["attempt"] for w in work]
    assert [(w.node, a.id, a.parent, a.origin) for w, a in zip(work, made, strict=True)] == [
        ("refine", "01-00", "00-01", "refine"),
        ("refine", "01-01", "00-00", "refine"),
        ("generate", "01-02", "00-01", "reseed"),
        ("generate", "01-03", "00-01", "reseed"),
    ]
    assert [a.prompt for a in made] == ["at night", "a corrected prompt", "in the snow", "by the sea"]
    assert (made[1].guidance, made[3].steps) == (7.0, 50)
    assert all(a.seed is not None for a in made)
    assert (decision.action, Decision(image="00-01", rule="many", reason="x", attempts=attempts[2:]).action) == (
        "refine",
        "reseed",
    )


def test_the_budget_takes_as_many_attempts_of_a_decision_as_it_reaches_for():
    people = PEOPLE.model_copy(update={"budget": Budget(images=4)})
    attempts = tuple(refinement(people, TWO, operator="inject", start_step=k) for k in (2, 4, 8))
    wanted = [Decision(image="00-01", rule="many", reason="x", attempts=attempts), refined()]
    allowed = within_budget(wanted, people)
    assert [(d.rule, len(d.attempts)) for d in allowed] == [("many", 2), ("budget_images", 0)]


def test_a_stop_asks_for_no_work():
    assert sends([stop(ONE, "a", "b")], PEOPLE, Plan()) == []
