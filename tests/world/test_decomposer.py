"""Prompts of the embedded world become concept graphs, and back."""

from collections import Counter

import pytest
from hypothesis import given, settings

from detailscribe.state import ConceptGraph, Entity, Interaction
from detailscribe.tools.errors import PromptError
from detailscribe.tools.world import EXAMPLES, EmbeddedDecomposer
from detailscribe.tools.world.decomposer import concepts_of, spec_of

from .worlds import SEEDS, spec, spec_and_scene


@given(SEEDS)
@settings(deadline=None)
def test_a_spec_survives_the_way_there_and_back(seed):
    made, _ = spec_and_scene(seed)
    concepts = concepts_of(made, "a prompt")
    assert spec_of(concepts) == made
    assert spec_of(ConceptGraph.model_validate_json(concepts.model_dump_json())) == made


@given(SEEDS)
@settings(deadline=None)
def test_whatever_a_thing_is_or_does_depends_on_its_presence(seed):
    made, _ = spec_and_scene(seed)
    concepts = concepts_of(made, "a prompt")
    for check in concepts.checks:
        if check.aspect == "relation":
            parents = {f"presence:{id}" for id in concepts.interaction(check.about).members()}
        elif check.aspect in ("attribute", "count"):
            parents = {f"presence:{check.about}"}
        else:
            parents = set()
        assert set(check.depends_on) == parents


@given(SEEDS)
@settings(deadline=None)
def test_everything_in_a_spec_is_asked_for(seed):
    made, _ = spec_and_scene(seed)
    aspects = [check.aspect for check in concepts_of(made, "a prompt").checks]
    assert aspects.count("presence") == aspects.count("count") == len(made.things)
    nouns = Counter(w.noun for w in made.things)
    assert aspects.count("attribute") == sum(w.colour is not None and nouns[w.noun] == 1 for w in made.things)
    assert aspects.count("relation") == len(made.links)
    assert aspects.count("scene") == (made.place is not None)
    assert aspects.count("nothing_else") == 1


async def test_a_prompt_becomes_its_checklist():
    concepts = await EmbeddedDecomposer().decompose("a fox riding a red car at night")
    assert [check.id for check in concepts.checks] == [
        *("presence:fox", "count:fox"),
        *("presence:car", "attribute:car", "count:car"),
        *("relation:fox riding car", "scene", "nothing_else"),
    ]
    assert concepts.check("attribute:car").question.endswith("?")
    assert concepts.interaction("fox riding car").kind == "functional"


async def test_two_of_a_kind_are_told_apart_by_their_colours():
    prompt = "a fox holding a red ball, next to a bear holding a blue ball"
    concepts = await EmbeddedDecomposer().decompose(prompt)
    assert [(e.id, e.name, e.attributes) for e in concepts.entities[1:4:2]] == [
        ("red ball", "ball", ("red",)),
        ("blue ball", "ball", ("blue",)),
    ]
    assert [check.question for check in concepts.checks if check.about == "red ball"] == [
        "Is there any red ball in the picture?",
        "Does the picture show exactly one red ball?",
    ]
    assert concepts.check("relation:bear holding blue ball").question == "Is the bear holding the blue ball?"


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("a fox giving a red ball to a bear", "Is the fox giving the ball to the bear?"),
        ("a fox between a bear and a tree", "Is the fox between the bear and the tree?"),
        ("a fox wearing a red hat", "Is the fox wearing the hat?"),
        ("a fox behind a red car", "Is the fox behind the car?"),
        ("a fox leaping over a red car", "Is the fox jumping over the car?"),
    ],
)
async def test_what_relates_three_things_is_asked_in_one_sentence(prompt, question):
    concepts = await EmbeddedDecomposer().decompose(prompt)
    [check] = [check for check in concepts.checks if check.aspect == "relation"]
    assert check.question == question
    assert len(check.depends_on) == len(concepts.entities)


async def test_together_is_one_interaction_of_several_subjects():
    concepts = await EmbeddedDecomposer().decompose("a fox and a bear lifting a box")
    [lifting] = concepts.interactions
    assert (lifting.kind, lifting.subjects, lifting.object) == ("multi_subject", ("fox", "bear"), "box")


@pytest.mark.parametrize(
    "prompt",
    [
        "a house riding a cat",
        "a fox left of a bear, the bear left of the fox",
        "a fox, a bear and a cat in a row and a dog next to the fox",
        "a tree holding a cup",
    ],
)
async def test_a_scene_that_cannot_be_is_refused(prompt):
    with pytest.raises(PromptError, match="no picture") as refused:
        await EmbeddedDecomposer().decompose(prompt)
    assert EXAMPLES[0] in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


CAT = Entity(id="cat", name="cat")


@pytest.mark.parametrize(
    ("concepts", "strange"),
    [
        (ConceptGraph(prompt="p", entities=(Entity(id="u", name="unicorn"),)), "unicorn"),
        (ConceptGraph(prompt="p", entities=(Entity(id="car", name="car", attributes=("rusty",)),)), "rusty"),
        (ConceptGraph(prompt="p", entities=(CAT,), scene="on the moon"), "on the moon"),
        (
            ConceptGraph(
                prompt="p",
                entities=(CAT, Entity(id="car", name="car")),
                interactions=(
                    Interaction(id="i", kind="contact", subjects=("cat",), relation="polishing", object="car"),
                ),
            ),
            "polishing",
        ),
    ],
)
def test_concepts_from_elsewhere_are_refused_by_name(concepts, strange):
    with pytest.raises(PromptError, match=strange):
        spec_of(concepts)


def test_a_spec_of_a_single_thing_has_no_interactions():
    assert concepts_of(spec("red ball"), "a red ball").interactions == ()
