"""The critic with a detector that never errs: what it complains of, and the corrected prompt."""

import io
import itertools
import random
import re

import pytest
from hypothesis import given, settings
from PIL import Image

from detailscribe.tools.errors import PromptError
from detailscribe.tools.files import Store
from detailscribe.tools.vision.wrapping import PROFILES, UnreliableCritic
from detailscribe.tools.world.critic import EmbeddedCritic
from detailscribe.tools.world.decomposer import concepts_of
from detailscribe.tools.world.grammar import parse
from detailscribe.tools.world.language import describe, short_caption, whereabouts
from detailscribe.tools.world.layout import members
from detailscribe.tools.world.relations import holds
from detailscribe.tools.world.scene import Scene, Thing
from detailscribe.tools.world.vocabulary import COLOURS, GRID, NOUNS, PLACES
from training.text import MAX_TOKENS, build_tokenizer

from ..agent.fakes import record
from .worlds import SEEDS, ExactDetector, failed_aspects, spec, spec_and_scene, thing

TOKENIZER = build_tokenizer()
PICTURE = Image.new("RGB", (8, 8))
RIDING = spec("fox, red car", ("riding", (0, 1)), place="snow")
RIGHT = Scene("snow", (thing("fox", 2, 5), thing("red car", 2)))


def examined(made, scene, prompt=None, strange=False, name="00-00", corrections="oracle"):
    concepts = concepts_of(made, prompt or short_caption(made))
    return EmbeddedCritic(ExactDetector(scene, strange), corrections).examine(PICTURE, name, concepts)


def wrong_scene(seed: int, scene: Scene) -> Scene:
    """The scene without one of its things."""
    gone = random.Random(seed).choice(scene.things)
    return Scene(scene.place, tuple(t for t in scene.things if t is not gone))


def placed(prompt: str) -> tuple[str, list[str]]:
    """Place and things of the layout that a refined prompt states."""
    found = re.fullmatch(r".*\. Placed (.+?): (.+)\.", prompt)
    assert found, prompt
    return found[1], found[2].split("; ")


def can_stand_at(words: str) -> list[Thing]:
    """Every thing that ``the red car far left, bottom`` may mean."""
    noun = next(n for n in NOUNS if re.search(rf"\b{n}\b", words))
    kind = NOUNS[noun]
    everywhere = itertools.product(
        COLOURS if kind.coloured else (None,), range(GRID - kind.width + 1), range(GRID - kind.height + 1)
    )
    things = [Thing(noun, colour, x, y) for colour, x, y in everywhere]
    return [t for t in things if f"the {describe(t)} {whereabouts(t)}" == words]


def test_what_is_right_needs_no_correction():
    critique = examined(RIDING, RIGHT)
    assert critique.all_pass
    assert (critique.issues, critique.refined_prompt) == ((), None)


@given(SEEDS)
@settings(deadline=None)
def test_what_fulfils_its_spec_is_right(seed):
    assert examined(*spec_and_scene(seed)).all_pass


def test_issues_come_worst_first():
    everything_wrong = Scene("night", (thing("blue car", 0), thing("fox", 2), thing("fox", 4), thing("bear", 4, 3)))
    critique = examined(RIDING, everything_wrong)
    asked = {c.question: c.aspect for c in concepts_of(RIDING, "a prompt").checks}
    aspects = [asked[issue.partition("? ")[0] + "?"] for issue in critique.issues]
    assert aspects == ["relation", "attribute", "count", "scene", "nothing_else"]


def test_a_missing_thing_comes_before_all_and_its_children_are_settled():
    critique = examined(RIDING, Scene("snow", (thing("red car", 2),)))
    assert critique.issues[0].startswith(concepts_of(RIDING, "p").check("presence:fox").question)
    assert {v.check for v in critique.verdicts if v.settled_by == "presence:fox"} == {
        "count:fox",
        "relation:fox riding car",
    }


@given(SEEDS)
@settings(deadline=None)
def test_the_refined_prompt_goes_on_from_the_users_words_and_states_a_layout_that_fulfils_them(seed):
    made, scene = spec_and_scene(seed)
    prompt = short_caption(made)
    refined = examined(made, wrong_scene(seed, scene)).refined_prompt
    first, _, _ = refined.partition(". Placed ")
    assert first == prompt
    assert parse(first) == made
    place, words = placed(refined)
    assert place in ([PLACES[made.place].phrase] if made.place else [p.phrase for p in PLACES.values()])
    standing = list(itertools.product(*map(can_stand_at, words)))
    assert any(all(holds(link.relation, members(link, things)) for link in made.links) for things in standing)
    assert all(w.colour in (None, t.colour) for w, t in zip(made.things, standing[0], strict=True))


@given(SEEDS)
@settings(deadline=None)
def test_what_is_right_stays_where_it_is(seed):
    made, scene = spec_and_scene(seed)
    left = wrong_scene(seed, scene)
    _, words = placed(examined(made, left).refined_prompt)
    assert {f"the {describe(t)} {whereabouts(t)}" for t in left.things} < set(words)


def test_a_missing_rider_comes_to_its_bicycle():
    made = spec("fox, red bicycle, bear", ("riding", (0, 1)), ("next to", (0, 2)))
    there = Scene("snow", (thing("red bicycle", 3), thing("bear", 1)))
    for name in ("00-00", "00-01", "01-00", "02-00"):
        _, words = placed(examined(made, there, name=name).refined_prompt)
        assert words == ["the fox right, low", "the red bicycle right, bottom", "the bear left, bottom"]


def test_open_colours_and_the_open_place_stay_as_they_are_seen():
    made = spec("fox, car", ("riding", (0, 1)))
    refined = examined(made, Scene("beach", (thing("fox", 0), thing("purple car", 3)))).refined_prompt
    assert "Placed on the beach:" in refined
    assert "the purple car" in refined


def test_the_same_picture_gets_the_same_correction_and_another_image_may_get_another():
    empty = Scene("snow", ())
    refined = {examined(RIDING, empty, name=name).refined_prompt for name in ("a", "b", "c", "d", "e") for _ in "12"}
    again = {examined(RIDING, empty, name=name).refined_prompt for name in ("a", "b", "c", "d", "e")}
    assert refined == again
    assert len(refined) > 1


@pytest.mark.parametrize("ending", ["", ".", " . "])
def test_one_full_stop_ends_the_users_sentence(ending):
    refined = examined(RIDING, Scene("snow", ()), prompt=f"a fox riding a red car, in the snow{ending}").refined_prompt
    assert refined.startswith("a fox riding a red car, in the snow. Placed in the snow: ")


CAR, FOX = thing("red car", 2), thing("fox", 2, 5)
WORDED = [
    ("presence", ("snow", CAR), {
        "place": "the fox middle, low; the red car middle, bottom; only one fox middle, low",
        "pose": "the fox middle; the fox low; the red car bottom; only one fox",
        "words": "the fox; a fox riding a red car; only one fox",
    }),
    ("relation", ("snow", CAR, thing("fox", 0)), {
        "place": "the fox middle, low; the red car middle, bottom",
        "pose": "the fox low; the red car bottom",
        "words": "a fox riding a red car",
    }),
    ("attribute", ("snow", thing("blue car", 2), FOX), {
        "place": "the red car middle, bottom", "pose": "the red car", "words": "the red car",
    }),
    ("count", ("snow", CAR, FOX, thing("fox", 4)), {
        "place": "only one fox middle, low", "pose": "only one fox", "words": "only one fox",
    }),
    ("scene", ("night", CAR, FOX), dict.fromkeys(("place", "pose", "words"), "in the snow")),
    ("nothing_else", ("snow", CAR, FOX, thing("tree", 4)), dict.fromkeys(("place", "pose", "words"), "nothing else")),
]  # fmt: skip
"""What failed, place and things of the picture, and what is said of it by how explicit a correction is."""


@pytest.mark.parametrize(("aspect", "seen", "said"), WORDED, ids=[case[0] for case in WORDED])
def test_a_correction_speaks_of_what_failed_as_explicitly_as_is_wanted(aspect, seen, said):
    scene = Scene(seen[0], seen[1:])
    assert failed_aspects(RIDING, scene) - {"relation", "count"} == {aspect} - {"relation", "count"}
    for corrections, words in said.items():
        refined = examined(RIDING, scene, corrections=corrections).refined_prompt
        assert refined == f"{short_caption(RIDING)}. Placed: {words}."


def test_the_gravest_is_said_first_and_what_is_right_is_left_alone():
    made = spec("fox, red car, bear, blue flag", ("riding", (0, 1)), ("next to", (0, 2)), ("holding", (2, 3)))
    there = Scene("snow", (FOX, CAR, thing("bear", 4), thing("red flag", 0), thing("tree", 0, 5)))
    refined = examined(made, there, corrections="words").refined_prompt
    assert refined.partition(". Placed: ")[2] == "a bear holding a blue flag; the blue flag; nothing else."


@given(SEEDS)
@settings(deadline=None, max_examples=30)
def test_every_word_of_a_correction_is_known_to_the_text_encoder(seed):
    made, scene = spec_and_scene(seed)
    for corrections in ("place", "pose", "words"):
        refined = examined(made, wrong_scene(seed, scene), strange=True, corrections=corrections).refined_prompt
        ids = TOKENIZER(refined).input_ids
        assert TOKENIZER.unk_token_id not in ids
        assert len(ids) <= MAX_TOKENS


async def test_a_correction_follows_the_verdicts_that_it_is_given(tmp_path):
    image, concepts = record("00-00"), concepts_of(RIDING, short_caption(RIDING))
    (tmp_path / image.path).parent.mkdir(parents=True, exist_ok=True)
    PICTURE.save(tmp_path / image.path)
    critic = EmbeddedCritic(ExactDetector(RIGHT), "words")
    right = critic.examine(PICTURE, image.id, concepts).verdicts
    wrong = [v.model_copy(update={"answer": "fail"}) if v.check == "attribute:car" else v for v in right]
    assert await critic.correct(image, concepts, right, Store(tmp_path)) is None
    refined = await critic.correct(image, concepts, wrong, Store(tmp_path))
    assert refined == f"{short_caption(RIDING)}. Placed: the red car."


@pytest.mark.parametrize("corrections", ["oracle", "place", "pose", "words"])
async def test_a_critic_that_could_err_and_does_not_writes_the_same_correction(tmp_path, corrections):
    image, concepts = record("00-00"), concepts_of(RIDING, short_caption(RIDING))
    store = Store(tmp_path)
    (tmp_path / image.path).parent.mkdir(parents=True, exist_ok=True)
    PICTURE.save(tmp_path / image.path)
    critic = EmbeddedCritic(ExactDetector(Scene("snow", (CAR,))), corrections)
    plain = await critic.critique(image, concepts, store)
    tried = await UnreliableCritic(critic, profile=PROFILES["published"], strength=0).critique(image, concepts, store)
    assert any(v.settled_by for v in plain.verdicts)
    assert (tried.answers(), tried.refined_prompt) == (plain.answers(), plain.refined_prompt)


def test_question_and_answers_are_kept_line_by_line():
    critique = examined(RIDING, Scene("snow", (thing("red car", 2),)))
    [exchange] = critique.exchanges
    concepts = concepts_of(RIDING, "a prompt")
    assert exchange.prompt.splitlines() == [c.question for c in concepts.checks]
    assert [line.split()[0] for line in exchange.reply.splitlines()] == [v.answer for v in critique.verdicts]
    assert exchange.model == "exact@0"


async def test_the_picture_is_read_from_the_store(tmp_path):
    store = Store(tmp_path)
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG")
    image = record("00-00")
    store.write(image.path, buffer.getvalue())
    critique = await EmbeddedCritic(ExactDetector(RIGHT)).critique(image, concepts_of(RIDING, "a prompt"), store)
    assert critique.image == "00-00"
    assert critique.all_pass


def test_concepts_from_outside_are_refused():
    concepts = concepts_of(RIDING, "a prompt")
    foreign = concepts.model_copy(update={"scene": "on the moon"})
    with pytest.raises(PromptError, match="on the moon"):
        EmbeddedCritic(ExactDetector(RIGHT)).examine(PICTURE, "00-00", foreign)
