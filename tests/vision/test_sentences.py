"""A corrected prompt begins with the user's own words and has no more words than allowed."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detailscribe.tools.sentences import corrections, count_words, opening, problem, repaired, sentences

INTERACTING = Path(__file__).parents[3] / "shared" / "data" / "interacting"


@pytest.mark.parametrize(
    ("prompt", "first"),
    [
        ("a cat", "a cat."),
        ("A cat.", "A cat."),
        (" A cat! ", "A cat!"),
        ('He says "go!"', 'He says "go!"'),
        ("a cat, a dog,", "a cat, a dog,"),
        ('a sign that says "hello"', 'a sign that says "hello".'),
        ("一只猫。", "一只猫。"),
    ],
)
def test_the_users_prompt_is_the_first_sentence(prompt, first):
    assert opening(prompt) == first


@pytest.mark.parametrize(
    ("prompt", "answer", "rest"),
    [
        ("a cat", "a cat. It sits.", "It sits."),
        ("a cat", "A cat.  It sits.", "It sits."),
        ("A cat.", "A cat. It sits.", "It sits."),
        ("A cat.", "A cat! It sits.", "It sits."),
        ("A cat. A dog.", "A cat.\nA dog. They sit.", "They sit."),
        ("a cat’s “hat”", 'a cat\'s "hat". It sits.', "It sits."),
        ('He says "go!"', 'He says "go!" She sits.', "She sits."),
        ("a cat, a dog,", "a cat, a dog, The dog sits.", "The dog sits."),
        ("一只猫", "一只猫。猫坐着。", "猫坐着。"),
        ("a cat", "a cat", ""),
        ("a cat", "a cat in a hat. It sits.", None),
        ("A cat.", "A cat in a hat. It sits.", None),
        ("a cat.", "a cat, in a hat. It sits.", None),
        ("a cat", "a category. It sits.", None),
        ("a cat", "It sits. a cat.", None),
    ],
)
def test_corrections_are_what_follows_the_users_sentence(prompt, answer, rest):
    assert corrections(prompt, answer) == rest


def test_sentences_end_at_a_mark_and_not_within_a_number():
    assert sentences('It sits 3.5 m off. Is it red? "Yes!" and so on') == [
        "It sits 3.5 m off.",
        "Is it red?",
        '"Yes!"',
        "and so on",
    ]


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("a cat. It sits on a mat.", None),
        ("a dog. It sits.", "does not begin with the given prompt"),
        ("a cat.", "only repeats"),
        ("a cat. It sits on a mat by the old door.", "has 11 words; at most 8"),
    ],
)
def test_the_model_is_told_what_is_wrong(answer, wrong):
    found = problem("a cat", answer, 8)
    assert found is None if wrong is None else wrong in found


@pytest.mark.parametrize(
    ("answer", "prompt"),
    [
        ("a cat. It sits. It holds a very long red balloon.", "a cat. It sits."),
        ("a cat. It sits. It has a ball.", "a cat. It sits. It has a ball."),
        ("a cat. It sits. It has a red ball.", "a cat. It sits."),
        ("A big cat sits.", "a cat. A big cat sits."),
        ("a cat. It holds a very long red balloon on a string.", "a cat."),
    ],
)
def test_what_breaks_a_rule_is_repaired(answer, prompt):
    assert repaired("a cat", answer, 8) == prompt


@given(st.text(), st.text(), st.integers(1, 80))
def test_a_repaired_prompt_keeps_to_the_rules_whatever_the_answer_is(prompt, answer, words):
    made = repaired(prompt, answer, words)
    assert made.startswith(opening(prompt).rstrip())
    assert made.startswith(prompt.strip())
    assert count_words(made) <= max(words, count_words(opening(prompt)))


@given(st.text(alphabet="ab .,!?\"'()é。\n", min_size=1).filter(str.strip), st.sampled_from(["It sits.", "Go! Now."]))
def test_an_answer_that_keeps_to_the_rules_stays_as_it_is(prompt, rest):
    answer = f"{opening(prompt)} {rest}"
    assert problem(prompt, answer, 1000) is None
    assert repaired(prompt, answer, 1000) == answer


@pytest.mark.skipif(not INTERACTING.is_dir(), reason="the InterActing prompts are not beside the checkout")
def test_every_interacting_prompt_is_found_again():
    files = sorted(INTERACTING.glob("*.jsonl"))
    prompts = [json.loads(line)["prompt"] for file in files for line in file.read_text().splitlines()]
    assert len(prompts) == 1000
    for prompt in prompts:
        answer = f"{opening(prompt)} The paw grips the handle."
        assert problem(prompt, answer, 200) is None
        assert repaired(prompt, answer, 70).startswith(prompt.strip())
