"""The text encoder reads the words that the grammar reads."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detailscribe.tools.world.grammar import EXAMPLES
from detailscribe.tools.world.language import WORDS, canonical, detailed_caption, short_caption
from training.text import BEGIN, END, MAX_TOKENS, PAD, build_tokenizer

from .worlds import SEEDS, spec_and_scene

TOKENIZER = build_tokenizer()
SPELLINGS = (
    *("a", "An", "the", "is", "there", "and", "&", "together", "Placed", "a picture of"),
    *("fox", "foxes", "Bears", "kitten", "bunny", "bikes", "bicycle", "ship", "crate", "cottage", "mug", "tree"),
    *("red", "crimson", "golden", "violet", "emerald"),
    *("next to", "beside", "by", "to the left of", "on the right side of", "on", "in", "under", "beneath", "atop"),
    *("holds", "riding", "sails in", "pushing", "lifting up", "shares", "in a row", "lined up", "standing next to"),
    *("in the snow", "on the beach", "at night", "under the moon", "by the sea", "in a field"),
    *("far left", "far right", "left", "middle", "bottom", "halfway"),
)


def read(text: str) -> list[str]:
    """As the text encoder does, without its frame."""
    first, *tokens, last = TOKENIZER.convert_ids_to_tokens(TOKENIZER(text).input_ids)
    assert (first, last) == ("<begin>", "<end>")
    return tokens


def meant(text: str) -> list[str]:
    """As the grammar does, without commas, which the encoder does not read."""
    return [word if word in WORDS else "<unk>" for word in canonical(text) if word != ","]


@given(SEEDS)
@settings(deadline=None)
def test_captions_are_read_alike(seed):
    made, scene = spec_and_scene(seed)
    short = short_caption(made, random.Random(seed))
    assert read(short) == meant(short)
    assert read(detailed_caption(short, scene)) == meant(detailed_caption(short, scene))


@given(st.lists(st.tuples(st.sampled_from(SPELLINGS), st.sampled_from((" ", ", ", ". ", "; ", ": ", "! ", "? ")))))
@settings(deadline=None)
def test_free_text_is_read_alike(pieces):
    text = "".join(word + after for word, after in pieces)
    assert read(text) == meant(text)


@pytest.mark.parametrize("prompt", EXAMPLES)
def test_no_word_of_the_examples_is_unknown(prompt):
    assert "<unk>" not in read(prompt)


def test_an_unknown_word_is_said_to_be_one():
    assert read("a fox riding a unicorn") == ["fox", "riding", "<unk>"]


def test_every_canonical_word_has_a_token_of_its_own():
    ids = TOKENIZER.convert_tokens_to_ids(list(WORDS))
    assert len(set(ids)) == len(WORDS)
    assert TOKENIZER.unk_token_id not in ids


def test_the_frame_and_the_padding_are_as_the_encoder_knows_them():
    ids = TOKENIZER("a fox", padding="max_length", max_length=8).input_ids
    assert (ids[0], ids[2]) == (BEGIN, END)
    assert set(ids[3:]) == {PAD}
    assert len(TOKENIZER("a fox " * 100, truncation=True).input_ids) == MAX_TOKENS
