"""What prompts mean, and what is said of those that mean nothing here."""

import json
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detailscribe.tools.errors import PromptError
from detailscribe.tools.world.decomposer import EmbeddedDecomposer
from detailscribe.tools.world.grammar import EXAMPLES, parse
from detailscribe.tools.world.vocabulary import COLOURS, NOUNS

from .worlds import ROOT, spec

INTERACTING = ROOT.parent / "shared" / "data" / "interacting"
NEXT_TO = "a fox next to a red car"
HOLDS = "a cat holding a yellow balloon"
LEFT = "a cat left of a tree"
SAME = [
    (NEXT_TO, "the fox beside the red car"),
    (NEXT_TO, "A FOX NEXT TO A RED CAR!"),
    (NEXT_TO, "fox next to red car"),
    (NEXT_TO, "a fox is standing next to a red car."),
    (NEXT_TO, "There is a fox, close to a crimson automobile"),
    (NEXT_TO, "  a picture of a fox\n near a scarlet car "),
    (HOLDS, "a cat holds a yellow balloon"),
    (HOLDS, "cats hold golden balloons"),
    (HOLDS, "a kitten carrying a gold balloon"),
    (HOLDS, "a cat that is holding a yellow balloon"),
    (HOLDS, "a cat, holding a yellow balloon"),
    (HOLDS, "a cat and holding a yellow balloon"),
    (LEFT, "a cat to the left of a tree"),
    (LEFT, "a kitty on the left side of the tree"),
    ("a dog riding a bicycle", "a puppy rides a bike"),
    ("a dog riding a boat", "a puppy sails a ship"),
    ("a bear inside a box", "a bear hiding in a crate"),
    ("a bear on top of a house", "a bear sitting on a cottage"),
    ("a bear under a blue umbrella", "a bear stands beneath a blue parasol"),
    ("a frog pushing a basket", "a toad shoves the basket"),
    ("a cat and a dog lifting a box", "a cat & a dog are lifting up one box together"),
    ("a fox, a bear and a cat in a row", "a fox and a bear and a cat lined up"),
    ("a fox, a bear and a cat in a row", "a fox, a bear, a cat standing in a line"),
    ("a cat at night", "at night, a cat"),
    ("a cat at night", "a cat under the stars"),
    ("a cat on the beach", "a cat by the sea"),
    ("a cat in the snow", "a cat; in winter"),
    ("a cat in the meadow", "a cat in a park"),
]
CLAUSES = [
    pytest.param(
        "a fox riding a bicycle and holding a balloon",
        spec("fox, bicycle, balloon", ("riding", (0, 1)), ("holding", (0, 2))),
        id="the clause's own subject goes on after 'and'",
    ),
    pytest.param(
        "a fox next to a bear holding a balloon",
        spec("fox, bear, balloon", ("next to", (0, 1)), ("holding", (1, 2))),
        id="who stands at the side is the subject at once",
    ),
    pytest.param(
        "a fox on top of a box under a balloon",
        spec("fox, box, balloon", ("on top of", (0, 1)), ("under", (1, 2))),
        id="and so is what carries",
    ),
    pytest.param(
        "a fox next to a bear, holding a balloon",
        spec("fox, bear, balloon", ("next to", (0, 1)), ("holding", (0, 2))),
        id="after a comma it is the clause's own subject again",
    ),
    pytest.param(
        "a fox riding a bicycle next to a bear",
        spec("fox, bicycle, bear", ("riding", (0, 1)), ("next to", (0, 2))),
        id="what is ridden does nothing",
    ),
    pytest.param(
        "a fox riding a bicycle, a bear holding a balloon",
        spec("fox, bicycle, bear, balloon", ("riding", (0, 1)), ("holding", (2, 3))),
        id="a new thing after a comma begins a clause",
    ),
    pytest.param(
        "a fox riding a bicycle and a bear holding a balloon",
        spec("fox, bicycle, bear, balloon", ("riding", (0, 1)), ("holding", (2, 3))),
        id="and after 'and'",
    ),
    pytest.param(
        "a fox riding a bicycle. The fox is left of a tree",
        spec("fox, bicycle, tree", ("riding", (0, 1)), ("left of", (0, 2))),
        id="a thing is known by its noun",
    ),
    pytest.param(
        "a fox and a bear next to a tree",
        spec("fox, bear, tree", ("next to", (0, 2)), ("next to", (1, 2))),
        id="two subjects do it each",
    ),
    pytest.param(
        "a fox and a bear sharing a cup",
        spec("fox, bear, cup", ("sharing", (0, 1, 2))),
        id="unless they do it together",
    ),
    pytest.param(
        "a fox holding a cup, the fox holding the cup",
        spec("fox, cup", ("holding", (0, 1))),
        id="twice said is once said",
    ),
    pytest.param("a red car", spec("red car"), id="a thing may be alone"),
    pytest.param(
        "a fox giving a cup to a bear and wearing a hat",
        spec("fox, cup, bear, hat", ("giving", (0, 1, 2)), ("wearing", (0, 3))),
        id="what is given and who gets it both follow",
    ),
    pytest.param(
        "a fox and a cat between a bear and a tree",
        spec("fox, cat, bear, tree", ("between", (0, 2, 3)), ("between", (1, 2, 3))),
        id="between takes two, whoever is there",
    ),
    pytest.param(
        "a fox holding a red ball, next to a blue ball, the blue ball left of the red ball",
        spec("fox, red ball, blue ball", ("holding", (0, 1)), ("next to", (0, 2)), ("left of", (2, 1))),
        id="two of a kind differ in their colours",
    ),
]
REFUSED = [
    ("", "names no thing"),
    ("at night", "names no thing"),
    ("a fox and a unicorn", "does not know 'unicorn'"),
    ("a fox 狐", "does not know '狐'"),
    ("two cats", "does not know 'two'"),
    ("a cat and a cat in the snow", "two cats"),
    ("a fox next to a fox", "two foxes"),
    ("a ball left of a blue ball", "two balls"),
    ("a red ball left of a blue ball, a fox holding the ball", "two balls"),
    ("a fox between a bear", "'between' is followed by nothing"),
    ("a fox giving a cup to a fox", "two foxes"),
    ("a fox and a fox lifting a box", "two foxes"),
    ("a red fox", "natural colour"),
    ("a green tree", "natural colour"),
    ("a red blue car", "two colours, red and blue"),
    ("a red and blue car", "two colours, red and blue"),
    ("a fox in the snow on the beach at night", "two places, snow and beach"),
    ("a fox, a bear, a cat, a dog, a frog, a pig and a tree", "7 things"),
    ("a fox riding", "'riding' is followed by nothing"),
    ("a fox riding a red", "followed by nothing"),
    ("a fox riding at night", "'riding' is followed by nothing"),
    ("riding a car", "'riding' has no subject"),
    ("a fox riding holding a cup", "'holding' has no subject"),
    ("a fox lifting a box", "takes 2 subjects, not 1"),
    ("a fox and a bear in a row", "takes 3 subjects, not 2"),
]


@pytest.mark.parametrize(("prompt", "other"), SAME)
def test_many_spellings_mean_one_thing(prompt, other):
    assert parse(other) == parse(prompt)


def test_order_of_the_words_is_order_of_the_roles():
    assert parse("a fox left of a bear").links == parse("a bear left of a fox").links
    assert parse("a fox left of a bear").things == parse("a bear left of a fox").things[::-1]


@pytest.mark.parametrize(("prompt", "meant"), CLAUSES)
def test_clauses_are_read_so(prompt, meant):
    assert parse(prompt) == meant


@pytest.mark.parametrize("prompt", EXAMPLES)
async def test_the_examples_work(prompt):
    assert (await EmbeddedDecomposer().decompose(prompt)).prompt == prompt


@pytest.mark.parametrize(("prompt", "why"), REFUSED)
def test_what_has_no_meaning_here_is_refused_with_the_reason(prompt, why):
    with pytest.raises(PromptError, match=re.escape(why)):
        parse(prompt)


@pytest.mark.parametrize("prompt", ["a foxx riding\n a biccycle \x00 \u2028", "a fox\nriding", "a fox, a fox"])
def test_a_refusal_is_one_line_that_says_what_works_and_how_to_go_on(prompt):
    with pytest.raises(PromptError) as refused:
        parse(prompt)
    said = str(refused.value)
    assert len(said.splitlines()) == 1
    assert all(example in said for example in EXAMPLES)
    assert "full-size models" in said


def test_unknown_words_are_named_with_the_nearest_known_ones():
    with pytest.raises(PromptError) as refused:
        parse("a foxx riding a biccycle under a chandelier")
    said = str(refused.value)
    assert re.search(r"'foxx' \(nearest: .*\bfox\b", said)
    assert re.search(r"'biccycle' \(nearest: .*\bbicycle\b", said)
    assert "'chandelier'" in said
    assert "'riding'" not in said


def test_a_flood_of_unknown_words_is_not_repeated_whole():
    with pytest.raises(PromptError) as refused:
        parse(" ".join(f"w{n}" for n in range(500)))
    assert len(str(refused.value)) < 1000


HOSTILE = (
    *("a", "é", "İ", " ", ".", ",", "-", "'", "!", "\n", "x ", "é "),
    *("fox ", "a fox, ", "red ", "in the ", "standing ", "on "),
)


def cost(text: str) -> float:
    """Seconds of this thread in which a text is read or refused, the least of three."""
    taken = []
    for _ in range(3):
        started = time.thread_time()
        refusal(text)
        taken.append(time.thread_time() - started)
    return min(taken)


@pytest.mark.parametrize("piece", HOSTILE)
def test_the_time_of_reading_grows_no_faster_than_the_text(piece):
    # Eight times the text takes eight times as long where reading is linear, and 64 times where it is quadratic.
    assert cost(piece * 24_000) < 24 * cost(piece * 3_000) + 0.02


def test_a_word_of_any_length_is_refused_in_few_letters():
    assert len(refusal("x" * 20_000)) < 1000


@pytest.mark.skipif(not INTERACTING.is_dir(), reason="the InterActing prompts are not beside this checkout")
def test_prompts_of_the_paper_are_read_or_refused():
    lines = [line for file in sorted(INTERACTING.glob("*.jsonl")) for line in file.read_text().splitlines()]
    prompts = [json.loads(line)["prompt"] for line in lines]
    assert len(prompts) == 1000
    for prompt in prompts:
        assert len(refusal(prompt).splitlines()) <= 1


def refusal(prompt: str) -> str:
    """What is said of a prompt that cannot be read; nothing of one that can."""
    try:
        parse(prompt)
    except PromptError as refused:
        return str(refused)
    return ""


@given(st.text(max_size=60))
@example("\ud800")
@example("İ fox")
def test_no_text_does_anything_else(text):
    assert len(refusal(text).splitlines()) <= 1


KNOWN = (
    *("fox", "bear", "cat", "cup", "car", "box", "house", "red", "blue", "and", ",", ".", ", a"),
    *("next to", "left of", "on", "in", "holding", "riding", "lifting", "sharing", "in a row", "at night"),
)


@given(st.lists(st.sampled_from(KNOWN), max_size=9).map(" ".join))
@settings(deadline=None, max_examples=400)
async def test_no_order_of_known_words_is_more_than_read_or_refused(text):
    try:
        concepts = await EmbeddedDecomposer().decompose(text)
    except PromptError:
        return
    assert {e.name for e in concepts.entities} <= set(NOUNS)
    assert all(set(e.attributes) <= set(COLOURS) for e in concepts.entities)
