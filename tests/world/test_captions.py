"""Both captions of a spec mean the same, and are read back as it."""

import random

import pytest
from hypothesis import given, settings

from detailscribe.tools.world.grammar import parse
from detailscribe.tools.world.language import detailed_caption, short_caption, whereabouts
from detailscribe.tools.world.scene import Scene
from training.text import MAX_TOKENS, build_tokenizer

from .worlds import SEEDS, spec, spec_and_scene, thing

TOKENIZER = build_tokenizer()


@given(SEEDS)
@settings(deadline=None, max_examples=300)
def test_a_caption_is_read_as_the_spec_it_was_made_of(seed):
    made, _ = spec_and_scene(seed)
    assert parse(short_caption(made)) == made
    assert parse(short_caption(made, random.Random(seed))) == made


@given(SEEDS)
@settings(deadline=None)
def test_the_detailed_caption_begins_with_the_short_one_and_names_every_place(seed):
    made, scene = spec_and_scene(seed)
    short = short_caption(made)
    first, _, layout = detailed_caption(short, scene).partition(". Placed ")
    assert first == short
    assert all(t.noun in layout and whereabouts(t) in layout for t in scene.things)


@given(SEEDS)
@settings(deadline=None)
def test_the_text_encoder_reads_captions_to_their_end(seed):
    made, scene = spec_and_scene(seed)
    ids = TOKENIZER(detailed_caption(short_caption(made, random.Random(seed)), scene)).input_ids
    assert len(ids) <= MAX_TOKENS
    assert TOKENIZER.unk_token_id not in ids


@pytest.mark.parametrize(
    ("made", "caption"),
    [
        (spec("fox, red umbrella", ("holding", (0, 1))), "a fox holding a red umbrella"),
        (spec("fox, umbrella", ("holding", (0, 1))), "a fox holding an umbrella"),
        (spec("fox, tree", ("left of", (0, 1)), place="night"), "a fox to the left of a tree, at night"),
        (
            spec("fox, red car, blue flag", ("riding", (0, 1)), ("holding", (0, 2))),
            "a fox riding a red car and holding a blue flag",
        ),
        (
            spec("fox, car, bear, flag", ("riding", (0, 1)), ("next to", (0, 2)), ("holding", (2, 3))),
            "a fox riding a car, next to a bear holding a flag",
        ),
        (spec("fox, bear, cat", ("in a row", (0, 1, 2))), "a fox, a bear and a cat in a row"),
        (spec("fox, bear, red box", ("lifting", (0, 1, 2))), "a fox and a bear lifting a red box"),
    ],
)
def test_captions_read_as_people_write(made, caption):
    assert short_caption(made) == caption


@pytest.mark.parametrize(
    ("placed", "words"),
    [
        (thing("fox", 0), "far left, bottom"),
        (thing("fox", 1, 5), "left, low"),
        (thing("fox", 2, 4), "middle, halfway"),
        (thing("fox", 3, 3), "right, high"),
        (thing("red car", 4, 2), "far right, top"),
        (thing("red ball", 0), "far left, bottom"),
        (thing("red ball", 5), "far right, bottom"),
    ],
)
def test_a_place_has_words(placed, words):
    assert whereabouts(placed) == words


def test_a_detailed_caption_reads_so():
    scene = Scene("snow", (thing("fox", 0), thing("red ball", 2, 5)))
    assert detailed_caption("a fox holding a ball", scene) == (
        "a fox holding a ball. Placed in the snow: the fox far left, bottom; the red ball middle, low."
    )
