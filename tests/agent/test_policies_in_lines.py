"""The policies that refine in lines, as tables: a population goes in, decisions come out."""

import pytest

from detailscribe.agent.graph.judge import sends
from detailscribe.agent.policies import Hybrid, MultiRound, Paper, RandomControl, SeedSearch, line_of, resolve_policy
from detailscribe.state import Budget, Plan
from detailscribe.tools.errors import SettingsError

from .fakes import STEPS, concepts, critique, population, record
from .simulation import simulate

FIRST, SECOND, THIRD = (record(f"00-0{n}", seed=n) for n in range(3))


def chain(*scores):
    """A line in which each image is refined from the one before; ``scores`` are the failed checks of each."""
    images = [FIRST, *(record(f"{n:02d}-00", f"{n - 1:02d}-00", "refine") for n in range(1, len(scores)))]
    script = {image.id: fails for image, fails in zip(images, scores, strict=True)}
    return population(images, script, decided=[i.id for i in images[:-1]])


def decided(policy, people):
    return {d.image: (d.action, d.rule) for d in policy.judge(people)}


@pytest.mark.parametrize(
    ("policy", "people", "expected"),
    [
        pytest.param(MultiRound(), chain("red"), ("refine", "next_round"), id="a first refinement"),
        pytest.param(MultiRound(), chain(""), ("stop", "all_pass"), id="nothing to do"),
        pytest.param(MultiRound(rounds=0), chain("red"), ("stop", "rounds_done"), id="no refinement at all"),
        pytest.param(MultiRound(rounds=1), chain("red holding", "red"), ("stop", "rounds_done"), id="the last round"),
        pytest.param(MultiRound(), chain("red holding", "red"), ("refine", "next_round"), id="a gain"),
        pytest.param(MultiRound(), chain("red", "red holding"), ("refine", "revert_to_best"), id="a loss"),
        pytest.param(MultiRound(), chain("red", "cat"), ("refine", "revert_to_best"), id="no gain"),
        pytest.param(MultiRound(keep="newest"), chain("red", "cat"), ("refine", "next_round"), id="newest anyway"),
        pytest.param(MultiRound(patience=1), chain("red", "cat"), ("stop", "plateau"), id="no patience"),
        pytest.param(
            MultiRound(keep="newest"), chain("red", "cat", "red"), ("stop", "oscillation"), id="what was fixed broke"
        ),
        pytest.param(
            MultiRound(keep="newest"),
            chain("red", "red cat", "red cat alone"),
            ("stop", "regression"),
            id="worse twice",
        ),
        pytest.param(
            MultiRound(keep="newest"), chain("red", "red", "red"), ("stop", "plateau"), id="no change is no oscillation"
        ),
        pytest.param(
            MultiRound(keep="newest", patience=None),
            chain("red", "cat", "red"),
            ("refine", "next_round"),
            id="whatever comes",
        ),
        pytest.param(Hybrid(sequential=2), chain("red", "cat"), ("stop", "rounds_done"), id="a line has its length"),
        pytest.param(Hybrid(), chain("red", "cat"), ("refine", "revert_to_best"), id="a line keeps its best"),
        pytest.param(SeedSearch(rounds=1), chain("red", "cat"), ("stop", "rounds_done"), id="refined enough"),
    ],
)
def test_a_line_goes_on_or_ends_by_name(policy, people, expected):
    [newest] = people.pending()
    assert decided(policy, people) == {newest.id: expected}


def test_the_start_step_is_fixed_or_follows_a_schedule():
    def starts(policy):
        run = simulate(policy, lambda image: critique(image.id, "red"), Budget(rounds=9))
        return [i.start_step for i in run.population.images.values() if i.origin == "refine"]

    assert starts(MultiRound(rounds=4, patience=None)) == [4, 4, 4, 4]
    assert starts(MultiRound(rounds=4, patience=None, start_step=(4, 2, 1))) == [4, 2, 1, 1]


@pytest.mark.parametrize(("keep", "source"), [("best", "00-00"), ("better", "01-00"), ("newest", "02-00")])
def test_a_refinement_goes_on_from_what_it_is_told_to_keep(keep, source):
    people = chain("red", "red cat alone", "red cat alone holding")
    [decision] = MultiRound(keep=keep, patience=None).judge(people)
    assert decision.attempts[0].source == source


def test_a_better_image_is_accepted_and_an_equal_one_is_not():
    assert MultiRound(keep="better").judge(chain("red holding", "red"))[0].attempts[0].source == "01-00"
    assert MultiRound(keep="better").judge(chain("red", "cat"))[0].attempts[0].source == "00-00"


def test_a_second_try_from_the_same_image_adds_other_noise():
    people = population(
        [FIRST, record("01-00", "00-00", "refine", seed=0, prompt="a corrected prompt")],
        {"00-00": "red", "01-00": "red"},
        decided=["00-00"],
    )
    [decision] = MultiRound().judge(people)
    assert (decision.attempts[0].source, decision.attempts[0].start_step) == ("00-00", 4)
    assert decision.attempts[0].seed != FIRST.seed


def test_a_second_resume_from_the_same_image_takes_another_kept_step_and_then_injects():
    def tries(policy):
        run = simulate(policy, lambda image: critique(image.id, "red"), Budget(rounds=9))
        return [(i.operator, i.start_step) for i in run.population.images.values() if i.origin == "refine"]

    resumed = MultiRound(operator="resume", start_step=(4, 2), rounds=3, patience=None)
    assert tries(resumed) == [("resume", 4), ("resume", 2), ("inject", 2)]


def test_seed_search_refines_the_most_promising_drawings():
    people = population([FIRST, SECOND, THIRD], {"00-00": "cat red", "00-01": "red", "00-02": "cat red alone"})
    assert decided(SeedSearch(n=3), people) == {
        "00-01": ("refine", "next_round"),
        "00-00": ("stop", "outranked"),
        "00-02": ("stop", "outranked"),
    }
    assert [d.image for d in SeedSearch(n=3, m=2).judge(people) if d.action == "refine"] == ["00-01", "00-00"]


def test_seed_search_stays_with_the_drawings_it_chose():
    people = simulate(SeedSearch(n=3, rounds=3), lambda image: critique(image.id, "red")).population
    assert [line_of(people, i)[-1].id for i in people.images.values() if i.round] == ["00-00"] * 3


@pytest.mark.parametrize("policy", [SeedSearch(m=3), Hybrid(), MultiRound()], ids=repr)
def test_once_an_image_passes_no_line_goes_on(policy):
    assert decided(policy, population([FIRST, SECOND], {"00-00": "red"})) == {
        "00-00": ("stop", "another_passes"),
        "00-01": ("stop", "all_pass"),
    }


def test_two_lines_of_eight_are_sixteen_images():
    run = simulate(Hybrid(), lambda image: critique(image.id, "red"), Budget(rounds=7))
    assert len(run.population.images) == 16
    assert {i.round for i in run.population.images.values()} == set(range(8))


KEPT = {k: f"latents/{k}" for k in (0, 2, 3, 5)}


@pytest.mark.parametrize("fails", ["red", ""], ids=["something fails", "everything passes"])
def test_the_paper_resumes_its_drawing_at_four_steps_in_one_round_whatever_the_picture(fails):
    people = population([record("00-00", seed=2, trajectory=KEPT)], {"00-00": fails})
    assert decided(Paper(), people) == {"00-00": ("refine", "always_refined")}
    requests = [s.arg["attempt"] for s in sends(Paper().judge(people), people, Paper().plan(people.concepts))]
    assert [(r.id, r.operator, r.start_step, r.seed) for r in requests] == [
        ("01-00", "resume", 0, 2),
        ("01-01", "resume", 2, 2),
        ("01-02", "resume", 3, 2),
        ("01-03", "resume", 5, 2),
    ]


@pytest.mark.parametrize("drawing", ["", "red"])
def test_the_paper_draws_once_from_the_runs_seed_and_keeps_the_best_of_its_four_refinements(drawing):
    fails = {0: "red holding", 2: "red holding", 3: "red", 5: "red holding"}
    run = simulate(Paper(), lambda image: critique(image.id, fails[image.start_step] if image.round else drawing))
    assert [i.seed for i in run.population.images.values()] == [7] * 5
    assert run.population.best().id == "01-02", "the drawing takes no part, better or not"
    assert {d.rule for id, d in run.population.decisions.items() if id > "01"} == {"refined_once"}


def test_where_the_budget_leaves_no_refinement_the_drawing_is_all_there_is():
    run = simulate(Paper(), lambda image: critique(image.id, "red"), Budget(rounds=0))
    assert [i.id for i in run.population.leaders()] == ["00-00"]
    assert run.stops[0].rule == "budget_rounds"


def test_the_paper_has_as_many_branches_as_the_budget_reaches_for():
    run = simulate(Paper(), lambda image: critique(image.id, "red"), Budget(images=3))
    assert [i.start_step for i in run.population.images.values() if i.round == 1] == [0, 2]
    assert run.population.decisions["00-00"].attempts[0].start_step == 0


def test_the_control_looks_at_nothing_but_success():
    def moves(fails):
        policy = RandomControl(images=40, stop_share=0.3)
        run = simulate(policy, lambda image: critique(image.id, fails), Budget(rounds=1, images=100))
        return {id: d.rule for id, d in run.population.decisions.items() if id < "01"}

    assert moves("red") == moves("cat umbrella alone")
    assert set(moves("red").values()) == {"by_lot_stop", "by_lot_refine", "by_lot_reseed"}
    assert set(moves("").values()) == {"all_pass"}


@pytest.mark.parametrize(
    ("policy", "plan"),
    [
        (MultiRound(), Plan(images=1)),
        (MultiRound(operator="resume", start_step=(4, 2, 2)), Plan(images=1, keep_steps=(2, 4))),
        (Hybrid(parallel=3), Plan(images=3)),
        (SeedSearch(n=7), Plan(images=7)),
        (RandomControl(images=3), Plan(images=3)),
        (Paper(), Plan(images=1, keep_steps=(0, 2, 3, 5))),
    ],
    ids=repr,
)
def test_plans(policy, plan):
    assert policy.plan(concepts()) == plan


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("multi_round", {"start_step": [4, 2, 1]}), ("hybrid", {"parallel": 3}), ("seed_search", {"m": 2, "n": 8})],
)
def test_a_setting_reaches_its_policy(name, parameters):
    policy = resolve_policy(name, **parameters)
    assert {key: getattr(policy, key) for key in parameters} == {
        key: tuple(v) if isinstance(v, list) else v for key, v in parameters.items()
    }


@pytest.mark.parametrize("wrong", [{"start_step": []}, {"start_step": -1}, {"keep": "worst"}, {"rounds": -1}])
def test_a_setting_out_of_range_is_a_clear_error(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        resolve_policy("multi_round", **wrong)


def test_a_start_step_beyond_the_schedule_is_brought_into_it():
    [decision] = MultiRound(start_step=90).judge(chain("red"))
    assert decision.attempts[0].start_step == STEPS - 1
