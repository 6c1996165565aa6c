"""Whatever the critic says and the budget allows: every policy ends, within its bounds, by rules that are listed."""

import ast
import random
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailscribe.agent import policies
from detailscribe.agent.policies import POLICIES, RULES, FunctionPolicy, Paper, Policy, refine, reseed, stop
from detailscribe.agent.policies.lineage import identity
from detailscribe.state import Budget, Critique, ImageRecord

from .fakes import CHECKS, STEPS, concepts, critique
from .simulation import paid, simulate

VARIANTS: list[Policy] = [
    *(policy() for policy in POLICIES.values()),
    POLICIES["adaptive"](operator="resume", images=3, width=2, patience=9),
    POLICIES["multi_round"](rounds=50, patience=None, keep="newest", operator="resume", start_step=(4, 2, 1)),
    POLICIES["multi_round"](rounds=9, keep="better", start_step=40),
    POLICIES["hybrid"](parallel=4, operator="resume", start_step=2),
    POLICIES["seed_search"](n=6, m=3, rounds=3),
    POLICIES["halving"](n=7, rungs=(3, 9, 20), share=0.3, operator="resume", keep="better"),
    POLICIES["halving"](rungs=()),
    POLICIES["random"](stop_share=0, refine_share=0.9),
    POLICIES["paper"](start_steps=(40, 0, 0, 3)),
]

BUDGETS = st.builds(
    Budget,
    rounds=st.integers(0, 12),
    images=st.integers(1, 20),
    evaluations=st.none() | st.integers(2 * STEPS, 900),
    critic_calls=st.none() | st.integers(1, 20),
    tokens=st.none() | st.integers(1, 2000),
    seconds=st.none() | st.floats(0.1, 20),
    money=st.none() | st.floats(0.01, 2),
)


def moody(seed: int):
    """A critic whose verdicts are by chance, most of them passes."""

    def look(image: ImageRecord) -> Critique:
        rng = random.Random(f"{seed} {image.id}")
        fails, unknown = ([c for c in CHECKS if rng.random() < share] for share in (rng.choice((0, 0.2, 0.6)), 0.05))
        refined = rng.choice(("corrected", "corrected otherwise", None))
        return paid(critique(image.id, " ".join(fails), " ".join(unknown), refined), 100, 0.5, 0.1)

    return look


@pytest.mark.parametrize("policy", VARIANTS, ids=repr)
@settings(max_examples=25, deadline=None)
@given(budget=BUDGETS, mood=st.integers(0, 10**6))
def test_every_run_ends_within_its_budget_by_listed_rules(policy, budget, mood):
    run = simulate(policy, moody(mood), budget)
    people, first = run.population, [i for i in run.population.images.values() if i.round == 0]
    assert people.decisions.keys() == people.images.keys()
    assert {d.rule for d in people.decisions.values()} <= RULES.keys()
    assert len({identity(i.attempt(), i) for i in people.images.values()}) == len(people.images)
    assert people.round <= budget.rounds
    for name in ("images", "evaluations", "critic_calls", "tokens", "seconds", "money"):
        bound = getattr(budget, name)
        known_beforehand = name in ("images", "evaluations", "critic_calls")
        if bound is not None and (known_beforehand or len(people.images) > len(first)):
            assert getattr(people.spend, name) <= bound + 1e-9, name


STOPPING = [p for p in VARIANTS if p.plan(concepts())[0].stop_step is None and not isinstance(p, Paper)]


@pytest.mark.parametrize("policy", STOPPING, ids=repr)
def test_a_run_whose_first_drawing_is_right_draws_nothing_more(policy):
    people = simulate(policy, lambda image: critique(image.id)).population
    assert people.round == 0
    assert people.decisions["00-00"].rule in ("all_pass", "best_of_n")


def test_what_never_gets_better_is_given_up_by_name():
    endings = {
        name: simulate(policy(), lambda image: critique(image.id, "red"), Budget(rounds=40, images=400)).stops[-1].rule
        for name, policy in POLICIES.items()
        if name not in ("adaptive", "random", "chat_judge")
    }
    assert endings == {
        "best_of_n": "best_of_n",
        "exhaustive": "rounds_done",
        "halving": "rounds_done",
        "hybrid": "rounds_done",
        "multi_round": "plateau",
        "paper": "refined_once",
        "seed_search": "rounds_done",
        "single": "refined_once",
        "value": "not_worth_it",
    }


def the_same_again(population):
    return [
        refine(population, i, "again", "x", operator="inject", start_step=4, source=population.images["00-00"])
        for i in population.pending()
    ]


def test_an_attempt_that_a_users_policy_repeats_is_stopped():
    people = simulate(FunctionPolicy(the_same_again), lambda image: critique(image.id, "red")).population
    assert [d.rule for d in people.decisions.values()] == ["again", "repeated_attempt"]


def test_to_resume_the_same_step_with_another_seed_is_a_repeat():
    def resumed(population):
        first = population.images["00-00"]
        given = {"source": first, "operator": "resume", "start_step": 2, "seed": population.round}
        return [refine(population, image, "again", "x", **given) for image in population.pending()]

    class Keeping(FunctionPolicy):
        def plan(self, concepts):
            return POLICIES["single"]().plan(concepts)

    people = simulate(Keeping(resumed), lambda image: critique(image.id, "red")).population
    assert [d.rule for d in people.decisions.values()] == ["again", "repeated_attempt"]


def test_of_two_equal_attempts_in_one_round_the_first_is_made():
    class Twice(FunctionPolicy):
        def plan(self, concepts):
            return POLICIES["best_of_n"](n=2).plan(concepts)

    people = simulate(Twice(the_same_again), lambda image: critique(image.id, "red")).population
    assert {id: d.rule for id, d in people.decisions.items()} == {
        "00-00": "again",
        "00-01": "repeated_attempt",
        "01-00": "repeated_attempt",
    }


def test_a_seed_that_was_drawn_with_the_same_words_is_not_drawn_again():
    def once_more(population):
        seed = population.images["00-00"].seed
        [image] = population.pending()
        return [reseed(population, image, "once_more", "x", "the prompt", seed=seed)]

    people = simulate(FunctionPolicy(once_more), lambda image: critique(image.id, "red")).population
    assert [d.rule for d in people.decisions.values()] == ["repeated_attempt"]


def test_every_rule_named_in_the_policies_is_listed():
    named = set(chain.from_iterable(map(rules_named, Path(policies.__file__).parent.glob("*.py"))))
    assert named <= RULES.keys()
    assert RULES.keys() - named == {
        "not_heard",
        "repeated_attempt",
        "person",
        *(f"budget_{name}" for name in Budget.model_fields),
    }


def rules_named(path: Path) -> set[str]:
    """String constants that stand where a move takes its rule."""
    moves = {stop.__name__: 1, refine.__name__: 2, reseed.__name__: 2, "refine_anew": 2, "go_on": 2}
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    arguments = [c.args[moves[c.func.id]] for c in calls if isinstance(c.func, ast.Name) and c.func.id in moves]
    arguments += [k.value for c in calls for k in c.keywords if k.arg == "rule"]
    constants = [n for argument in arguments for n in ast.walk(argument) if isinstance(n, ast.Constant)]
    return {str(n.value) for n in constants}
