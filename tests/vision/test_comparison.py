"""Two images are shown in both orders; only a preference that stays with the image counts."""

import pytest
from pydantic import ValidationError

from detailscribe.state import Comparison
from detailscribe.tools.errors import ModelError
from detailscribe.tools.vision.critic import ChatCritic

from .conftest import put
from .fakes import FakeChat, concepts, no_reply


async def compared(store, straight, swapped):
    """The outcome where the model says ``straight``, and ``swapped`` when the second image comes first."""
    first, second = put(store, "00-00"), put(store, "00-01", colour="blue")

    def answer(question):
        said = straight if question.pictures[0].reference == first.path else swapped
        if said is None or isinstance(said, Exception):
            return said or no_reply(question)
        return {"better": said, "reason": f"said {said}"}

    chat = FakeChat(answer)
    return await ChatCritic(chat).compare(first, second, concepts(), store), chat


@pytest.mark.parametrize(
    ("straight", "swapped", "better"),
    [
        ("first", "second", "00-00"),
        ("second", "first", "00-01"),
        ("First.", "second", "00-00"),
        ("first", "first", None),
        ("second", "second", None),
        ("first", "equal", None),
        ("equal", "equal", None),
        ("first", None, None),
        (None, None, None),
        ("both", "second", None),
    ],
)
async def test_agreement_decides(store, straight, swapped, better):
    found, _ = await compared(store, straight, swapped)
    assert (found.first, found.second, found.better) == ("00-00", "00-01", better)
    assert len(found.exchanges) == 2


async def test_both_reasons_are_kept(store):
    found, _ = await compared(store, "first", None)
    assert found.reason == (
        "00-00 before 00-01: 00-00, said first; 00-01 before 00-00: no answer, timed out after 120 s"
    )


async def test_prompt_checks_and_both_pictures_are_shown(store):
    _, chat = await compared(store, "first", "second")
    pictures = [[p.reference for p in q.pictures] for q in chat.asked("comparison")]
    assert pictures == [["images/00-00.png", "images/00-01.png"], ["images/00-01.png", "images/00-00.png"]]
    assert "<prompt>\na cat holding a red umbrella\n</prompt>" in chat.questions[0].text
    assert "red: Is the umbrella red?" in chat.questions[0].text


async def test_a_server_that_declines_to_compare_ends_nothing_and_is_not_asked_again(store):
    first, second = put(store, "00-00"), put(store, "00-01", colour="blue")
    chat = FakeChat(lambda question: ModelError("at most 1 image may be provided"))
    critic = ChatCritic(chat)
    found = await critic.compare(first, second, concepts(), store)
    assert found.better is None
    assert "at most 1 image" in found.reason
    assert all("at most 1 image" in exchange.reply for exchange in found.exchanges)
    asked = len(chat.questions)
    assert (await critic.compare(second, first, concepts(), store)).better is None
    assert len(chat.questions) == asked


async def test_an_image_is_not_compared_with_itself(store, image):
    with pytest.raises(ValueError, match="'00-00'"):
        await ChatCritic(FakeChat(lambda question: None)).compare(image, image, concepts(), store)


@pytest.mark.parametrize(("second", "better"), [("a", None), ("b", "c")])
def test_the_better_image_is_one_of_two(second, better):
    with pytest.raises(ValidationError):
        Comparison(first="a", second=second, better=better, reason="because")
