"""The answer of most critics wins; what they cannot agree on is unknown; nobody's silence is a vote."""

import asyncio
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailscribe.state import Critique, Exchange, Verdict, spend_of
from detailscribe.tools.errors import SettingsError
from detailscribe.tools.vision.wrapping import UnreliableCritic, VotingCritic, WholeCritic

from ..agent.fakes import CHECKS, concepts, critique, record
from .test_unreliable import IMAGES, Truth, answers, within

IMAGE = record("00-00")


class Says:
    """One critique, whatever it is asked."""

    def __init__(self, fails="", unknown="", refined="a corrected prompt", probability=None, settled=()):
        found = critique(IMAGE.id, fails, unknown, refined)
        verdicts = [v.model_copy(update={"probability": probability}) for v in found.verdicts]
        verdicts = [
            v
            if v.check not in dict(settled)
            else Verdict(check=v.check, answer="fail", settled_by=dict(settled)[v.check])
            for v in verdicts
        ]
        exchange = Exchange(model="m", prompt="p", reply="r", prompt_tokens=3)
        self.found = found.model_copy(update={"verdicts": tuple(verdicts), "exchanges": (exchange,)})

    async def critique(self, image, concepts, store) -> Critique:
        return self.found


def elected(*critics):
    return asyncio.run(VotingCritic(*critics).critique(IMAGE, concepts(), None))


@pytest.mark.parametrize(
    ("votes", "answer"),
    [
        (["fail", "fail", "pass"], "fail"),
        (["pass", "fail", "pass"], "pass"),
        (["pass", "fail"], "unknown"),
        (["pass", "unknown"], "pass"),
        (["pass", "unknown", "unknown"], "unknown"),
        (["unknown"], "unknown"),
        (["fail"], "fail"),
    ],
    ids="-".join,
)
def test_most_answers_win_and_a_tie_is_unknown(votes, answer):
    critics = [Says(**{"pass": {}, "fail": {"fails": "alone"}, "unknown": {"unknown": "alone"}}[v]) for v in votes]
    look = elected(*critics)
    assert look.answers()["alone"] == answer
    assert len(look.issues) == (answer == "fail")


def test_who_settled_a_check_without_asking_has_no_vote_on_it():
    settler = Says("cat holding", settled={"holding": "cat"})
    look = elected(settler, settler, Says(), Says(), Says("holding"))
    assert look.answers()["cat"] == "pass"
    assert next(v for v in look.verdicts if v.check == "holding").probability == pytest.approx(2 / 3)


def test_what_every_critic_settled_by_a_minority_parent_is_unknown():
    both = concepts()
    checks = tuple(
        c.model_copy(update={"depends_on": ("cat", "umbrella", "alone")}) if c.id == "holding" else c
        for c in both.checks
    )
    critics = [Says(f"{p} holding", settled={"holding": p}) for p in ("cat", "umbrella", "alone")]
    found = asyncio.run(VotingCritic(*critics).critique(IMAGE, both.model_copy(update={"checks": checks}), None))
    assert found.answers()["holding"] == "unknown"


def test_a_parent_that_most_fail_settles_its_children():
    look = elected(
        Says("cat holding", settled={"holding": "cat"}), Says("cat holding", settled={"holding": "cat"}), Says()
    )
    assert next(v for v in look.verdicts if v.check == "holding").settled_by == "cat"


def test_the_corrected_prompt_is_that_of_the_critic_that_agrees_most():
    look = elected(Says("red alone", refined="all wrong"), Says("red", refined="right"), Says("red holding"), Says())
    assert look.refined_prompt == "right"
    assert elected(Says(), Says(), Says("red")).refined_prompt is None


def test_probabilities_are_averaged_over_those_that_answer():
    sure, unsure = Says(probability=0.9), Says(probability=0.6)
    assert elected(sure, sure, unsure).verdicts[0].probability == pytest.approx(0.8)


def test_every_exchange_and_every_look_is_counted():
    look = elected(Says(), Says(), Says())
    spend = spend_of(None, {IMAGE.id: IMAGE}, {IMAGE.id: look})
    assert (spend.critic_calls, spend.tokens) == (3, 9)
    assert elected(VotingCritic(Says(), Says()), Says()).looks == 3


@settings(max_examples=5, deadline=None, derandomize=True)
@given(rate=st.sampled_from([0.05, 0.1, 0.2, 0.3]), seed=st.integers(0, 2**20))
def test_three_independent_critics_err_as_seldom_as_the_binomial_says(rate, seed):
    critics = [UnreliableCritic(Truth(), flip=rate, seed=seed + n) for n in range(3)]
    wrong = answers(VotingCritic(*critics), "alone").count("fail")
    assert within(wrong, comb(3, 2) * rate**2 * (1 - rate) + rate**3, IMAGES)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    truth=st.lists(st.sets(st.sampled_from(CHECKS)), min_size=1, max_size=4),
    flip=st.floats(0, 1),
    blank=st.floats(0, 1),
)
def test_an_election_among_any_critics_fits_together(truth, flip, blank):
    critics = [UnreliableCritic(Truth(" ".join(t)), flip=flip, blank=blank, seed=n) for n, t in enumerate(truth)]
    look = elected(*critics)
    Critique.model_validate(look.model_dump())
    assert list(look.answers()) == list(CHECKS)


def test_no_critic_is_a_clear_error_and_the_name_tells_all():
    with pytest.raises(SettingsError, match="at least one critic"):
        VotingCritic()
    assert VotingCritic(Truth(), Says()).model == "vote of truth@0, Says"


class Silent:
    """No usable answer comes."""

    async def critique(self, image, concepts, store) -> Critique:
        lost = (Verdict(check=c.id, answer="unknown", reason="rate limit", heard=False) for c in concepts.checks)
        return Critique(image=image.id, verdicts=tuple(lost))


@pytest.mark.parametrize(
    "critic", [VotingCritic(Silent(), Silent()), WholeCritic(Silent()), UnreliableCritic(Silent(), blank=1.0, flip=1.0)]
)
def test_silence_stays_silence_whatever_is_around_the_critic(critic):
    look = asyncio.run(critic.critique(IMAGE, concepts(), None))
    assert look.silence
    assert set(look.answers().values()) == {"unknown"}


def test_one_critic_that_is_heard_breaks_the_silence():
    assert elected(Silent(), Says("alone")).silence is None
    unsure = elected(Silent(), Silent(), Says(unknown="alone"))
    assert next(v for v in unsure.verdicts if v.check == "alone").heard
