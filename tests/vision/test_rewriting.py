"""The corrected prompt keeps to its rules: asked once more with what is wrong, then repaired."""

import pytest

from detailscribe.tools.vision.critic import ChatCritic

from .fakes import PROMPT, FakeChat, concepts, no_reply, script

LONG = " ".join(["The cat's paw grips the handle."] * 20)


async def refined(image, store, *replies, prompt=PROMPT, **options):
    """The corrected prompt for a picture without its cat, and what was asked for it."""
    left = iter(replies)

    def answer(question):
        if question.name != "refined_prompt":
            return script({"cat": "no"})(question)
        reply = next(left)
        return no_reply(question) if reply is None else {"prompt": reply}

    chat = FakeChat(answer)
    critique = await ChatCritic(chat, **options).critique(image, concepts(prompt), store)
    return critique.refined_prompt, chat.asked("refined_prompt")


async def test_a_good_answer_is_taken_as_it_is(image, store):
    found, asked = await refined(image, store, f"{PROMPT}. The cat sits upright.")
    assert found == f"{PROMPT}. The cat sits upright."
    assert len(asked) == 1


@pytest.mark.parametrize("quoted", ['"{}"', "“{}”", "\n{}\n"])
async def test_what_stands_around_the_answer_is_taken_off(image, store, quoted):
    found, _ = await refined(image, store, quoted.format("A cat  holding a\nred umbrella. The cat sits."))
    assert found == f"{PROMPT}. The cat sits."


@pytest.mark.parametrize(
    ("bad", "wrong"),
    [
        ("A dog sits upright.", "It does not begin with the given prompt"),
        (f"{PROMPT}. {LONG}", "It has 126 words; at most 70 are allowed."),
        (f"{PROMPT}.", "It only repeats the given prompt"),
    ],
)
async def test_a_bad_answer_is_asked_again_with_what_is_wrong(image, store, bad, wrong):
    found, asked = await refined(image, store, bad, f"{PROMPT}. The cat sits upright.")
    assert found == f"{PROMPT}. The cat sits upright."
    assert wrong in asked[1].text
    assert f"<answer>\n{bad}\n</answer>" in asked[1].text
    assert asked[1].text.startswith(asked[0].text)
    assert asked[1].template.startswith(f"{asked[0].template} refine_again@")


@pytest.mark.parametrize("again", ["A dog sits upright.", None])
async def test_a_changed_first_sentence_is_repaired_at_last(image, store, again):
    found, _ = await refined(image, store, "A dog sits upright.", again)
    assert found == f"{PROMPT}. A dog sits upright."


async def test_too_many_words_are_cut_at_a_sentence_at_last(image, store):
    found, _ = await refined(image, store, f"{PROMPT}. {LONG}", f"{PROMPT}. {LONG}")
    assert found == f"{PROMPT}. {' '.join(['The cat' + chr(39) + 's paw grips the handle.'] * 10)}"
    assert len(found.split()) <= 70


async def test_a_prompt_that_fills_the_words_stays_whole_and_alone(image, store):
    prompt = "A cat, " + "very " * 80 + "happy."
    found, asked = await refined(image, store, prompt=prompt)
    assert found == prompt
    assert asked == []


async def test_the_number_of_words_is_the_callers(image, store):
    found, asked = await refined(image, store, *[f"{PROMPT}. It sits. It sits. It sits."] * 2, words=10)
    assert found == f"{PROMPT}. It sits. It sits."
    assert "at most 10 words" in asked[0].text
    assert "at most 10 words" in asked[0].system


async def test_a_check_that_was_settled_is_told_as_such(image, store):
    _, asked = await refined(image, store, f"{PROMPT}. The cat sits.")
    assert asked[0].text.index("cat: Is there any cat?") < asked[0].text.index("holding: Is the cat holding it?")
    assert "holding: Is the cat holding it? - cat failed" in asked[0].text
