"""New prompts: from the embedded world's grammar, and worded by a chat model and held to the rules."""

import asyncio
import random
import re

import pytest

from detailscribe.tools.data import world_prompts
from detailscribe.tools.data.builder import TAXONOMY, Builder, combinations, gist, is_alike, what_is_wrong
from detailscribe.tools.world.grammar import parse

from ..vision.fakes import FakeChat, no_reply

SCENARIOS = ("functional", "compositional", "multi_subject")


def test_the_world_reads_what_it_made_up_and_training_never_saw_it():
    for record in world_prompts(60, seed=5):
        assert parse(record.prompt).held_out


def test_more_prompts_begin_with_the_same_ones():
    many = [record.prompt for record in world_prompts(40, seed=1)]
    assert many[:10] == [record.prompt for record in world_prompts(10, seed=1)]
    assert len(set(many)) == 40
    assert many != [record.prompt for record in world_prompts(40, seed=2)]


@pytest.mark.parametrize("complexity", [1, 4])
def test_prompts_of_a_complexity_have_as_many_relations(complexity):
    made = [parse(record.prompt) for record in world_prompts(12, seed=3, complexity=complexity)]
    assert {len(spec.links) for spec in made} == {complexity}
    assert all(spec.held_out for spec in made)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_world_has_prompts_of_every_scenario(scenario):
    assert {record.scenario for record in world_prompts(8, scenario=scenario)} == {scenario}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_combinations_are_distinct_and_leave_out_what_is_usual(scenario):
    found = list(combinations(scenario, random.Random(3)))
    assert len({c.brief() for c in found}) == len(found) > 400
    kinds = {kind["name"]: kind for group in TAXONOMY[scenario].values() for kind in group}
    assert not any(set(c.members) & set(kinds[c.name].get("usual", ())) for c in found)
    assert len({c.name for c in found[:10]}) == min(10, len(kinds))


@pytest.mark.parametrize(
    "prompt",
    [
        "A kite is held by a badger.",
        "A plank that is being slowly sawn.",
        "The soup gets stirred in a hat.",
        "A flag carried by two penguins.",
        "Leaves are swept into a heap.",
    ],
)
def test_the_passive_voice_is_seen(prompt):
    assert "passive voice" in what_is_wrong(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "A badger holds a red kite.",
        "An owl is painting a fence in its garden.",
        "A fox sails in a hundred-year-old boat and is red.",
        "A heron is in a wooded valley by a lake, stirring soup.",
        "A mole passes by the shed.",
    ],
)
def test_the_active_voice_is_taken(prompt):
    assert what_is_wrong(prompt) is None


def test_prompts_that_say_the_same_are_alike():
    known = [gist("A badger saws a plank in a workshop.")]
    assert is_alike("In its workshop, the badger is sawing planks.", known)
    assert not is_alike("A badger saws an icicle on a mountain.", known)


def test_length_and_names_are_required():
    assert "4 to 45" in what_is_wrong("A badger saws")
    assert "4 to 45" in what_is_wrong("very " * 46)
    assert what_is_wrong("A raccoon saws a plank.", ["badger"]) == "it does not name badger"
    assert what_is_wrong("Two badgers weave acorn shells.", ["badger", "acorns"]) is None


def listed(question) -> dict[int, str]:
    found = re.search(r"<combinations>\n(.*?)\n</combinations>", question.text, re.DOTALL)
    return {int(line.partition(": ")[0]): line.partition(": ")[2] for line in found[1].splitlines()}


def worded(question, form="Somewhere {brief} on a hill number {n}."):
    """A prompt for each combination that is asked for."""
    rows = listed(question).items()
    return {"prompts": [{"number": n, "prompt": form.format(brief=brief.split(" - ")[0], n=n)} for n, brief in rows]}


def build(builder: Builder, count: int):
    async def all():
        return [record async for record in builder.build(count)]

    return asyncio.run(all())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_prompts_are_built_in_the_number_asked_for(scenario):
    chat = FakeChat(worded)
    found = build(Builder(chat, scenario), 25)
    assert len({record.prompt for record in found}) == len(found) == 25
    assert {record.scenario for record in found} == {scenario}
    assert all(record.extra["combination"] in record.prompt for record in found)
    assert len({record.id for record in found}) == 25
    assert found == build(Builder(FakeChat(worded), scenario), 25)


def test_what_is_wrong_is_said_and_asked_again():
    def answer(question):
        again = "passive" in question.text.partition("<combinations>")[2]
        return worded(question) if again else worded(question, "A thing {brief} is held by a cat, number {n}.")

    chat = FakeChat(answer)
    builder = Builder(chat, "functional")
    found = build(builder, 3)
    assert len(found) == 3
    assert "'is held' is in the passive voice" in chat.questions[1].text
    assert builder.rejected["'is held' is in the passive voice"] == 3


def heap(question):
    """The same words for every form of one material."""
    rows = [(n, brief.partition(" made of ")[2].partition(" - ")[0]) for n, brief in listed(question).items()]
    return {"prompts": [{"number": n, "prompt": f"Many {material} lie on the table."} for n, material in rows]}


def test_a_prompt_that_says_the_same_again_is_turned_down():
    builder = Builder(FakeChat(heap), "compositional")
    found = build(builder, 40)
    assert 5 < len(found) < 40
    assert len({record.prompt for record in found}) == len(found)
    assert builder.rejected["it says nearly the same as another"] > 0


def test_a_model_that_loses_the_subjects_is_left_alone_after_a_while():
    chat = FakeChat(lambda question: worded(question, "Some animal works here, number {n}."))
    builder = Builder(chat, "multi_subject")
    assert build(builder, 2) == []
    assert builder.rejected["no usable prompt came"] == 3 * 2
    assert len(chat.questions) == 3 * 3


def test_a_model_that_gives_no_answer_gives_no_prompt():
    builder = Builder(FakeChat(no_reply), "functional")
    assert build(builder, 1) == []
    assert builder.rejected["no answer: timed out after 120 s"] == 9
