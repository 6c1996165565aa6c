"""Policies as tables: a population goes in, decisions come out, no model in between."""

import pytest

from detailscribe.agent import Adaptive, BestOfN, Single
from detailscribe.agent.policies import FunctionPolicy, resolve_policy
from detailscribe.state import Budget, Plan
from detailscribe.tools.errors import SettingsError

from .fakes import STEPS, concepts, critique, population, record

FIRST = record("00-00")
WORSE = [FIRST, record("01-00", "00-00", "refine")]
BETTER_THEN_ANEW = [FIRST, record("01-00", "00-00", "reseed")]


def decided(policy, people):
    return {d.image: (d.action, d.rule) for d in policy.judge(people)}


@pytest.mark.parametrize(
    ("images", "script", "done", "expected"),
    [
        pytest.param([FIRST], {}, [], ("stop", "all_pass"), id="all pass"),
        pytest.param([FIRST], {"00-00": "red"}, [], ("refine", "few_checks_fail"), id="a detail is wrong"),
        pytest.param([FIRST], {"00-00": "cat"}, [], ("reseed", "subject_missing"), id="a subject is missing"),
        pytest.param([FIRST], {"00-00": "red holding alone"}, [], ("reseed", "most_checks_fail"), id="most is wrong"),
        pytest.param(WORSE, {"00-00": "red", "01-00": "cat"}, ["00-00"], ("refine", "revert_to_best"), id="made worse"),
        pytest.param(WORSE, {"00-00": "red", "01-00": "red"}, ["00-00"], ("refine", "revert_to_best"), id="no gain"),
        pytest.param(
            WORSE, {"00-00": "red holding", "01-00": "red"}, ["00-00"], ("refine", "few_checks_fail"), id="gain"
        ),
        pytest.param(
            BETTER_THEN_ANEW,
            {"00-00": "red", "01-00": "red holding"},
            ["00-00"],
            ("refine", "few_checks_fail"),
            id="anew",
        ),
        pytest.param(
            [*WORSE, record("02-00", "00-00", "refine")],
            {"00-00": "red", "01-00": "red", "02-00": "red"},
            ["00-00", "01-00"],
            ("reseed", "refinement_stalls"),
            id="stalled",
        ),
        pytest.param(
            [*WORSE, record("02-00", "01-00", "refine")],
            {"00-00": "red holding", "01-00": "red", "02-00": "holding"},
            ["00-00", "01-00"],
            ("refine", "revert_to_best"),
            id="one vain try after a gain is no stall",
        ),
    ],
)
def test_adaptive_decides_about_the_newest_image(images, script, done, expected):
    assert decided(Adaptive(), population(images, script, decided=done)) == {images[-1].id: expected}


def test_adaptive_goes_on_from_the_best_ancestor_with_new_noise():
    [decision] = Adaptive().judge(population(WORSE, {"00-00": "red", "01-00": "cat"}, decided=["00-00"]))
    assert decision.attempts[0].source == "00-00"
    assert decision.attempts[0].seed != FIRST.seed
    assert decision.attempts[0].start_step == round(STEPS / 14)


@pytest.mark.parametrize(("fails", "start"), [("red", 4), ("red holding", 2)])
def test_adaptive_starts_earlier_the_more_is_wrong(fails, start):
    [decision] = Adaptive().judge(population([FIRST], {"00-00": fails}))
    assert (decision.attempts[0].operator, decision.attempts[0].start_step) == ("inject", start)
    assert decision.attempts[0].seed != FIRST.seed
    assert decision.attempts[0].prompt == "a corrected prompt"


def test_adaptive_resumes_only_at_steps_that_were_kept():
    kept = record("00-00", trajectory={1: "a", 2: "b"})
    [decision] = Adaptive(operator="resume").judge(population([kept], {"00-00": "red"}))
    assert (decision.attempts[0].operator, decision.attempts[0].start_step) == ("resume", 2)
    [decision] = Adaptive(operator="resume").judge(population([FIRST], {"00-00": "red"}))
    assert (decision.attempts[0].operator, decision.attempts[0].start_step) == ("inject", 4)


def test_adaptive_works_on_the_most_promising_and_comes_back_to_the_others():
    images = [record("00-00"), record("00-01"), record("00-02")]
    people = population(images, {"00-00": "cat umbrella alone", "00-01": "red", "00-02": "red holding"})
    assert decided(Adaptive(), people) == {
        "00-01": ("refine", "few_checks_fail"),
        "00-02": ("stop", "outranked"),
        "00-00": ("stop", "outranked"),
    }
    assert [d.image for d in Adaptive(width=2).judge(people) if d.action == "refine"] == ["00-01", "00-02"]


def test_adaptive_ends_everything_once_any_image_passes():
    images = [record("00-00"), record("00-01")]
    assert decided(Adaptive(), population(images, {"00-00": "red"})) == {
        "00-00": ("stop", "another_passes"),
        "00-01": ("stop", "all_pass"),
    }


def test_what_the_critic_could_not_tell_is_no_reason_to_work():
    people = population([FIRST], {}, critiques=[critique("00-00", unknown="red holding")])
    assert decided(Adaptive(), people) == {"00-00": ("stop", "nothing_failed")}


@pytest.mark.parametrize("policy", [Adaptive(), Single()], ids=repr)
def test_without_a_refined_prompt_the_users_own_words_are_drawn(policy):
    people = population([FIRST], {}, critiques=[critique("00-00", "red", refined=None)])
    [decision] = policy.judge(people)
    assert decision.attempts[0].prompt == people.concepts.prompt


def test_adaptive_gives_each_reseed_another_seed():
    images = [record("00-00"), record("00-01")]
    decisions = Adaptive(width=2).judge(population(images, {"00-00": "cat", "00-01": "cat"}))
    assert len({d.attempts[0].seed for d in decisions} | {7}) == 3


def test_a_schedule_of_one_step_can_be_refined():
    [decision] = Adaptive().judge(population([record("00-00", steps=1)], {"00-00": "red"}))
    assert decision.attempts[0].start_step == 0


@pytest.mark.parametrize(
    ("policy", "plan"),
    [
        (Adaptive(), Plan(images=2)),
        (Adaptive(images=5, operator="resume"), Plan(images=5, keep_steps=(1, 2, 4))),
        (Single(), Plan(images=1, keep_steps=(2,))),
        (Single(operator="inject"), Plan(images=1)),
        (BestOfN(), Plan(images=4)),
    ],
    ids=repr,
)
def test_plans(policy, plan):
    assert policy.plan(concepts()) == plan


def whatever(population):
    return []


class Own:
    def __init__(self, depth: int = 1) -> None:
        self.depth = depth

    def plan(self, concepts):
        return Plan()

    def judge(self, population):
        return []


@pytest.mark.parametrize(
    ("spec", "parameters", "expected"),
    [
        ("adaptive", {}, Adaptive()),
        ("adaptive", {"images": "3", "operator": "resume"}, Adaptive(images=3, operator="resume")),
        ("best_of_n", {"n": 8}, BestOfN(n=8)),
        (Single, {"start_step": 4}, Single(start_step=4)),
        (BestOfN(n=2), {}, BestOfN(n=2)),
        ("detailscribe.agent.policies:Single", {}, Single()),
        (whatever, {}, FunctionPolicy(whatever)),
    ],
)
def test_a_policy_is_found_by_name_path_class_instance_or_function(spec, parameters, expected):
    assert resolve_policy(spec, **parameters) == expected


def test_a_users_class_is_made_with_its_parameters():
    assert resolve_policy(Own, depth=3).depth == 3


@pytest.mark.parametrize(
    ("spec", "parameters", "complaint"),
    [
        ("adaptve", {}, "did you mean 'adaptive'.*best_of_n"),
        ("", {}, "no policy ''"),
        ("no_such_module:Name", {}, "cannot import 'no_such_module'"),
        ("json:Nothing", {}, "has no 'Nothing'"),
        (":", {}, "cannot import ''"),
        ("adaptive", {"imges": 3}, "imges.*it takes images, width"),
        ("adaptive", {"images": 0}, "images: Input should be greater than or equal to 1"),
        ("adaptive", {"operator": "melt"}, "operator"),
        (whatever, {"n": 1}, "takes no parameters: n"),
        (BestOfN(), {"n": 1}, "takes no parameters: n"),
        (42, {}, "42 is no policy"),
        ("math:pi", {}, "is no policy"),
    ],
)
def test_a_policy_that_cannot_be_had_is_a_clear_error(spec, parameters, complaint):
    with pytest.raises(SettingsError, match=complaint):
        resolve_policy(spec, **parameters)


def test_a_policy_judges_without_touching_the_population():
    people = population(WORSE, {"00-00": "red", "01-00": "cat"}, decided=["00-00"], budget=Budget(images=3))
    before = people.model_dump_json()
    assert Adaptive().judge(people) == Adaptive().judge(people)
    assert people.model_dump_json() == before


def in_vain(*tries, fails="red", **first):
    """A drawing and refinements of it, at these steps, that gained nothing."""
    images = [record("00-00", **first)]
    images += [record(f"{n:02d}-00", "00-00", "refine", start_step=step) for n, step in enumerate(tries, 1)]
    return population(images, {i.id: fails for i in images}, decided=[i.id for i in images[:-1]])


@pytest.mark.parametrize(
    ("fails", "tries", "start"),
    [("red", [4], 2), ("red", [4, 2], 1), ("red", [4, 2, 1], 1), ("red holding", [2], 1), ("red holding", [2, 1], 1)],
)
def test_adaptive_goes_back_and_starts_earlier_the_more_was_tried_in_vain(fails, tries, start):
    [decision] = Adaptive(patience=9).judge(in_vain(*tries, fails=fails))
    assert (decision.rule, decision.attempts[0].source, decision.attempts[0].start_step) == (
        "revert_to_best",
        "00-00",
        start,
    )


def test_adaptive_tries_the_other_operator_once_every_kept_step_was_tried():
    kept = {k: f"latents/{k}" for k in (1, 2, 4)}
    tries = [in_vain(*steps, trajectory=kept) for steps in ([], [4], [4, 2], [4, 2, 1])]
    made = [Adaptive(operator="resume", patience=9).judge(people)[0] for people in tries]
    assert [(a.operator, a.start_step) for d in made for a in d.attempts] == [
        ("resume", 4),
        ("resume", 2),
        ("resume", 1),
        ("inject", 4),
    ]
