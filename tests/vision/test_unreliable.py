"""Errors at set rates: as many as asked for, always the same ones, and never a critique that contradicts itself."""

import asyncio
from dataclasses import dataclass, field
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detailscribe.agent.experiments.spec import CriticSettings
from detailscribe.state import Critique, Verdict
from detailscribe.tools.errors import SettingsError
from detailscribe.tools.vision.wrapping import PROFILES, Errors, UnreliableCritic, profile_of

from ..agent.fakes import CHECKS, concepts, critique, record

IMAGES = 200


@dataclass
class Truth:
    """Fails these checks on every image, each for itself."""

    fails: str = ""
    unknown: str = ""
    probability: float | None = None
    model: str = "truth@0"
    asked: list = field(default_factory=list)

    async def critique(self, image, concepts, store) -> Critique:
        self.asked.append(concepts)
        found = critique(image.id, self.fails, self.unknown)
        likely = self.probability
        verdicts = tuple(
            v if likely is None else v.model_copy(update={"probability": likely if v.answer == "pass" else 1 - likely})
            for v in found.verdicts
        )
        return found.model_copy(update={"verdicts": verdicts})


def looks(critic, images=IMAGES, checklist=None):
    made = [record(f"00-{n:03d}", seed=n) for n in range(images)]
    read = checklist or concepts()

    async def look_at_all():
        return [await critic.critique(image, read, None) for image in made]

    return asyncio.run(look_at_all())


def answers(critic, check, images=IMAGES):
    """Of a check that nothing else decides."""
    return [look.answers()[check] for look in looks(critic, images)]


def within(count, rate, trials):
    """Whether so many of the trials are what a coin of that rate gives, four standard deviations either way."""
    return abs(count - rate * trials) <= 4 * sqrt(trials * rate * (1 - rate)) + 1e-9


RATES = st.sampled_from([0.0, 0.05, 0.2, 0.5, 0.9, 1.0])
SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(rate=RATES, seed=SEEDS, correlated=st.sampled_from(["no", "image"]))
def test_verdicts_flip_at_their_rate(rate, seed, correlated):
    passed = answers(UnreliableCritic(Truth(), flip=rate, correlated=correlated, seed=seed), "alone")
    failed = answers(UnreliableCritic(Truth("alone"), flip=rate, correlated=correlated, seed=seed), "alone")
    assert within(passed.count("fail"), rate, IMAGES)
    assert within(failed.count("pass"), rate, IMAGES)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(rate=RATES, seed=SEEDS)
def test_verdicts_are_blanked_missed_and_invented_at_their_rates(rate, seed):
    profile = {"nothing_else": Errors(miss=rate, invent=rate / 2)}
    blanked = answers(UnreliableCritic(Truth("alone"), blank=rate, seed=seed), "alone")
    missed = answers(UnreliableCritic(Truth("alone"), profile=profile, seed=seed), "alone")
    invented = answers(UnreliableCritic(Truth(), profile=profile, seed=seed), "alone")
    assert within(blanked.count("unknown"), rate, IMAGES)
    assert within(missed.count("pass"), rate, IMAGES)
    assert within(invented.count("fail"), rate / 2, IMAGES)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    fails=st.sets(st.sampled_from(CHECKS)),
    unknown=st.sets(st.sampled_from(CHECKS)),
    rates=st.fixed_dictionaries({"flip": RATES, "blank": RATES, "strength": st.floats(0, 3)}),
    correlated=st.sampled_from(["no", "image", "check", "alike"]),
    seed=SEEDS,
)
def test_whatever_the_errors_the_critique_fits_together(fails, unknown, rates, correlated, seed):
    truth = Truth(" ".join(fails), " ".join(unknown), 0.9)
    for look in looks(
        UnreliableCritic(truth, **rates, profile=PROFILES["published"], correlated=correlated, seed=seed), 5
    ):
        Critique.model_validate(look.model_dump())
        said = look.answers()
        assert list(said) == list(CHECKS)
        for child, parent in (("red", "umbrella"), ("holding", "cat")):
            settled = {v.check: v.settled_by for v in look.verdicts}[child]
            assert settled == (parent if said[parent] == "fail" else None)
        assert len(look.issues) == list(said.values()).count("fail")
        assert look.refined_prompt is None or not look.all_pass


def test_a_critic_without_errors_is_the_critic():
    truth = Truth("alone")
    assert looks(UnreliableCritic(truth), 3) == [
        look.model_copy(update={"issues": ("Is there nothing else? No: no evidence given",)})
        for look in looks(truth, 3)
    ]


def test_the_same_image_has_the_same_errors_and_another_seed_has_others():
    def errors(seed):
        return [look.answers() for look in looks(UnreliableCritic(Truth(), flip=0.5, seed=seed), 20)]

    assert errors(1) == errors(1)
    assert errors(1) != errors(2)


def test_checks_err_apart_unless_a_look_goes_wrong_as_a_whole():
    bare = concepts().model_copy(update={"checks": tuple(c for c in concepts().checks if c.aspect == "presence")})

    @dataclass
    class Two(Truth):
        async def critique(self, image, concepts, store):
            return Critique(image=image.id, verdicts=tuple(Verdict(check=c.id, answer="pass") for c in concepts.checks))

    def together(correlated):
        found = looks(UnreliableCritic(Two(), flip=0.5, correlated=correlated), 200, bare)
        return sum(look.answers()["cat"] == look.answers()["umbrella"] for look in found)

    assert together("image") == 200
    assert within(together("no"), 0.5, 200)


def test_a_misread_question_is_misread_on_every_image_of_the_prompt():
    found = answers(UnreliableCritic(Truth(), flip=0.5, correlated="check"), "alone", 30)
    assert len(set(found)) == 1
    other_seeds = {
        answers(UnreliableCritic(Truth(), flip=0.5, correlated="check", seed=s), "alone", 1)[0] for s in range(20)
    }
    assert other_seeds == {"pass", "fail"}


def test_pictures_that_look_alike_have_the_same_errors():
    @dataclass
    class Seen(Truth):
        async def critique(self, image, concepts, store):
            found = await Truth.critique(self, image, concepts, store)
            place = f"place {image.seed % 4}"
            return found.model_copy(
                update={"verdicts": tuple(v.model_copy(update={"evidence": place}) for v in found.verdicts)}
            )

    def by_place(seed):
        found = answers(UnreliableCritic(Seen("alone"), flip=0.5, correlated="alike", seed=seed), "alone", 40)
        return [set(found[place::4]) for place in range(4)]

    several = [by_place(seed) for seed in range(10)]
    assert all(len(answers) == 1 for places in several for answers in places)
    assert any(len({*map(tuple, places)}) == 2 for places in several)


def test_a_stronger_profile_makes_the_same_errors_and_more():
    def missed(strength):
        critic = UnreliableCritic(Truth("alone"), profile=PROFILES["published"], strength=strength)
        return {n for n, answer in enumerate(answers(critic, "alone")) if answer == "pass"}

    assert missed(0) == set() < missed(0.5) < missed(1)


def test_the_published_profile_misses_more_than_it_invents_and_relations_most():
    published = PROFILES["published"]
    assert all(errors.miss > errors.invent for errors in published.values())
    assert max(published, key=lambda aspect: published[aspect].miss) == "relation"
    assert min(published, key=lambda aspect: published[aspect].miss) == "presence"


def test_the_corrected_prompt_follows_from_the_wrong_verdicts():
    class Correcting(Truth):
        async def correct(self, image, concepts, verdicts, store):
            return "mend " + ", ".join(v.check for v in verdicts if v.answer == "fail")

    missed, invented = {"nothing_else": Errors(miss=1.0)}, {"attribute": Errors(invent=1.0)}
    [look] = looks(UnreliableCritic(Correcting("alone holding"), profile=missed | invented), 1)
    assert look.refined_prompt == "mend red, holding"
    [look] = looks(UnreliableCritic(Correcting("alone")), 1)
    assert look.refined_prompt == looks(Truth("alone"), 1)[0].refined_prompt


def test_a_profile_comes_by_name_and_from_a_file(tmp_path):
    file = tmp_path / "critic.json"
    file.write_text('{"relation": {"miss": 0.5, "invent": 0.1}}')
    assert profile_of(str(file)) == {"relation": Errors(miss=0.5, invent=0.1)}
    assert profile_of("published") == PROFILES["published"]
    with pytest.raises(SettingsError, match="'unheard' is none of published, and no file"):
        profile_of("unheard")
    file.write_text('{"relation": {"miss": 1.5}}')
    with pytest.raises(SettingsError, match="miss"):
        profile_of(str(file))


def test_rates_go_by_the_aspect_of_a_check():
    [look] = looks(UnreliableCritic(Truth(), flip={"attribute": 1.0}, blank={"relation": 1.0}), 1)
    assert look.answers() == {"cat": "pass", "umbrella": "pass", "red": "fail", "holding": "unknown", "alone": "pass"}


def test_a_thing_that_is_taken_to_be_there_has_its_parts_judged_for_themselves():
    truth = Truth("umbrella")
    [look] = looks(UnreliableCritic(truth, flip={"presence": 1.0}), 1)
    assert look.answers()["umbrella"] == "pass"
    assert look.answers()["red"] == "pass"
    assert all(not check.depends_on for check in truth.asked[0].checks)


@pytest.mark.parametrize(("checklist", "red"), [("gated", "fail"), ("ungated", "pass"), ("whole", "fail")])
def test_a_checklist_without_gates_has_none_when_the_critic_errs(checklist, red):
    settings = CriticSettings(checklist=checklist, profile="published", strength=0)
    [look] = looks(settings.applied(Truth("umbrella")), 1)
    assert (look.answers()["umbrella"], look.answers()["red"]) == ("fail", red)


def test_a_turned_verdict_is_as_sure_as_the_true_one():
    [look] = looks(UnreliableCritic(Truth("alone", probability=0.9), flip={"nothing_else": 1.0, "presence": 1.0}), 1)
    found = {v.check: v for v in look.verdicts}
    assert (found["alone"].answer, found["alone"].probability) == ("pass", 0.9)
    assert (found["cat"].answer, round(found["cat"].probability, 6)) == ("fail", 0.1)
    assert found["cat"].evidence.startswith("flipped on purpose from pass")


def test_its_name_tells_what_was_done():
    assert UnreliableCritic(Truth(), flip=0.2).model == ("truth@0 (flip=0.2, blank=0.0, correlated=no, seed=0)")
    profile = {"relation": Errors(miss=0.4, invent=0.1)}
    assert UnreliableCritic(Truth(), profile=profile, strength=0.5).model == (
        "truth@0 (flip=0.0, blank=0.0, correlated=no, seed=0, 0.5 x relation=0.4/0.1)"
    )


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"flip": 1.2}, "flip"),
        ({"flip": -0.1}, "flip"),
        ({"strength": -1.0}, "strength"),
        ({"strength": float("inf")}, "strength"),
        ({"blank": {"presense": 0.1}}, "presense"),
        ({"correlated": "yes"}, "correlated"),
    ],
)
def test_a_rate_that_is_none_is_a_clear_error(wrong, place):
    with pytest.raises(ValidationError, match=place):
        UnreliableCritic(Truth(), **wrong)
